// From a route and a destination to an open tunnel, within one deadline and one signal over everything. On any failure
// the proxy's socket is destroyed at once.

import type { LookupFunction, TcpNetConnectOpts } from 'node:net';
import type { Duplex } from 'node:stream';
import { parseDestination, printAddress } from '../destination.ts';
import type { Destination } from '../destination.ts';
import { SocksError } from '../errors.ts';
import { canPipeline, checkAuth, checkExchange, request } from '../protocol/handshake.ts';
import type { AuthPolicy } from '../protocol/method.ts';
import type { Exchange, Target } from '../protocol/step.ts';
import type { SocksProxy } from '../proxy.ts';
import { checkRoute, selectChain } from '../route.ts';
import type { Chain, CheckedRoute, ProxyRoute } from '../route.ts';
import { Deadline } from './deadline.ts';
import { dial } from './dial.ts';
import { resolveTargets } from './lookup.ts';
import { pipelined } from './pipeline.ts';
import { ask, lastOf, walk } from './reach.ts';
import type { Tunnel } from './reach.ts';
import { abandon, secure } from './secure.ts';
import type { SecureOptions } from './secure.ts';
import type { Standby } from './standby.ts';
import { trace } from './trace.ts';

export interface SocksOptions {
  /** Milliseconds from the call to the open tunnel, look-ups, all hops and TLS included. Default 30000; 0: none. */
  timeout?: number;
  /** Replaces `dns.lookup` wherever this side looks a name up: the proxy's own, and destinations with `dns: 'local'`. */
  lookup?: LookupFunction;
  /** How to dial the proxy: `localAddress`, `family`, `autoSelectFamily`, `keepAlive` and so on, as in `net.connect`. */
  tcp?: Partial<TcpNetConnectOpts>;
  /** Default `auto`: with credentials offer methods 02 and 00. `required` offers 02 alone; a list, just its methods. */
  auth?: AuthPolicy;
  /**
   * Send greeting, authentication and request of the last hop in one segment (SOCKS5). Default false. A second attempt,
   * message by message, begins beside it when the proxy has not answered within a second or four dial times, whichever
   * is longer, or at once when it closes without an answer.
   */
  pipeline?: boolean;
}

export interface ConnectOptions extends SocksOptions {
  /** Ends the attempt: the promise rejects with `signal.reason`, the proxy's socket is destroyed. */
  signal?: AbortSignal;
  /** A connection to the (first) proxy that exists already; nothing is dialled. It is ours: a failure destroys it. */
  socket?: Duplex;
  /** What `SocksClient.select()` chose for this destination. Default: the route is asked now. */
  chain?: Chain;
  /** Speak TLS to the destination through the tunnel, with these options; `tunnel.socket` is then a `TLSSocket`. */
  tls?: SecureOptions;
}

/** What a client adds to its attempts. */
export interface Surroundings {
  /** Holds the deadline of every attempt for as long as it takes. */
  readonly underWay: Set<Deadline>;
  readonly standby?: Standby | undefined;
}

export const DEFAULT_TIMEOUT = 30_000;
const MAX_TIMEOUT = 2 ** 31 - 1;

/**
 * Opens a tunnel to `destination` through one proxy, a chain of proxies (first hop first), or what a selector says.
 *
 * Rejects with a {@link SocksError} and nothing else, but for an abort (`signal.reason`), what a selector throws,
 * and the errors of the destination itself: of its TLS, or of a direct connection that a selector asked for.
 * Some servers report success before they connect; the failure is then the socket's own error or end.
 *
 * @throws TypeError `ERR_INVALID_ARG_VALUE` (as a rejection), for options that types alone do not keep out
 * @example
 * const { socket } = await connect('socks5://127.0.0.1:1080', { host: 'example.com', port: 80 });
 * socket.write('HEAD / HTTP/1.0\r\n\r\n');
 */
export async function connect(
  route: ProxyRoute,
  destination: Destination,
  options: ConnectOptions = {},
): Promise<Tunnel> {
  checkOptions(options);
  return open(checkRoute(route), destination, options);
}

