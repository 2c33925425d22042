// From a route and a destination to an open tunnel. One attempt holds the time limit, the signal and all that is opened,
// so that whatever fails, wherever, closes all of it.

import type { Socket } from 'node:net';
import { invalidDestination, isOnion, parseDestination, printAddress } from '../destination.ts';
import type { Destination } from '../destination.ts';
import { SocksError } from '../errors.ts';
import { checkOptions, invalidOption } from '../options.ts';
import type { ConnectOptions } from '../options.ts';
import { canPipeline, checkHop } from '../protocol/handshake.ts';
import { pipelined5 } from '../protocol/socks5.ts';
import type { Bound, Hop } from '../protocol/step.ts';
import { invalidProxy } from '../proxy.ts';
import type { SocksProxy } from '../proxy.ts';
import { checkRoute, selectChain } from '../route.ts';
import type { Chain, CheckedRoute, ProxyRoute } from '../route.ts';
import { Attempt } from './attempt.ts';
import { Connection } from './connection.ts';
import { dial } from './dial.ts';
import { lastOf, negotiateHops, openHops, proxyClosed, requestTunnel, toHops } from './hops.ts';
import type { Opened } from './hops.ts';
import { needsLookup, resolveHops } from './lookup.ts';
import { openPipelined } from './pipeline.ts';
import { secure, withSecureContext } from './secure.ts';
import type { Standby } from './standby.ts';
import { trace } from './trace.ts';

export interface Tunnel {
  /** Open, with no listener of ours; bytes that came behind the proxy's reply are still to be read. */
  readonly socket: Socket;
  /** What the proxy says it is connected from (BND.ADDR, BND.PORT). Information only; often zeros. */
  readonly bound: Bound;
}

/** What a client adds to its attempts. */
export interface ClientState {
  /** The attempts under way. */
  readonly attempts: Set<Attempt>;
  readonly standby?: Standby | undefined;
}

/** Connections that need not be dialled: one to the first proxy that was handed in, and those on standby. */
interface Available {
  readonly existing: Connection | undefined;
  readonly standby: Standby | undefined;
}

/**
 * Opens a tunnel to `destination` through one proxy, a chain of proxies (first hop first), or what a selector says.
 *
 * Rejects with a {@link SocksError} and nothing else, but for an abort (`signal.reason`), what a selector or `prepare`
 * throws, what Node throws for TLS or TCP options that it refuses, and the errors of the destination itself: of its TLS,
 * or of a direct connection that a selector chose. Some servers report success before they connect; the failure is then
 * the socket's own error or end.
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
  try {
    return await open(checkRoute(route), destination, checkOptions(options));
  } catch (error) {
    destroySocket(options);
    throw error;
  }
}

/** A socket that was handed in is closed after every failure, also one that came before an attempt began. */
export function destroySocket(options: ConnectOptions): void {
  const { socket } = (options ?? {}) as Partial<ConnectOptions>;
  if (typeof socket?.destroy !== 'function' || socket.destroyed) return;
  socket.on('error', () => {});
  socket.destroy();
}

/** {@link connect}, with a checked route and checked options. */
export async function open(
  route: CheckedRoute,
  destination: Destination,
  options: ConnectOptions,
  client?: ClientState,
): Promise<Tunnel> {
  const parsed = parseDestination(destination);
  const attempt = new Attempt(options).begin();
  client?.attempts.add(attempt);
  const { progress } = attempt;
  progress.destination = printAddress(parsed);
  let chain: Chain | undefined;
  try {
    const existing = options.socket && new Connection(options.socket).belongTo(attempt);
    const tls = options.tls && withSecureContext(options.tls);
    const selected = options.chain ?? selectChain(route, parsed);
    chain = selected instanceof Promise ? await attempt.race(selected) : selected;
    attempt.throwIfStopped();
    progress.enter('dial');
    trace('start', chain, parsed, progress);
    const available = { existing, standby: client?.standby };
    const { connection, bound } = await (chain === 'direct'
      ? openDirectly(parsed, attempt)
      : openTunnel(chain, parsed, attempt, available));
    if (tls) {
      progress.enter('destination-tls');
      await secure(connection, parsed, tls);
    }
    options.prepare?.(connection.stream as Socket);
    const tunnel = { socket: release(connection, attempt), bound };
    trace('end', chain, parsed, progress, { bound });
    return tunnel;
  } catch (error) {
    attempt.stop(error);
    if (chain) trace('error', chain, parsed, progress, { error });
    throw error;
  } finally {
    attempt.end();
    client?.attempts.delete(attempt);
  }
}

