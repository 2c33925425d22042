// The options of a SocksDispatcher, declared here because no undici needs to be installed, and their division among the
// pool, the connection to the proxy, and TLS to the destination.

import type { TcpNetConnectOpts } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import type { AdapterOptions, SocksConnectorOptions } from './connector.ts';
import { withCode } from './errors.ts';
import type { AgentClass, DispatcherMethod, OfUndici } from './undici-shapes.ts';

/**
 * The options of undici's Agent, with undici's meaning and defaults. Which exist depends on the version of the Agent:
 * this is the union of 6, 7 and 8, all passed on.
 */
export interface AgentOptions {
  /** Connections for each origin. Default: no limit. */
  connections?: number | null;
  pipelining?: number;
  /** Milliseconds. Default 4000. */
  keepAliveTimeout?: number;
  /** Milliseconds. Default 600000. */
  keepAliveMaxTimeout?: number;
  /** Milliseconds. */
  keepAliveTimeoutThreshold?: number;
  /** Milliseconds. Default 300000. */
  headersTimeout?: number;
  /** Milliseconds. Default 300000. */
  bodyTimeout?: number;
  /** Bytes. */
  maxHeaderSize?: number;
  /** Bytes; -1: no limit. */
  maxResponseSize?: number;
  maxRequestsPerClient?: number;
  maxRedirections?: number;
  maxOrigins?: number;
  strictContentLength?: boolean;
  /** Milliseconds. */
  clientTtl?: number | null;
  /** Offer HTTP/2 to https origins. Default as the Agent: true for undici 8, false before. */
  allowH2?: boolean;
  /** HTTP/2 without TLS to http origins. Default false. */
  useH2c?: boolean;
  maxConcurrentStreams?: number;
  initialWindowSize?: number;
  connectionWindowSize?: number;
  /** Milliseconds between the pings of a connection of HTTP/2; 0: none. */
  pingInterval?: number;
  h2Options?: { useH2c?: boolean } & object;
  webSocket?: object;
  eventSource?: object;
  /** The local address of the connection to the proxy. */
  localAddress?: string;
  autoSelectFamily?: boolean;
  autoSelectFamilyAttemptTimeout?: number;
  maxCachedSessions?: number;
  factory?: DispatcherMethod;
  interceptors?: { Agent?: unknown } & object;
  /** TLS to the destination, as in `tls.connect`, and how to dial the proxy, as in `net.connect`. */
  connect?: ConnectionOptions & Partial<TcpNetConnectOpts> & ConnectorOptions;
}

/** What undici's `connect` object holds besides the options of Node. These count before those of the same name above. */
export interface ConnectorOptions {
  /** Milliseconds. As `connectTimeout`. */
  timeout?: number | null;
  allowH2?: boolean;
  /** Offer HTTP/2 before HTTP/1.1. Default false. */
  preferH2?: boolean;
  useH2c?: boolean;
  maxCachedSessions?: number;
}

/** The options of {@link SocksDispatcher}. */
export interface SocksDispatcherOptions extends AgentOptions, AdapterOptions {
  /** The Agent class to build on, of undici 5.28 to 8. Default: the one inside Node. */
  Agent?: AgentClass;
}

/** The fields of undici's `connect` object that are options of the dial to the proxy. */
const TCP: ReadonlySet<string> = new Set([
  'family',
  'hints',
  'localAddress',
  'localPort',
  'noDelay',
  'keepAlive',
  'keepAliveInitialDelay',
  'autoSelectFamily',
  'autoSelectFamilyAttemptTimeout',
]);

/** The fields of it that are not options of TLS. The connector sets them itself, or has options of its own for them. */
const NOT_TLS: ReadonlySet<string> = new Set([
  'host',
  'port',
  'path',
  'socket',
  'socketPath',
  'lookup',
  'timeout',
  'allowH2',
  'preferH2',
  'useH2c',
  'maxCachedSessions',
]);

/** @throws TypeError `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE` for what cannot be done through a proxy */
export function divideOptions(options: SocksDispatcherOptions): {
  readonly pool: AgentOptions;
  readonly connector: SocksConnectorOptions;
} {
  if (typeof options !== 'object' || options === null) {
    throw withCode(new TypeError('options must be an object'), 'ERR_INVALID_ARG_VALUE');
  }
  const given: SocksDispatcherOptions = pick(options);
  const { Agent: _, connect = {}, connectTimeout, standby, lookup, tcp, auth, pipeline, ...pool } = given;
  if (typeof connect !== 'object' || connect === null) {
    throw withCode(
      new TypeError(
        'connect must be an object of TLS options, not a function: SocksDispatcher is its own connector',
      ),
      'ERR_INVALID_ARG_TYPE',
    );
  }
  if ([pool, connect].some((part) => (Reflect.get(part, 'socketPath') ?? null) !== null)) {
    throw withCode(
      new TypeError('socketPath: a request to a Unix socket cannot go through a proxy'),
      'ERR_INVALID_ARG_VALUE',
    );
  }
  const { autoSelectFamily, autoSelectFamilyAttemptTimeout } = pool;
  const dial = pick({ autoSelectFamily, autoSelectFamilyAttemptTimeout, ...connect }, (key) => TCP.has(key));
  const { allowH2 = pool.allowH2, maxCachedSessions = pool.maxCachedSessions, preferH2 } = connect;
  const { useH2c = pool.h2Options?.useH2c ?? pool.useH2c } = connect;
  return {
    pool,
    connector: pick({
      connectTimeout: connectTimeout ?? connect.timeout ?? undefined,
      standby,
      lookup: lookup ?? connect.lookup,
      auth,
      pipeline,
      allowH2,
      preferH2,
      useH2c,
      maxCachedSessions,
      tcp: { ...dial, ...tcp },
      tls: pick(connect, (key) => !TCP.has(key) && !NOT_TLS.has(key)),
    }),
  };
}

/** The entries that have a value and pass the test. */
function pick(object: object, test: (key: string) => boolean = () => true): Record<string, OfUndici> {
  return Object.fromEntries(
    Object.entries(object).filter(([key, value]) => value !== undefined && test(key)),
  );
}
