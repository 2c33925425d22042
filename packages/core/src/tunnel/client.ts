// SocksClient: a route, its options, and the attempts in progress, so that close() can end them.

import { parseDestination, printAddress } from '../destination.ts';
import type { Destination, DestinationLike } from '../destination.ts';
import { SocksError } from '../errors.ts';
import { withoutUndefined } from '../given.ts';
import { checkOptions } from '../options.ts';
import type { ConnectOptions, SocksOptions } from '../options.ts';
import { checkRoute, isPromise, selectChain } from '../route.ts';
import type { CheckedRoute, ProxyRoute, Selection } from '../route.ts';
import { Attempt } from './attempt.ts';
import { destroySocket, open } from './connect.ts';
import type { Tunnel } from './connect.ts';
import { Progress } from './progress.ts';
import { Standby } from './standby.ts';

export interface ClientOptions extends SocksOptions {
  /**
   * How many connections to keep with greeting and authentication done, so that the next tunnel costs one round trip.
   * Default 0. They are opened after a tunnel, for the chain used last; they keep no process alive, and are closed unused
   * after 4 s, or as soon as the server closes them or sends anything.
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
    { signal }: { signal?: AbortSignal } = {},
  ): Selection | Promise<Selection> {
    const parsed = parseDestination(destination);
    const selection = selectChain(this.#route, parsed);
    return isPromise(selection) ? this.#waitFor(selection, parsed, signal) : selection;
  }

  async #waitFor(
    selection: Promise<Selection>,
    destination: Destination,
    signal?: AbortSignal,
  ): Promise<Selection> {
    const attempt = new Attempt({ ...this.#options, signal }, new Progress(destination)).begin();
    this.#attempts.add(attempt);
    try {
      return await attempt.race(selection);
    } finally {
      attempt.end();
      this.#attempts.delete(attempt);
    }
  }

  /** As the function `connect`. Options that are given here replace those of the client. */
  async connect(destination: DestinationLike, options: ConnectOptions = {}): Promise<Tunnel> {
    try {
      const given = checkOptions(options);
      if (this.#closed) {
        const printed = printAddress(parseDestination(destination));
        throw new SocksError('ERR_SOCKS_CLOSED', { phase: 'input', destination: printed });
      }
      const tcp = given.tcp && withoutUndefined(given.tcp);
      const settings = { ...this.#options, ...given, tcp: { ...this.#options.tcp, ...tcp } };
      // Standby connections were dialled and authenticated with the options of the client.
      const { lookup, auth, socket } = given;
      const ordinary = !lookup && !auth && !socket && Object.keys(tcp ?? {}).length === 0;
      const standby = ordinary ? this.#standby : undefined;
      return await open(this.#route, destination, settings, { attempts: this.#attempts, standby });
    } catch (error) {
      destroySocket(options);
      throw error;
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