function release(connection: Connection, attempt: Attempt): Socket {
  try {
    return connection.release();
  } catch (error) {
    throw attempt.progress.phase === 'request' ? proxyClosed(error, connection, attempt) : error;
  }
}

async function openDirectly(destination: Destination, attempt: Attempt): Promise<Opened> {
  if (attempt.options.socket) {
    throw invalidOption('socket is a connection to a proxy, and the route is a direct connection');
  }
  if (isOnion(destination.host)) {
    const detail = 'an onion name is never dialled directly: choose a tor proxy for it';
    throw invalidDestination(detail, '', printAddress(destination));
  }
  const connection = await dial(destination, attempt);
  const { localAddress = '', localPort = 0 } = connection.stream as Socket;
  return { connection, bound: { host: localAddress, port: localPort } };
}

async function openTunnel(
  chain: readonly SocksProxy[],
  destination: Destination,
  attempt: Attempt,
  { existing, standby }: Available,
): Promise<Opened> {
  const hops = toHops(chain, destination);
  for (const hop of hops) checkHop(hop, attempt.options.auth ?? 'auto');
  if (!existing && chain[0]?.path === undefined && isOnion(chain[0]?.host ?? '')) {
    throw invalidProxy(
      'an onion name is never looked up: reach this proxy through tor, as a later hop of a chain',
    );
  }
  try {
    const opened = await openEach(hops, attempt, async (resolved, part) => {
      const connection = await standby?.take(chain, part);
      return (
        (connection && (await openFromStandby(connection, resolved, part))) ??
        openNew(resolved, part, existing)
      );
    });
    standby?.fill(chain);
    return opened;
  } catch (error) {
    // A proxy that refuses a destination is a proxy that answers.
    if (error instanceof SocksError && error.phase === 'request' && !attempt.stopped) standby?.fill(chain);
    throw error;
  }
}

/** With the names of the hops looked up where they have to be: one address after the other. */
async function openEach(
  hops: readonly Hop[],
  attempt: Attempt,
  openOne: (hops: readonly Hop[], attempt: Attempt) => Promise<Opened>,
): Promise<Opened> {
  if (!needsLookup(hops)) return openOne(hops, attempt);
  let failed: unknown;
  for (const resolved of await resolveHops(hops, attempt)) {
    const part = attempt.part();
    try {
      return await openOne(resolved, part);
    } catch (error) {
      if (attempt.options.socket || attempt.stopped || !concernsAddress(error)) throw error;
      part.stop(error);
      failed = error;
    }
  }
  throw failed;
}

async function openFromStandby(
  connection: Connection,
  hops: readonly Hop[],
  attempt: Attempt,
): Promise<Opened | undefined> {
  try {
    return await requestTunnel(connection, lastOf(hops), attempt);
  } catch (error) {
    connection.destroy(error);
    if (attempt.stopped || !wasNotReceived(error)) throw error;
    return undefined;
  }
}

async function openNew(hops: readonly Hop[], attempt: Attempt, existing?: Connection): Promise<Opened> {
  const hop = lastOf(hops);
  const { pipeline, auth = 'auto' } = attempt.options;
  if (!pipeline || !canPipeline(hop.proxy, auth)) return openHops(hops, attempt, existing);
  if (!existing) return openPipelined(hops, attempt);
  // There is no second connection to be had.
  const connection = await negotiateHops(hops, attempt, { existing, negotiateLast: false });
  return requestTunnel(connection, hop, attempt, pipelined5(hop));
}

/** A reset says that the proxy had closed before the request came. An orderly close is how OpenSSH refuses. */
function wasNotReceived(error: unknown): boolean {
  if (!(error instanceof SocksError) || error.code !== 'ERR_SOCKS_PROXY_CLOSED' || error.detail) return false;
  const { code = '' } = (error.cause ?? {}) as NodeJS.ErrnoException;
  return code === 'ECONNRESET' || code === 'EPIPE';
}

/** Another address can succeed only where the proxy failed to connect to this one. */
function concernsAddress(error: unknown): boolean {
  return error instanceof SocksError && error.phase === 'request' && !NOT_THE_ADDRESS.has(error.code);
}

const NOT_THE_ADDRESS: ReadonlySet<string> = new Set([
  'ERR_SOCKS_PROTOCOL',
  'ERR_SOCKS_WRONG_PROTOCOL',
  'ERR_SOCKS_COMMAND_NOT_SUPPORTED',
  'ERR_SOCKS_IDENTD_UNREACHABLE',
  'ERR_SOCKS_IDENTD_MISMATCH',
]);
