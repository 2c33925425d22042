// undici's connector contract over a SocksClient: sockets, TLS options and errors.

import { isIP } from 'node:net';
import type { Socket } from 'node:net';
import timers from 'node:timers';
import type { ConnectionOptions } from 'node:tls';
import { inspect, types } from 'node:util';
import { chainKey, SecureContexts, SessionCache, SocksClient } from '@socksify/core';
import type { ProxyRoute, SocksOptions } from '@socksify/core';
import { withCode } from './errors.ts';
import type { Pool } from './pools.ts';
import type { Connector, ConnectorDestination } from './undici-shapes.ts';

// Read at load. Fake timers of tests replace it later, and then bytes that are held back would never be shown.
const { setImmediate } = timers;

/** How to connect to the proxy: the `SocksOptions` of core, with the time limit under another name. */
export interface AdapterOptions extends Omit<SocksOptions, 'timeout'> {
  /**
   * Milliseconds for a new connection: the selector's promise, look-ups, dial, handshakes and TLS. Default 30000; 0:
   * none.
   */
  connectTimeout?: number;
  /** How many connections to the proxy are kept ready, with greeting and authentication done. Default 0. */
  standby?: number;
}

/** The options of {@link socksConnector}. */
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

/** What {@link socksConnector} returns. */
export interface SocksConnector extends Connector {
  /** Ends every handshake in progress with `ERR_SOCKS_CLOSED`; later ones fail with it too. */
  close(): Promise<void>;
}

/**
 * The `connect` option of an `Agent`, `Pool` or `Client` of undici 5.28 to 8 that you build yourself.
 *
 * http destinations get the plain tunnel, https destinations TLS inside it. Errors are `SocksError`s, the TLS errors of
 * the destination, and what a selector throws. Call `close()` when the Agent is destroyed while it opens connections:
 * undici does not tell its connector.
 *
 * A connector sees no requests. So a selector is called once for each connection, and all requests of the same origin
 * can use that connection. `SocksDispatcher` calls the selector for each request.
 *
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS`; TypeError for options
 * @example
 * const pool = new Pool('https://example.com', { connect: socksConnector('socks5://127.0.0.1:1080') });
 */
export function socksConnector(proxy: ProxyRoute, options: SocksConnectorOptions = {}): SocksConnector {
  const client = socksClient(proxy, options, socksConnector);
  const connect = connectorOver(client, { ...options, resume: typeof proxy !== 'function' });
  return Object.assign(connect.bind(undefined, undefined), { close: () => client.close() });
}

/**
 * The client of a connector: the adapter's options under the core's names.
 *
 * @param caller the function of this package that the program has called
 */
export function socksClient(proxy: ProxyRoute, options: AdapterOptions, caller: Function): SocksClient {
  if (typeof options !== 'object' || options === null) {
    throw withCode(new TypeError('options must be an object'), 'ERR_INVALID_ARG_VALUE');
  }
  const { connectTimeout, lookup, tcp, auth, pipeline, standby } = options;
  try {
    return new SocksClient(proxy, { timeout: connectTimeout, lookup, tcp, auth, pipeline, standby });
  } catch (error) {
    if (error instanceof TypeError) error.message = error.message.replace(/^timeout /, 'connectTimeout ');
    // Traces are ten lines long. This one begins at the line of the program, which would be cut off otherwise.
    if (error instanceof Error) Error.captureStackTrace(error, caller);
    throw error;
  }
}

const DEFAULT_TIMEOUT = 30_000;

export interface ConnectorSettings
  extends Pick<
    SocksConnectorOptions,
    'connectTimeout' | 'tcp' | 'tls' | 'allowH2' | 'preferH2' | 'useH2c' | 'maxCachedSessions'
  > {
  /**
   * Resume TLS sessions also where no chain is given. False with a selector: a session ticket would link connections
   * that the selector keeps apart.
   */
  readonly resume: boolean;
}

/** A connector for the pool that it gets with each destination. Without a pool, it ends no attempt by itself. */
export type PoolConnector = (pool: Pool | undefined, ...given: Parameters<Connector>) => void;

