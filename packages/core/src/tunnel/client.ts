// Opens tunnels for a route. One attempt holds the time limit, the signal and all that is opened for a tunnel, so that
// any failure closes all of it. A client holds its attempts, so that close() can end them.

import type { Socket } from 'node:net';
import type { Chain } from '../chain.ts';
import { isOnion, parseDestination } from '../destination.ts';
import type { Destination, DestinationLike } from '../destination.ts';
import { invalidOption } from '../errors.ts';
import { Alternatives, firstChain } from '../group/group.ts';
import { checkOptions } from '../options.ts';
import type { ConnectOptions, SocksOptions } from '../options.ts';
import { hopError } from '../protocol/step.ts';
import type { Bound } from '../protocol/step.ts';
import { selectChain, checkRoute, isPromise, LazyContext } from '../route.ts';
import type { CheckedRoute, ProxyRoute, Selection } from '../route.ts';
import { openAlternative } from './alternatives.ts';
import type { Secure, Trial } from './alternatives.ts';
import { Attempt } from './attempt.ts';
import { negotiateChain, requestTunnel } from './one-chain.ts';
import { dial } from './dial.ts';
import type { Opened } from './hops.ts';
import { Progress } from './progress.ts';
import { secure, withSecureContext } from './secure.ts';
import { Standby } from './standby.ts';
import { trace } from './trace.ts';

/** What {@link connect} opens. */
export interface Tunnel {
  /** Open, without a listener of this package. Bytes that came behind the reply of the proxy are still in it. */
  readonly socket: Socket;
  /** What the proxy says it is connected from (BND.ADDR, BND.PORT). Information only; often zeros. */
  readonly bound: Bound;
  /** The proxies that the tunnel goes through, first hop first; `direct` if a selector chose a direct connection. */
  readonly chain: Chain;
}

/**
 * Opens a tunnel to `destination` through one proxy, a chain of proxies (first hop first), or what a selector or a group
 * chooses.
 *
 * Rejects with a {@link SocksError}, with these exceptions:
 *
 * - An abort rejects with `signal.reason`.
 * - What a selector or `prepare` throws is passed on, and so is what Node throws for TLS or TCP options that it refuses.
 * - Errors of the destination are passed on: those of TLS to it, and of a direct connection that a selector chose.
 *
 * Some servers report success before they connect. If they cannot connect then, the open socket fails or ends.
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
  let client: SocksClient;
  try {
    client = new SocksClient(route);
  } catch (error) {
    destroySocket(options);
    throw error;
  }
  return client.connect(destination, options);
}

/** The options of {@link SocksClient}. */
export interface ClientOptions extends SocksOptions {
  /**
   * How many connections to keep at most, with greeting and authentication done, so that the next tunnel costs one round
   * trip. Default 0. As many are kept as the tunnels of the last seconds needed. They keep no process alive, and are
   * closed unused after 4 s, or as soon as the server closes them or sends anything.
   */
  standby?: number | undefined;
}

/**
 * Opens tunnels for one route, and can end all attempts that are in progress.
 *
 * @throws SocksError in the constructor, for a proxy that is not valid; TypeError `ERR_INVALID_ARG_VALUE`, for an option
 * @example
 * const client = new SocksClient('socks5://127.0.0.1:1080', { standby: 2 });
 * const { socket } = await client.connect({ host: 'example.com', port: 443 });
 * await client.close();
 */
export class SocksClient {
  readonly #route: CheckedRoute;
  readonly #options: SocksOptions;
  readonly #attempts = new Set<Attempt>();
  readonly #standby: Standby | undefined;
  #closed = false;

  constructor(proxy: ProxyRoute, options: ClientOptions = {}) {
    const { standby = 0, ...given } = checkOptions(options);
    this.#route = checkRoute(proxy);
    this.#options = given;
    if (standby > 0) this.#standby = new Standby(standby, given);
  }

