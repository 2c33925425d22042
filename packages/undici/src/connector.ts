// undici's connector contract over a SocksClient: sockets, TLS options and errors.

import { isIP } from 'node:net';
import type { Socket } from 'node:net';
import timers from 'node:timers';
import type { ConnectionOptions } from 'node:tls';
import { inspect, types } from 'node:util';
import { SessionCache, SocksClient } from '@socksify/core';
import type { Chain, ProxyRoute, SocksOptions } from '@socksify/core';
import type { Attempt } from './pools.ts';

// Taken at load: tests replace it, and then held-back bytes would never be shown.
const { setImmediate } = timers;

/** How to reach the proxy. As `SocksOptions` of the core, but for the name of the deadline. */
export interface AdapterOptions extends Omit<SocksOptions, 'timeout'> {
  /** Milliseconds from the start of a connection to its end: look-ups, handshakes and TLS. Default 30000; 0: none. */
  connectTimeout?: number;
  /** Connections to the proxy that are kept ready, greeting and authentication done. Default 0. */
  standby?: number;
}

export interface SocksConnectorOptions extends AdapterOptions {
  /** TLS to https destinations, as in `tls.connect`: `ca`, `cert`, `key`, `rejectUnauthorized`, `servername` ... */
  tls?: ConnectionOptions;
  /** Offer HTTP/2 by ALPN, after HTTP/1.1. Default false. */
  allowH2?: boolean;
  /** With `allowH2`, offer HTTP/2 before HTTP/1.1. Default false. */
  preferH2?: boolean;
  /** HTTP/2 without TLS to http destinations that are known to speak it, as in undici 7 and 8. Default false. */
  useH2c?: boolean;
  /** TLS sessions kept for resumption, one for each destination. Default 100; 0: none. Not used with a selector. */
  maxCachedSessions?: number;
}

/** What undici hands to a connector. */
export interface ConnectorTarget {
  hostname: string;
  host?: string | undefined;
  protocol: string;
  port: string | number;
  servername?: string | null | undefined;
  localAddress?: string | null | undefined;
  socketPath?: string | null | undefined;
  httpSocket?: Socket | undefined;
}

export type ConnectorCallback = (
  ...result: [error: null, socket: Socket] | [error: Error, socket: null]
) => void;

export interface SocksConnector {
  (target: ConnectorTarget, callback: ConnectorCallback): void;
  /** Ends every handshake under way with `ERR_SOCKS_CLOSED`; later ones fail with it too. */
  close(): Promise<void>;
}

/**
 * The `connect` option of an `Agent`, `Pool` or `Client` of undici 5.28 to 8 that you build yourself.
 *
 * http destinations get the plain tunnel, https destinations TLS inside it. Errors are `SocksError`s, the TLS errors
 * of the destination, and what a selector throws. Call `close()` when the Agent is destroyed in the middle of things:
 * undici does not tell its connector.
 *
 * A connector sees no requests. So a selector is called once for each connection here, and requests share connections
 * whatever it would answer them; `SocksDispatcher` calls it for each request.
 *
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS`; TypeError for options
 * @example
 * const pool = new Pool('https://example.com', { connect: socksConnector('socks5://127.0.0.1:1080') });
 */
export function socksConnector(proxy: ProxyRoute, options: SocksConnectorOptions = {}): SocksConnector {
  const client = socksClient(proxy, options);
  const connect = connectorOver(client, { ...options, resume: typeof proxy !== 'function' });
  return Object.assign((target: ConnectorTarget, callback: ConnectorCallback) => connect(target, callback), {
    close: () => client.close(),
  });
}

/** The client of a connector: the adapter's options under the core's names. */
export function socksClient(proxy: ProxyRoute, options: AdapterOptions): SocksClient {
  const { connectTimeout, lookup, tcp, auth, pipeline, standby } = options;
  const given = { timeout: connectTimeout, lookup, tcp, auth, pipeline, standby };
  return new SocksClient(proxy, given);
}

const DEFAULT_TIMEOUT = 30_000;

export interface ConnectorSettings
  extends Pick<
    SocksConnectorOptions,
    'connectTimeout' | 'tcp' | 'tls' | 'allowH2' | 'preferH2' | 'useH2c' | 'maxCachedSessions'
  > {
  /** Resume TLS sessions where no chain is given. Not over a selector: a ticket would link what it keeps apart. */
  readonly resume: boolean;
}

/** Who a connection is for: an attempt that no request waits for any more is ended. */
export interface Waiters {
  readonly name: string;
  readonly origin: string;
  readonly chain: Chain | undefined;
  /** Milliseconds that are gone already. */
  readonly waited: number;
  readonly wanted: boolean;
  attempt(): Attempt;
}

