// Opens a tunnel for a route and a destination. One attempt holds the time limit, the signal and all that is opened, so
// that any failure closes all of it.

import type { Socket } from 'node:net';
import type { Chain } from '../chain.ts';
import { isOnion, parseDestination } from '../destination.ts';
import type { Destination, DestinationLike } from '../destination.ts';
import { invalidOption } from '../errors.ts';
import { Alternatives, firstChain } from '../group/group.ts';
import { checkOptions } from '../options.ts';
import type { ConnectOptions } from '../options.ts';
import { hopError } from '../protocol/step.ts';
import type { Bound } from '../protocol/step.ts';
import type { SocksProxy } from '../proxy.ts';
import { checkRoute, isPromise, selectChain } from '../route.ts';
import type { CheckedRoute, ProxyRoute } from '../route.ts';
import { openAlternative } from './alternatives.ts';
import type { Trial } from './alternatives.ts';
import { Attempt } from './attempt.ts';
import { negotiateChain, requestTunnel } from './chain.ts';
import type { Connection } from './connection.ts';
import { dial } from './dial.ts';
import type { Opened } from './hops.ts';
import { Progress } from './progress.ts';
import { secure, withSecureContext } from './secure.ts';
import type { Standby } from './standby.ts';
import { trace } from './trace.ts';

export interface Tunnel {
  /** Open, without a listener of this package. Bytes that came behind the reply of the proxy are still in it. */
  readonly socket: Socket;
  /** What the proxy says it is connected from (BND.ADDR, BND.PORT). Information only; often zeros. */
  readonly bound: Bound;
  /** The proxies that the tunnel goes through, first hop first; `direct` if a selector chose a direct connection. */
  readonly chain: Chain;
}

/** What a client adds to its attempts. */
export interface ClientState {
  /** The attempts in progress. */
  readonly attempts: Set<Attempt>;
  readonly standby?: Standby | undefined;
}

/**
 * Opens a tunnel to `destination` through one proxy, a chain of proxies (first hop first), or the route that a selector
 * chooses.
 *
 * Rejects with a {@link SocksError}, except for these: an abort rejects with `signal.reason`; what a selector or
 * `prepare` throws, and what Node throws for TLS or TCP options that it refuses, is passed on; so are errors of the
 * destination itself, which are those of its TLS or of a direct connection that a selector chose. Some servers report
 * success before they connect; the failure is then the socket's own error or end.
 *
 * @throws TypeError `ERR_INVALID_ARG_VALUE` (as a rejection), for options that are not valid
 * @example
 * const { socket } = await connect('socks5://127.0.0.1:1080', { host: 'example.com', port: 80 });
 * socket.write('HEAD / HTTP/1.0\r\n\r\n');
 */
export async function connect(
  route: ProxyRoute,
  destination: DestinationLike,
  options: ConnectOptions = {},
): Promise<Tunnel> {
  try {
    return await open(checkRoute(route), destination, checkOptions(options));
  } catch (error) {
    destroySocket(options);
    throw error;
  }
}

/** Destroys the socket that was handed in. This is needed for failures that come before an attempt owns it. */
export function destroySocket(options: ConnectOptions): void {
  const socket = options?.socket;
  if (typeof socket?.destroy !== 'function') return;
  // A socket that is destroyed already gets the listener too: its error may still come.
  socket.on?.('error', () => {});
  if (!socket.destroyed) socket.destroy();
}

/** {@link connect}, with a checked route and checked options. */
export async function open(
  route: CheckedRoute,
  destination: DestinationLike,
  options: ConnectOptions,
  client?: ClientState,
): Promise<Tunnel> {
  const parsed = parseDestination(destination);
  const attempt = new Attempt(options, new Progress(parsed)).begin();
  client?.attempts.add(attempt);
  const trials: Trial[] = [];
  let chain: Chain | undefined;
  try {
    const { tls } = options;
    const fixedTls = typeof tls === 'object' ? withSecureContext(tls) : undefined;
    const selected = options.chain ?? selectChain(route, parsed);
    const selection = isPromise(selected) ? await attempt.race(selected) : selected;
    attempt.throwIfStopped();
    chain = selection instanceof Alternatives ? firstChain(selection) : selection;
    // Options that Node refuses are found before anything is dialled.
    const firstTls = typeof tls === 'function' ? withSecureContext(tls(chain)) : fixedTls;
    const expected = chain;
    const secureTunnel = async ({ connection }: Opened, of: Chain, progress: Progress): Promise<void> => {
      const secureOptions =
        typeof tls === 'function' && of !== expected ? withSecureContext(tls(of)) : firstTls;
      if (secureOptions === undefined) return;
      progress.enter('destination-tls');
      await secure(connection, parsed, secureOptions);
    };
    attempt.progress.enter('dial');
    trace('start', chain, parsed, attempt.progress);
    let opened: Opened;
    if (selection instanceof Alternatives) {
      const found = await openAlternative(selection, parsed, attempt, secureTunnel, trials, client);
      chain = found.chain;
      opened = found;
    } else {
      opened = await (selection === 'direct'
        ? openDirectly(parsed, attempt)
        : openThrough(selection, parsed, attempt, client?.standby));
      await secureTunnel(opened, selection, attempt.progress);
    }
    const { connection, bound } = opened;
    options.prepare?.(connection.stream);
    const tunnel = { socket: release(connection, chain, attempt), bound, chain };
    trace('end', chain, parsed, attempt.progress, { bound }, trials);
    return tunnel;
  } catch (error) {
    attempt.stop(error);
    if (chain)
      trace('error', trials.at(-1)?.member.chain ?? chain, parsed, attempt.progress, { error }, trials);
    throw error;
  } finally {
    attempt.end();
    client?.attempts.delete(attempt);
  }
}

/**
 * @throws SocksError `ERR_SOCKS_PROXY_CLOSED` when the tunnel failed after the reply; with TLS or a direct connection,
 * the error itself
 */
function release(connection: Connection, chain: Chain, attempt: Attempt): Socket {
  try {
    return connection.release();
  } catch (cause) {
    attempt.throwIfStopped();
    if (chain === 'direct' || attempt.options.tls) throw cause;
    throw attempt.progress.error('ERR_SOCKS_PROXY_CLOSED', { cause });
  }
}

async function openDirectly(destination: Destination, attempt: Attempt): Promise<Opened> {
  if (attempt.existing) {
    throw invalidOption('socket is a connection to a proxy, and the route is a direct connection');
  }
  if (isOnion(destination.host)) {
    const detail = 'an onion name is never dialled directly: choose a tor proxy for it';
    throw hopError({ destination }, 'ERR_SOCKS_INVALID_DESTINATION', { phase: 'input', detail });
  }
  const connection = await dial(destination, attempt);
  const { localAddress = '', localPort = 0 } = connection.stream;
  return { connection, bound: { host: localAddress, port: localPort } };
}

async function openThrough(
  chain: readonly SocksProxy[],
  destination: Destination,
  attempt: Attempt,
  standby: Standby | undefined,
): Promise<Opened> {
  return requestTunnel(await negotiateChain(chain, destination, attempt, standby), attempt, standby);
}
