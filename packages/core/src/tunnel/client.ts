// A route and its options kept together with the attempts under way, so that closing reaches them.

import { parseDestination, printAddress } from '../destination.ts';
import type { Destination } from '../destination.ts';
import { SocksError } from '../errors.ts';
import { checkRoute, selectVia } from '../proxy.ts';
import type { ProxyRoute, ProxySelector, Via } from '../proxy.ts';
import { checkOptions, open } from './connect.ts';
import type { ConnectOptions, SocksOptions, Tunnel } from './connect.ts';
import type { Deadline } from './deadline.ts';

/**
 * Opens many tunnels along one route, and can end all attempts that are under way.
 *
 * @throws SocksError in the constructor, for a proxy that is not valid
 * @example
 * const client = new SocksClient('socks5://127.0.0.1:1080');
 * const { socket } = await client.connect({ host: 'example.com', port: 443 });
 * await client.close();
 */
export class SocksClient {
  readonly #route: Via | ProxySelector;
  readonly #options: SocksOptions;
  readonly #underWay = new Set<Deadline>();
  #closed = false;

  constructor(proxy: ProxyRoute, options: SocksOptions = {}) {
    checkOptions(options);
    this.#route = checkRoute(proxy);
    this.#options = { ...options };
  }

  /** What the route comes to for this destination, without any IO. For a pool that keeps proxies apart. */
  select(destination: Destination): Via {
    return selectVia(this.#route, parseDestination(destination));
  }

  /** As the function `connect`; options given here win over those of the client. */
  async connect(destination: Destination, options: ConnectOptions = {}): Promise<Tunnel> {
    if (this.#closed) {
      const to = printAddress(parseDestination(destination));
      throw new SocksError('ERR_SOCKS_CLOSED', { phase: 'input', destination: to });
    }
    const tcp = { ...this.#options.tcp, ...options.tcp };
    return open(this.#route, destination, { ...this.#options, ...options, tcp }, this.#underWay);
  }

  /**
   * Ends every attempt under way with `ERR_SOCKS_CLOSED`, and refuses new ones. Open tunnels are their owners'.
   */
  close(): Promise<void> {
    this.#closed = true;
    for (const deadline of this.#underWay)
      deadline.stop(new SocksError('ERR_SOCKS_CLOSED', deadline.progress));
    return Promise.resolve();
  }
}