/** All pools share the TLS sessions. */
export function connectorOver(client: SocksClient, settings: ConnectorSettings): PoolConnector {
  const { connectTimeout = DEFAULT_TIMEOUT, tcp, tls = {}, maxCachedSessions = 100, resume } = settings;
  const ALPNProtocols = protocolsOf(settings);
  // A copy, because a TLS session must not be resumed under options that the caller changed meanwhile.
  const { servername: fixedName, ...others } = tls;
  const sessions = new SessionCache(tls.session ? 0 : maxCachedSessions);
  const contexts = new SecureContexts();

  const open = async (
    given: ConnectorDestination,
    pool: Pool | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Socket> => {
    const { hostname, protocol, localAddress } = given;
    if (given.httpSocket)
      throw new TypeError('httpSocket: a SOCKS connector takes no open connection; it opens its own');
    const secure = protocol === 'https:';
    const destination = {
      host: hostname,
      port: Number(given.port || (secure ? 443 : 80)),
      protocol: secure ? 'https:' : 'http:',
    } as const;
    // The chain was selected for one origin alone, and an interceptor inside the Agent may send the request to another
    // one.
    const chain = pool?.origin === `${protocol}//${given.host}` ? pool.chain : undefined;
    const options = {
      ...(signal && { signal }),
      ...(chain && { chain }),
      ...(pool?.waited &&
        connectTimeout > 0 && { timeout: Math.max(1, Math.ceil(connectTimeout - pool.waited)) }),
      ...(localAddress && { tcp: { ...tcp, localAddress } }),
    };
    if (!secure) {
      const { socket } = await client.connect(destination, options);
      return settings.useH2c ? Object.assign(socket, { alpnProtocol: 'h2' }) : socket;
    }

    const servername = given.servername || fixedName;
    const sni = servername && isIP(servername) === 0 ? servername : undefined;
    const { socket } = await client.connect(destination, {
      ...options,
      tls: (through) => {
        // A TLS session of another chain would link the two.
        const key =
          chain || resume
            ? `${pool?.name ?? ''} ${sni ?? ''} ${hostname}:${destination.port} ${chainKey(through)}`
            : undefined;
        const session = key === undefined ? undefined : sessions.get(key);
        return {
          ...others,
          secureContext: contexts.get(others),
          ALPNProtocols,
          ...(sni && { servername: sni }),
          ...(session && { session }),
          ...(key !== undefined && { onSocket: sessions.watch.bind(sessions, key) }),
        };
      },
    });
    return socket;
  };

  return async function connect(pool, destination, callback): Promise<void> {
    const signal = pool?.attempt();
    let socket: Socket;
    try {
      socket = await open(destination, pool, signal);
    } catch (error) {
      pool?.attempted();
      // The attempt was ended because no request waited for it. undici would fail a request that came meanwhile
      // together with the attempt, so another attempt begins.
      if (signal?.aborted && error === signal.reason && pool?.wanted) {
        await connect(pool, destination, callback);
      } else callback(connectError(error), null);
      return;
    }
    pool?.attempted(socket);
    // As undici's connector does: the socket that upgrade() or connect() hands out may have no other listener yet.
    socket.on('error', ignore);
    if (socket.readableLength > 0) holdBack(socket);
    const listeners = socket.listenerCount('close');
    callback(null, socket);
    if (socket.listenerCount('close') === listeners) showClose(socket, pool);
  };
}

/**
 * In the order of undici: HTTP/1.1 first, so that a server that takes the first choice of the client speaks HTTP/1.1.
 * `preferH2` reverses it.
 */
function protocolsOf({ allowH2 = false, preferH2 = false }: ConnectorSettings): string[] {
  if (!allowH2) return ['http/1.1'];
  return preferH2 ? ['h2', 'http/1.1'] : ['http/1.1', 'h2'];
}

function ignore(): void {}

/**
 * undici 6, 7 and 8 read a new socket before they write a request. They take the bytes that came in the segment of the
 * proxy's reply for a response without a request, drop the socket and dial again, without end. So these bytes are shown
 * one turn later, when they look as on a direct connection. An HTTP/2 socket is left as it is, because there the server
 * may send first.
 */
function holdBack(socket: Socket & { readonly alpnProtocol?: string | false | null }): void {
  if (socket.alpnProtocol === 'h2') return;
  // Node itself calls read(0), to be told of more bytes.
  socket.read = (size) => (size === 0 ? Object.getPrototypeOf(socket).read.call(socket, 0) : null);
  setImmediate(() => {
    Reflect.deleteProperty(socket, 'read');
    socket.emit('readable');
  });
}

/** Tells the preload of the package socksify, which does the same, that this file shows the event `close`. */
const SHOWS_CLOSE = Symbol.for('socksify.showsClose');

/**
 * undici 5 and 6 compile their parser while the first connection opens, and listen to its socket only then. They wait for
 * ever for a socket that closed before, and keep one open whose Agent was destroyed before. So they are shown the event
 * `close` as soon as they listen to it.
 */
function showClose(socket: Socket, pool: Pool | undefined): void {
  Object.defineProperty(socket, SHOWS_CLOSE, { value: true });
  socket.on('newListener', function onListener(event: string, listener: (hadError: boolean) => void) {
    if (event !== 'close') return;
    socket.off('newListener', onListener);
    // undici is done with the connection only after this turn.
    setImmediate(() => {
      if (socket.closed) listener.call(socket, socket.errored !== null);
      else if (pool?.agents().some(({ destroyed }) => destroyed)) socket.destroy();
    });
  });
}

/** After an error with one of these codes, which are its own, undici dials again for the same request, without end. */
const RECONNECT: ReadonlySet<unknown> = new Set(['UND_ERR_SOCKET', 'UND_ERR_INFO']);

/** Makes an error that undici and its consumers take as final: an Error without those codes. */
export function connectError(error: unknown): Error {
  if (types.isNativeError(error) || error instanceof Error) {
    const reconnects = 'code' in error && RECONNECT.has(error.code);
    return reconnects ? new Error(error.message, { cause: error }) : error;
  }
  return new Error(`the connection failed with ${inspect(error)}`, { cause: error });
}