/** {@link connect}, with a checked route, for a client. */
export async function open(
  route: CheckedRoute,
  destination: Destination,
  options: ConnectOptions,
  { underWay, standby }: Partial<Surroundings> = {},
): Promise<Tunnel> {
  const to = parseDestination(destination);
  const deadline = new Deadline(options.timeout ?? DEFAULT_TIMEOUT, options.signal);
  const { progress } = deadline;
  underWay?.add(deadline);
  let chain: Chain = [];
  try {
    chain = options.chain ?? (await selectWithin(deadline, route, to));
    trace('start', chain, to, progress);
    let tunnel = await (chain === 'direct'
      ? connectDirectly(to, options, deadline)
      : openTunnel(chain, to, options, deadline, standby));
    if (options.tls) {
      progress.enter('destination-tls');
      tunnel = { socket: await secure(tunnel.socket, to, options.tls, deadline), bound: tunnel.bound };
    }
    trace('end', chain, to, progress, { bound: tunnel.bound });
    return tunnel;
  } catch (error) {
    if (options.socket) abandon(options.socket);
    trace('error', chain, to, progress, { error });
    throw error;
  } finally {
    deadline.end();
    underWay?.delete(deadline);
  }
}

/** What the route says for this destination; a promise is waited for no longer than the deadline allows. */
export function selectWithin(
  deadline: Deadline,
  route: CheckedRoute,
  destination: Target,
): Chain | Promise<Chain> {
  const chain = selectChain(route, destination);
  if (!(chain instanceof Promise)) return chain;
  deadline.progress.phase = 'input';
  deadline.progress.destination = printAddress(destination);
  return deadline.step((resolve, reject) => {
    chain.then(resolve, reject);
    return () => {};
  });
}

/** @throws TypeError `ERR_INVALID_ARG_VALUE` */
export function checkOptions({ timeout = DEFAULT_TIMEOUT, auth = 'auto' }: SocksOptions): void {
  if (!Number.isFinite(timeout) || timeout < 0 || timeout > MAX_TIMEOUT) {
    throw invalidOption(`timeout is 0 to ${MAX_TIMEOUT} milliseconds, not ${String(timeout)}`);
  }
  checkAuth(auth);
}

export function invalidOption(message: string): TypeError {
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' });
}

async function openTunnel(
  chain: readonly SocksProxy[],
  destination: Target,
  options: ConnectOptions,
  deadline: Deadline,
  standby: Standby | undefined,
): Promise<Tunnel> {
  const { auth = 'auto' } = options;
  const hops = chain.map((proxy, i): Exchange => ({ proxy, target: chain[i + 1] ?? destination }));
  for (const hop of hops) checkExchange(hop, auth);
  const { proxy } = lastOf(hops);
  const go = options.pipeline && canPipeline(proxy, auth) ? pipelined : walk;
  let failed: unknown;
  for (const way of await resolveTargets(hops, options.lookup, deadline)) {
    try {
      const tunnel =
        (await fromStandby(standby, chain, lastOf(way), deadline)) ?? (await go(way, options, deadline));
      standby?.fill(chain);
      return tunnel;
    } catch (error) {
      failed = error;
      if (options.socket || deadline.stopped) break;
    }
  }
  throw failed;
}

/** A connection that its server closes just now has not been asked anything yet: then a new one is. */
async function fromStandby(
  standby: Standby | undefined,
  chain: readonly SocksProxy[],
  hop: Exchange,
  deadline: Deadline,
): Promise<Tunnel | undefined> {
  const stream = standby?.take(chain);
  if (!stream) return undefined;
  try {
    return await ask(stream, hop, request(hop), deadline);
  } catch (error) {
    const unanswered =
      error instanceof SocksError && error.code === 'ERR_SOCKS_PROXY_CLOSED' && !error.detail;
    if (unanswered && !deadline.stopped) return undefined;
    throw error;
  }
}

async function connectDirectly(to: Target, options: ConnectOptions, deadline: Deadline): Promise<Tunnel> {
  deadline.progress.destination = printAddress(to);
  const socket = await dial(to, options, deadline);
  return { socket, bound: { host: socket.localAddress ?? '', port: socket.localPort ?? 0 } };
}
