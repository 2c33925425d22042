// A route and its options kept together with the attempts under way, so that closing reaches them.

import { parseDestination, printAddress } from '../destination.ts';
import type { Destination } from '../destination.ts';
import { SocksError } from '../errors.ts';
import { checkRoute } from '../route.ts';
import type { Chain, CheckedRoute, ProxyRoute } from '../route.ts';
import { checkOptions, DEFAULT_TIMEOUT, invalidOption, open, selectWithin } from './connect.ts';
import type { ConnectOptions, SocksOptions } from './connect.ts';
import { Deadline } from './deadline.ts';
import type { Tunnel } from './reach.ts';
import { Standby } from './standby.ts';

export interface ClientOptions extends SocksOptions {
  /**
   * How many connections to keep with greeting and authentication done, so that the next tunnel costs one round trip.
   * Default 0. Opened after a tunnel, and let go unused after 4 s, or as soon as the server closes them or sends anything.
   * Kept for the way used last; a selector has to give the same `SocksProxy` objects again, not URLs.
   */
  standby?: number;
}

const MAX_STANDBY = 1000;

/**
 * Opens many tunnels along one route, and can end all attempts that are under way.
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
  readonly #underWay = new Set<Deadline>();
  readonly #standby: Standby | undefined;
  #closed = false;

  constructor(proxy: ProxyRoute, { standby = 0, ...options }: ClientOptions = {}) {
    checkOptions(options);
    if (!Number.isInteger(standby) || standby < 0 || standby > MAX_STANDBY) {
      throw invalidOption(`standby is 0 to ${MAX_STANDBY} connections, not ${String(standby)}`);
    }
    this.#route = checkRoute(proxy);
    this.#options = options;
    if (standby > 0) this.#standby = new Standby(standby, options, options.timeout ?? DEFAULT_TIMEOUT);
  }

  /**
   * The chain for this destination, without any IO: a promise only if the selector gives one. For a pool that keeps
   * chains apart.
   *
   * @throws what the selector throws. A promise rejects with what the selector rejects with, `signal.reason`,
   * `ERR_SOCKS_TIMEOUT` after the client's `timeout`, or `ERR_SOCKS_CLOSED`
   */
  select(destination: Destination, { signal }: { signal?: AbortSignal } = {}): Chain | Promise<Chain> {
    const deadline = new Deadline(this.#options.timeout ?? DEFAULT_TIMEOUT, signal);
    let chain: Chain | Promise<Chain> | undefined;
    try {
      chain = selectWithin(deadline, this.#route, parseDestination(destination));
      if (!(chain instanceof Promise)) return chain;
    } finally {
      if (!(chain instanceof Promise)) deadline.end();
    }
    this.#underWay.add(deadline);
    return chain.finally(() => {
      deadline.end();
      this.#underWay.delete(deadline);
    });
  }

  /** As the function `connect`; options given here win over those of the client. */
  async connect(destination: Destination, options: ConnectOptions = {}): Promise<Tunnel> {
    checkOptions(options);
    if (this.#closed) {
      const to = printAddress(parseDestination(destination));
      throw new SocksError('ERR_SOCKS_CLOSED', { phase: 'input', destination: to });
    }
    const { tcp, lookup, auth, socket } = options;
    // What waits has been dialled and authenticated with the options of the client.
    const ordinary = !lookup && !auth && !socket && Object.keys(tcp ?? {}).length === 0;
    const settings = { ...this.#options, ...options, tcp: { ...this.#options.tcp, ...tcp } };
    const standby = ordinary ? this.#standby : undefined;
    return open(this.#route, destination, settings, { underWay: this.#underWay, standby });
  }

  /**
   * Ends every attempt under way with `ERR_SOCKS_CLOSED`, lets go of the connections on standby, and refuses new
   * tunnels. Open ones are their owners'.
   */
  close(): Promise<void> {
    this.#closed = true;
    for (const deadline of this.#underWay) deadline.stop(deadline.progress.failure('ERR_SOCKS_CLOSED'));
    this.#standby?.close();
    return Promise.resolve();
  }
}