  /**
   * Selects the chain or the alternatives for this destination, without any IO. The result is a promise only if the
   * selector returns one. For pools that keep the connections of different selections apart, by `chainKey()`.
   *
   * @throws what the selector throws. A promise rejects with what the selector rejects with, `signal.reason`,
   * `ERR_SOCKS_TIMEOUT` after the client's `timeout`, or `ERR_SOCKS_CLOSED`
   */
  select(
    destination: DestinationLike,
    { signal }: { signal?: AbortSignal | undefined } = {},
  ): Selection | Promise<Selection> {
    const parsed = parseDestination(destination);
    if (typeof this.#route !== 'function') return this.#route;
    checkOptions({ signal });
    const context = new LazyContext();
    const selection = selectChain(this.#route, parsed, context);
    return selection instanceof Promise ? this.#waitFor(selection, context, parsed, signal) : selection;
  }

  async #waitFor(
    selection: Promise<Selection>,
    context: LazyContext,
    destination: Destination,
    signal?: AbortSignal,
  ): Promise<Selection> {
    const options = { ...this.#options, signal };
    const attempt = new Attempt(options, new Progress(destination)).begin(this.#attempts);
    try {
      return await attempt.race(selection, context);
    } finally {
      attempt.end();
    }
  }

  /** As the function `connect`. Options that are given here replace those of the client. */
  async connect(destination: DestinationLike, options: ConnectOptions = {}): Promise<Tunnel> {
    let attempt: Attempt | undefined;
    let parsed: Destination | undefined;
    let chain: Chain | undefined;
    const trials: Trial[] = [];
    try {
      const given = checkOptions(options);
      parsed = parseDestination(destination);
      if (this.#closed) throw hopError({ destination: parsed }, 'ERR_SOCKS_CLOSED', { phase: 'input' });
      const { lookup, auth, socket, tcp = {} } = given;
      const settings = { ...this.#options, ...given };
      if (given.tcp) settings.tcp = { ...this.#options.tcp, ...tcp };
      // Standby connections were dialled and authenticated with the options of the client.
      const ordinary = !lookup && !auth && !socket && Object.keys(tcp).length === 0;
      const standby = ordinary ? this.#standby : undefined;

      attempt = new Attempt(settings, new Progress(parsed)).begin(this.#attempts);
      const { progress } = attempt;
      // Options that Node refuses are found before anything is dialled.
      const { tls, prepare } = settings;
      const fixedTls = typeof tls === 'object' ? withSecureContext(tls) : undefined;
      let selection = given.chain ?? this.#route;
      if (typeof selection === 'function') {
        // A selector is not called for an attempt that is over.
        attempt.throwIfStopped();
        const context = new LazyContext();
        const selected = selectChain(selection, parsed, context);
        selection = selected instanceof Promise ? await attempt.race(selected, context) : selected;
      }
      attempt.throwIfStopped();
      chain = selection instanceof Alternatives ? firstChain(selection) : selection;
      const secureOptions = typeof tls === 'function' ? withSecureContext(tls(chain)) : fixedTls;
      progress.enter('dial');
      trace('start', chain, parsed, progress);
      let opened: Opened;
      if (selection instanceof Alternatives) {
        const [first, to] = [chain, parsed];
        const secureOne: Secure = async ({ connection }, of, its) => {
          if (!secureOptions) return;
          const isOther = typeof tls === 'function' && of !== first;
          const itsOptions = isOther ? withSecureContext(tls(of)) : secureOptions;
          its.enter('destination-tls');
          await secure(connection, to, itsOptions);
        };
        const state = { attempts: this.#attempts, standby };
        const found = await openAlternative(selection, parsed, attempt, secureOne, trials, state);
        chain = found.chain;
        opened = found;
      } else {
        opened =
          selection === 'direct'
            ? await openDirectly(parsed, attempt)
            : await requestTunnel(
                await negotiateChain(selection, parsed, attempt, standby),
                attempt,
                standby,
              );
        if (secureOptions) {
          progress.enter('destination-tls');
          await secure(opened.connection, parsed, secureOptions);
        }
      }

      const { connection, bound } = opened;
      if (prepare) {
        const prepared = prepare(connection.stream);
        if (isPromise(prepared)) await attempt.race(prepared);
      }
      if (!connection.release()) {
        attempt.throwIfStopped();
        const cause = connection.ended?.reason;
        // The error of TLS or of a direct connection is passed on.
        throw chain === 'direct' || tls ? cause : attempt.progress.error('ERR_SOCKS_PROXY_CLOSED', { cause });
      }
      trace('end', chain, parsed, attempt.progress, { bound }, trials);
      return { socket: connection.stream, bound, chain };
    } catch (error) {
      attempt?.stop(error);
      if (attempt && parsed && chain) {
        const last = trials.at(-1)?.member.chain ?? chain;
        trace('error', last, parsed, attempt.progress, { error }, trials);
      }
      destroySocket(options);
      throw error;
    } finally {
      attempt?.end();
    }
  }

  /**
   * Ends every attempt in progress with `ERR_SOCKS_CLOSED`, closes the standby connections, and refuses new tunnels. Open
   * tunnels belong to their owners and stay open.
   */
  close(): Promise<void> {
    this.#closed = true;
    for (const attempt of this.#attempts) attempt.stop(attempt.progress.error('ERR_SOCKS_CLOSED'));
    this.#standby?.close();
    return Promise.resolve();
  }
}

/** Destroys the socket that was handed in. This is needed for failures that come before an attempt owns it. */
function destroySocket(options: ConnectOptions): void {
  const socket = options?.socket;
  if (typeof socket?.destroy !== 'function') return;
  // A socket that is destroyed already gets the listener too: its error may still come.
  socket.on?.('error', () => {});
  if (!socket.destroyed) socket.destroy();
}

async function openDirectly(destination: Destination, attempt: Attempt): Promise<Opened> {
  if (attempt.existing) {
    throw invalidOption('socket is a connection to a proxy: leave it out for a direct connection');
  }
  if (isOnion(destination.host)) {
    const detail = 'an onion name is never dialled directly: choose a tor proxy for it';
    throw hopError({ destination }, 'ERR_SOCKS_INVALID_DESTINATION', { phase: 'input', detail });
  }
  const connection = dial(destination, attempt);
  await connection.until(['connect']);
  const { localAddress = '', localPort = 0 } = connection.stream;
  return { connection, bound: { host: localAddress, port: localPort } };
}
