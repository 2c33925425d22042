// From a route and a destination to an open tunnel: look-up if asked, dial, TLS to the proxy, handshake, hop by
// hop; one deadline and one signal over everything; on any failure the proxy's socket is destroyed at once.

import { lookup as systemLookup } from 'node:dns';
import { connect as dialTcp } from 'node:net';
import type { LookupFunction, NetConnectOpts, Socket, TcpNetConnectOpts } from 'node:net';
import type { Duplex } from 'node:stream';
import type { ConnectionOptions } from 'node:tls';
import { isName, parseDestination, printAddress } from '../destination.ts';
import type { Destination } from '../destination.ts';
import { SocksError } from '../errors.ts';
import type { SocksErrorCode } from '../errors.ts';
import { checkExchange, exchangeSteps } from '../protocol/handshake.ts';
import type { AuthPolicy } from '../protocol/socks5.ts';
import type { Bound, Exchange, Target } from '../protocol/step.ts';
import { checkRoute, printProxy, selectVia } from '../proxy.ts';
import type { ProxyRoute, ProxySelector, SocksProxy, Via } from '../proxy.ts';
import { Deadline } from './deadline.ts';
import { drive } from './drive.ts';
import { abandon, secure } from './secure.ts';

export interface SocksOptions {
  /** Milliseconds from the call to the open tunnel, look-ups, all hops and TLS included. Default 30000; 0: none. */
  timeout?: number;
  /** Replaces `dns.lookup` wherever this side looks a name up: the proxy's own, and destinations with `dns: 'local'`. */
  lookup?: LookupFunction;
  /** How to dial the proxy: `localAddress`, `family`, `autoSelectFamily`, `keepAlive` and so on, as in `net.connect`. */
  tcp?: Partial<TcpNetConnectOpts>;
  /** Default `auto`: with credentials offer methods 02 and 00. `required` offers 02 alone. */
  auth?: AuthPolicy;
  /** Send greeting, authentication and request in one segment (SOCKS5, last hop). Default false. */
  pipeline?: boolean;
}

export interface ConnectOptions extends SocksOptions {
  /** Ends the attempt: the promise rejects with `signal.reason`, the proxy's socket is destroyed. */
  signal?: AbortSignal;
  /** A connection to the (first) proxy that exists already; nothing is dialled. It is ours: a failure destroys it. */
  socket?: Duplex;
  /** What `SocksClient.select()` chose for this destination. Default: the route is asked now. */
  via?: Via;
  /** Speak TLS to the destination through the tunnel, with these options; `tunnel.socket` is then a `TLSSocket`. */
  tls?: ConnectionOptions;
}

export interface Tunnel {
  /** Open, with no listener of ours; bytes that came behind the proxy's reply are still to be read. */
  readonly socket: Socket;
  /** What the proxy says it is connected from (BND.ADDR, BND.PORT). Information only; often zeros. */
  readonly bound: Bound;
}

const DEFAULT_TIMEOUT = 30_000;
const MAX_TIMEOUT = 2 ** 31 - 1;

/**
 * Opens a tunnel to `destination` through one proxy, a chain of proxies (first hop first), or what a selector says.
 *
 * Rejects with a {@link SocksError} and nothing else, but for an abort (`signal.reason`), what a selector throws,
 * and the errors of the destination itself: of its TLS, or of a direct connection that a selector asked for.
 * Some servers report success before they connect; the failure is then the socket's own error or end.
 *
 * @example
 * const { socket } = await connect('socks5://127.0.0.1:1080', { host: 'example.com', port: 80 });
 * socket.write('HEAD / HTTP/1.0\r\n\r\n');
 */
export function connect(
  route: ProxyRoute,
  destination: Destination,
  options: ConnectOptions = {},
): Promise<Tunnel> {
  return open(checkRoute(route), destination, options);
}

/** {@link connect}, which shows its deadline in `underWay` for as long as it takes. */
export async function open(
  route: Via | ProxySelector,
  destination: Destination,
  options: ConnectOptions,
  underWay?: Set<Deadline>,
): Promise<Tunnel> {
  checkOptions(options);
  const to = parseDestination(destination);
  const via = options.via ?? selectVia(route, to);
  const deadline = new Deadline(options.timeout ?? DEFAULT_TIMEOUT, options.signal);
  underWay?.add(deadline);
  try {
    const tunnel = await (via === 'direct'
      ? connectDirectly(to, options, deadline)
      : openTunnel(via, to, options, deadline));
    if (!options.tls) return tunnel;
    deadline.progress.phase = 'destination-tls';
    return { socket: await secure(tunnel.socket, to, options.tls, deadline), bound: tunnel.bound };
  } catch (error) {
    if (options.socket) abandon(options.socket);
    throw error;
  } finally {
    deadline.end();
    underWay?.delete(deadline);
  }
}

/** @throws TypeError `ERR_INVALID_ARG_VALUE`, for what types alone do not keep out */
export function checkOptions({ timeout = DEFAULT_TIMEOUT, auth = 'auto' }: SocksOptions): void {
  if (!Number.isFinite(timeout) || timeout < 0 || timeout > MAX_TIMEOUT) {
    throw invalidOption(`timeout is 0 to ${MAX_TIMEOUT} milliseconds, not ${String(timeout)}`);
  }
  if (auth !== 'auto' && auth !== 'required')
    throw invalidOption(`auth is 'auto' or 'required', not ${String(auth)}`);
}

export function invalidOption(message: string): TypeError {
  return Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' });
}