export function connectorOver(
  client: SocksClient,
  settings: ConnectorSettings,
): (target: ConnectorTarget, callback: ConnectorCallback, waiters?: Waiters) => void {
  const { connectTimeout = DEFAULT_TIMEOUT, tcp, tls = {}, maxCachedSessions = 100, resume } = settings;
  const ALPNProtocols = protocolsOf(settings);
  const sessions = new SessionCache(tls.session ? 0 : maxCachedSessions);

  const open = async (
    target: ConnectorTarget,
    waiters: Waiters | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Socket> => {
    const { hostname, protocol, localAddress } = target;
    if (target.httpSocket)
      throw new TypeError('a SOCKS connector opens its own connections: httpSocket is not for it');
    const secure = protocol === 'https:';
    const destination = {
      host: hostname,
      port: Number(target.port || (secure ? 443 : 80)),
      protocol: secure ? 'https:' : 'http:',
    } as const;
    // An interceptor inside the Agent may send a request elsewhere; the selector was called for this origin alone.
    const chain = waiters?.origin === `${protocol}//${target.host}` ? waiters.chain : undefined;
    const options = {
      ...(signal && { signal }),
      ...(chain && { chain }),
      ...(waiters?.waited &&
        connectTimeout > 0 && { timeout: Math.max(1, Math.ceil(connectTimeout - waiters.waited)) }),
      ...(localAddress && { tcp: { ...tcp, localAddress } }),
    };
    if (!secure) {
      const { socket } = await client.connect(destination, options);
      return settings.useH2c ? Object.assign(socket, { alpnProtocol: 'h2' }) : socket;
    }

    const servername = target.servername || tls.servername;
    const sni = servername && isIP(servername) === 0 ? servername : undefined;
    const key =
      chain || resume ? `${waiters?.name ?? ''} ${sni ?? ''} ${hostname}:${destination.port}` : undefined;
    const session = key === undefined ? undefined : sessions.get(key);
    const { servername: _, ...others } = tls;
    const { socket } = await client.connect(destination, {
      ...options,
      tls: {
        ...others,
        ALPNProtocols,
        ...(sni && { servername: sni }),
        ...(session && { session }),
        ...(key !== undefined && { onSocket: (secured) => sessions.watch(key, secured) }),
      },
    });
    return socket;
  };

  const connect = async (
    target: ConnectorTarget,
    callback: ConnectorCallback,
    waiters?: Waiters,
  ): Promise<void> => {
    const attempt = waiters?.attempt();
    let socket: Socket | undefined;
    try {
      socket = await open(target, waiters, attempt?.signal);
    } catch (error) {
      attempt?.end();
      // Ended since nobody waited for it. A request that came meanwhile is in the same queue of undici, and would fail.
      if (attempt?.signal.aborted && error === attempt.signal.reason && waiters?.wanted) {
        await connect(target, callback, waiters);
      } else callback(connectError(error), null);
      return;
    }
    attempt?.end(socket);
    // As undici's connector: what upgrade() and connect() hand out may have no other listener yet.
    socket.on('error', ignore);
    holdBack(socket);
    callback(null, socket);
  };
  return connect;
}

/** In undici's order: a server that takes the client's first choice speaks HTTP/1.1, unless told otherwise. */
function protocolsOf({ allowH2 = false, preferH2 = false }: ConnectorSettings): string[] {
  if (!allowH2) return ['http/1.1'];
  return preferH2 ? ['h2', 'http/1.1'] : ['http/1.1', 'h2'];
}

function ignore(): void {}

/**
 * undici 6, 7 and 8 read a new socket before they write its request. What came in the segment of the proxy's reply
 * would be an answer to nothing: they drop the socket, and dial again for the same request, for ever. So such bytes
 * are shown a turn later, as they would come on a direct connection. HTTP/2 has its own way, and begins with the server.
 */
function holdBack(socket: Socket & { readonly alpnProtocol?: string | false | null }): void {
  if (socket.readableLength === 0 || socket.alpnProtocol === 'h2') return;
  // Node itself reads 0 bytes, to hear of more.
  socket.read = (size) => (size === 0 ? Object.getPrototypeOf(socket).read.call(socket, 0) : null);
  setImmediate(() => {
    delete (socket as Partial<Socket>).read;
    socket.emit('readable');
  });
}

/** undici takes these two for signs of its own that the same request can be tried again, and dials for ever. */
const RECONNECT: ReadonlySet<unknown> = new Set(['UND_ERR_SOCKET', 'UND_ERR_INFO']);

/** What undici and its consumers take for a final error: an Error, without those codes. */
export function connectError(error: unknown): Error {
  if (types.isNativeError(error) || error instanceof Error) {
    if (!RECONNECT.has((error as NodeJS.ErrnoException).code)) return error;
    return new Error(error.message, { cause: error });
  }
  return new Error(`the connection failed with ${inspect(error)}`, { cause: error });
}
