// undici's connector contract over a SocksClient. Knows sockets, TLS options and errors; nothing of pools or handlers.

import { isIP } from 'node:net';
import type { Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { SessionCache, SocksClient } from '@socksify/core';
import type { ProxyRoute, SocksOptions } from '@socksify/core';
import type { Attempt } from './origins.ts';

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
  /** Offer HTTP/2 by ALPN. Default false. */
  allowH2?: boolean;
  /** TLS sessions kept for resumption, one for each destination. Default 100; 0: none. */
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
  return new SocksClient(
    proxy,
    Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as SocksOptions,
  );
}

export interface ConnectorSettings
  extends Pick<SocksConnectorOptions, 'tcp' | 'tls' | 'allowH2' | 'maxCachedSessions'> {
  /** Resume TLS sessions. Not over a selector: a ticket would link connections that it keeps apart. */
  readonly resume: boolean;
}

/** Who waits for a connection: a handshake that nobody waits for any more is ended. */
export interface Waiters {
  attempt(): Attempt;
}

export function connectorOver(
  client: SocksClient,
  settings: ConnectorSettings,
): (target: ConnectorTarget, callback: ConnectorCallback, waiters?: Waiters) => void {
  const { tcp, tls = {}, allowH2 = false, maxCachedSessions = 100, resume } = settings;
  const ALPNProtocols = allowH2 ? ['h2', 'http/1.1'] : ['http/1.1'];
  const sessions = new SessionCache(resume && !tls.session ? maxCachedSessions : 0);

  const open = async (target: ConnectorTarget, signal: AbortSignal | undefined): Promise<Socket> => {
    const { hostname, protocol, localAddress } = target;
    if (target.httpSocket)
      throw new TypeError('a SOCKS connector opens its own connections: httpSocket is not for it');
    const secure = protocol === 'https:';
    const destination = {
      host: hostname,
      port: Number(target.port || (secure ? 443 : 80)),
      protocol: secure ? 'https:' : 'http:',
    } as const;
    const options = {
      ...(signal && { signal }),
      ...(localAddress && { tcp: { ...tcp, localAddress } }),
    };
    if (!secure) return (await client.connect(destination, options)).socket;

    const servername = target.servername || tls.servername;
    const sni = servername && isIP(servername) === 0 ? servername : undefined;
    const key = `${sni ?? ''} ${hostname}:${destination.port}`;
    const session = sessions.get(key);
    const { servername: _, ...rest } = tls;
    const { socket } = await client.connect(destination, {
      ...options,
      tls: {
        ...rest,
        ALPNProtocols,
        ...(sni && { servername: sni }),
        ...(session && { session }),
        onSocket: (secured) => sessions.watch(key, secured),
      },
    });
    return socket;
  };

  const openIfWanted = async (target: ConnectorTarget, waiters: Waiters | undefined): Promise<Socket> => {
    const attempt = waiters?.attempt();
    let socket: Socket | undefined;
    try {
      return (socket = await open(target, attempt?.signal));
    } finally {
      attempt?.end(socket);
    }
  };

  return (target, callback, waiters) => {
    // oxlint-disable promise/no-callback-in-promise -- that is undici's contract
    openIfWanted(target, waiters).then(
      (socket) => {
        holdBack(socket);
        callback(null, socket);
      },
      (error: unknown) => callback(connectError(error), null),
    );
    // oxlint-enable promise/no-callback-in-promise
  };
}

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

function connectError(error: unknown): Error {
  if (error instanceof Error && !RECONNECT.has((error as NodeJS.ErrnoException).code)) return error;
  return new Error(error instanceof Error ? error.message : String(error), { cause: error });
}