async function openTunnel(
  chain: readonly SocksProxy[],
  destination: Target,
  options: ConnectOptions,
  deadline: Deadline,
): Promise<Tunnel> {
  const hops = chain.map((proxy, i): Exchange => ({ proxy, target: chain[i + 1] ?? destination }));
  for (const hop of hops) checkExchange(hop, options.auth);
  let failed: unknown;
  for (const route of await resolveTargets(hops, options, deadline)) {
    try {
      return await walk(route, options, deadline);
    } catch (error) {
      failed = error;
      if (options.socket || deadline.stopped) break;
    }
  }
  throw failed;
}

/** One connection, hop by hop. */
async function walk(hops: readonly Exchange[], options: ConnectOptions, deadline: Deadline): Promise<Tunnel> {
  let stream: Duplex | undefined = options.socket;
  try {
    let bound: Bound = { host: '', port: 0 };
    for (const [i, hop] of hops.entries()) {
      const { proxy, target } = hop;
      Object.assign(deadline.progress, {
        phase: 'dial',
        proxy: printProxy(proxy),
        destination: printAddress(target),
      });
      stream ??= await dialProxy(proxy, options, deadline);
      if (proxy.tls) stream = await secureProxy(stream, proxy, deadline);
      const last = i === hops.length - 1;
      bound = await drive(
        stream,
        exchangeSteps(hop, { auth: options.auth ?? 'auto', pipeline: last && options.pipeline === true }),
        deadline,
      );
    }
    return { socket: stream as Socket, bound };
  } catch (error) {
    if (stream) abandon(stream);
    throw error;
  }
}

/**
 * With `dns: 'local'` the targets of the hops become addresses. A refused address needs a connection of its own,
 * so this gives the whole way once for each combination of addresses, in the order of the look-ups.
 */
async function resolveTargets(
  hops: readonly Exchange[],
  { lookup = systemLookup }: ConnectOptions,
  deadline: Deadline,
): Promise<readonly (readonly Exchange[])[]> {
  let ways: readonly (readonly Exchange[])[] = [[]];
  for (const { proxy, target } of hops) {
    let hosts: readonly string[] = [target.host];
    if (proxy.dns === 'local' && isName(target.host)) {
      Object.assign(deadline.progress, {
        phase: 'lookup',
        proxy: printProxy(proxy),
        destination: printAddress(target),
      });
      hosts = await lookUp(lookup, target.host, proxy.version === 4 ? 4 : 0, deadline);
    }
    ways = ways.flatMap((way) =>
      hosts.map((host) => way.concat({ proxy, target: { host, port: target.port } })),
    );
  }
  return ways;
}

async function lookUp(
  lookup: LookupFunction,
  name: string,
  family: 0 | 4,
  deadline: Deadline,
): Promise<string[]> {
  const failed = (details: { cause?: unknown; detail?: string }) =>
    new SocksError('ERR_SOCKS_LOOKUP', { ...deadline.progress, ...details });
  const addresses = await deadline.step<string[]>((done, reject) => {
    try {
      lookup(name, { all: true, family }, (error, found, oneFamily) => {
        if (error)
          return reject(
            failed({ cause: error, ...(family === 4 && { detail: 'SOCKS4 needs an A record' }) }),
          );
        // A look-up function may answer with one address even when it is asked for all.
        const all = Array.isArray(found) ? found : [{ address: found, family: oneFamily }];
        done(all.map((entry) => entry.address).filter((address) => family === 0 || !address.includes(':')));
      });
    } catch (error) {
      reject(failed({ cause: error }));
    }
    return () => {};
  });
  if (addresses.length === 0)
    throw failed({ detail: family === 4 ? 'no A record, and SOCKS4 carries IPv4 only' : 'no address' });
  return addresses;
}

async function dialProxy(proxy: SocksProxy, options: ConnectOptions, deadline: Deadline): Promise<Socket> {
  try {
    return await dial(proxy.path === undefined ? proxy : { path: proxy.path }, options, deadline);
  } catch (error) {
    throw deadline.stopped ? error : proxyFailure('ERR_SOCKS_PROXY_UNREACHABLE', error, deadline);
  }
}

async function secureProxy(stream: Duplex, proxy: SocksProxy, deadline: Deadline): Promise<Duplex> {
  deadline.progress.phase = 'proxy-tls';
  try {
    return await secure(stream, proxy, proxy.tls ?? {}, deadline);
  } catch (error) {
    throw deadline.stopped ? error : proxyFailure('ERR_SOCKS_PROXY_TLS', error, deadline);
  }
}

function proxyFailure(code: SocksErrorCode, cause: unknown, { progress }: Deadline): SocksError {
  const reason = (cause as NodeJS.ErrnoException).code;
  return new SocksError(code, { ...progress, cause, ...(reason !== undefined && { detail: reason }) });
}

async function connectDirectly(to: Target, options: ConnectOptions, deadline: Deadline): Promise<Tunnel> {
  Object.assign(deadline.progress, { phase: 'dial', destination: printAddress(to) });
  const socket = await dial(to, options, deadline);
  return { socket, bound: { host: socket.localAddress ?? '', port: socket.localPort ?? 0 } };
}

/** Node's own dialling (RFC 8305 over all addresses), without Nagle's delay. */
async function dial(
  to: Target | { readonly path: string },
  { tcp, lookup }: ConnectOptions,
  deadline: Deadline,
): Promise<Socket> {
  const where = 'path' in to ? { path: to.path } : { host: to.host, port: to.port };
  const options = {
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
    ...(lookup && { lookup }),
    ...tcp,
    ...where,
  };
  const socket = dialTcp(options as NetConnectOpts);
  try {
    return await deadline.step<Socket>((resolve, reject) => {
      const onConnect = (): void => resolve(socket);
      socket.on('connect', onConnect).on('error', reject);
      return () => socket.off('connect', onConnect).off('error', reject);
    });
  } catch (error) {
    abandon(socket);
    throw error;
  }
}
