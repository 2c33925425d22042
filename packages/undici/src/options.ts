// The options of a SocksDispatcher, declared here because no undici needs to be installed, and their division among
// the pool, the way to the proxy, and TLS to the destination.

import type { TcpNetConnectOpts } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import type { AgentClass } from './agent.ts';
import type { AdapterOptions, SocksConnectorOptions } from './connector.ts';

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
  maxConcurrentStreams?: number;
  initialWindowSize?: number;
  connectionWindowSize?: number;
  pingInterval?: number;
  h2Options?: object;
  webSocket?: object;
  eventSource?: object;
  /** Where the connection to the proxy comes from. */
  localAddress?: string;
  autoSelectFamily?: boolean;
  autoSelectFamilyAttemptTimeout?: number;
  maxCachedSessions?: number;
  factory?: (origin: any, options: any) => any;
  interceptors?: object;
  /** TLS to the destination, as in `tls.connect`, and how to dial the proxy, as in `net.connect`. */
  connect?: ConnectionOptions & Partial<TcpNetConnectOpts> & { timeout?: number | null };
}

export interface SocksDispatcherOptions extends AgentOptions, AdapterOptions {
  /** The Agent class to build on, of undici 5.28 to 8. Default: the one inside Node. */
  Agent?: AgentClass;
}

/** What of undici's `connect` object belongs to the dialling of the proxy. */
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

/** What of it has no meaning here: the connector sets it, or has its own option for it. */
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
]);

export function divideOptions(options: SocksDispatcherOptions): {
  readonly pool: AgentOptions;
  readonly connector: SocksConnectorOptions;
} {
  const { Agent: _, connect = {}, connectTimeout, standby, lookup, tcp, auth, pipeline, ...pool } = options;
  const { autoSelectFamily, autoSelectFamilyAttemptTimeout, maxCachedSessions } = pool;
  if (typeof connect !== 'object' || connect === null) {
    throw Object.assign(
      new TypeError('connect is an object of TLS options: SocksDispatcher is its own connector'),
      {
        code: 'ERR_INVALID_ARG_TYPE',
      },
    );
  }
  const dial = pick({ autoSelectFamily, autoSelectFamilyAttemptTimeout, ...connect }, (key) => TCP.has(key));
  return {
    pool,
    connector: pick({
      connectTimeout: connectTimeout ?? connect.timeout ?? undefined,
      standby,
      lookup: lookup ?? connect.lookup,
      auth,
      pipeline,
      maxCachedSessions,
      tcp: { ...dial, ...tcp },
      tls: pick(connect, (key) => !TCP.has(key) && !NOT_TLS.has(key)),
    }),
  };
}

/** The entries that have a value and pass the test. */
function pick(object: object, test: (key: string) => boolean = () => true): object {
  return Object.fromEntries(
    Object.entries(object).filter(([key, value]) => value !== undefined && test(key)),
  );
}
