// Connections to the last proxy of a chain with greeting and authentication done, so that a tunnel costs one round trip.

import { clearTimeout, setImmediate, setTimeout } from 'node:timers';
import { chainKey } from '../chain-key.ts';
import type { SocksOptions } from '../options.ts';
import type { SocksProxy } from '../proxy.ts';
import { Attempt } from './attempt.ts';
import type { Connection } from './connection.ts';
import { negotiateHops, toHops } from './hops.ts';
import { needsLookup, resolveHops } from './lookup.ts';

/** Milliseconds. Servers close a connection that asks for nothing; the most impatient one measured, after 5 s. */
const MAX_AGE = 4000;

type ProxyChain = readonly SocksProxy[];

export class Standby {
  readonly #size: number;
  readonly #options: SocksOptions;
  /** The oldest first. */
  readonly #connections = new Set<StandbyConnection>();
  #closed = false;

  constructor(size: number, options: SocksOptions) {
    this.#size = size;
    this.#options = options;
  }

  /**
   * The youngest connection of an equal chain that is ready. It belongs to the caller's attempt from now on. The sockets
   * are looked at once before, so that one that the proxy has closed just now is not used.
   */
  async take(chain: ProxyChain, attempt: Attempt): Promise<Connection | undefined> {
    for (;;) {
      const found = [...this.#connections].findLast(
        (one) => one.state === 'ready' && one.leadsThrough(chain),
      );
      if (!found) return undefined;
      found.state = 'reserved';
      await new Promise<void>((resolve) => void setImmediate(resolve));
      if (found.state === 'reserved') return found.take(attempt);
    }
  }

  /** Opens as many as are missing for this chain, in the background. The oldest ones of other chains make room. */
  fill(chain: ProxyChain): void {
    if (this.#closed) return;
    const others = [...this.#connections].filter((one) => !one.leadsThrough(chain));
    const missing = this.#size - (this.#connections.size - others.length);
    const tooMany = this.#connections.size + missing - this.#size;
    for (const other of others.slice(0, Math.max(0, tooMany))) other.end();
    for (let i = 0; i < missing; i++) {
      const connection = new StandbyConnection(chain, this.#options, (ended) =>
        this.#connections.delete(ended),
      );
      this.#connections.add(connection);
      void connection.open();
    }
  }

  close(): void {
    this.#closed = true;
    for (const connection of this.#connections) connection.end();
  }
}

/** One connection of the standby. It is over when it was taken or has ended. */
class StandbyConnection {
  state: 'opening' | 'ready' | 'reserved' | 'over' = 'opening';
  readonly #chain: ProxyChain;
  readonly #onOver: (connection: StandbyConnection) => void;
  /** That of opening it, and then the one that it belongs to until it is taken. */
  readonly #attempt: Attempt;
  #connection: Connection | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(chain: ProxyChain, options: SocksOptions, onOver: (connection: StandbyConnection) => void) {
    this.#chain = chain;
    this.#onOver = onOver;
    this.#attempt = new Attempt(options, true).begin();
  }

  leadsThrough(chain: ProxyChain): boolean {
    return chain === this.#chain || chainKey(chain) === chainKey(this.#chain);
  }

  async open(): Promise<void> {
    try {
      // The destination is not known yet, and negotiation does not depend on it.
      const hops = toHops(this.#chain, { host: '0.0.0.0', port: 0 });
      const [resolved = hops] = needsLookup(hops) ? await resolveHops(hops, this.#attempt) : [];
      const connection = await negotiateHops(resolved, this.#attempt);
      this.#attempt.end();
      if (this.state === 'over') return;
      this.state = 'ready';
      this.#connection = connection;
      connection.keepAlive(false);
      this.#timer = setTimeout(() => this.end(), MAX_AGE).unref();
      // A byte, the end, a failure: none of them belongs to a connection that was not asked for anything.
      await connection.hasMore();
    } catch {
      // The next tunnel finds out for itself, and tells its caller.
    }
    this.end();
  }

  take(attempt: Attempt): Connection {
    const connection = this.#connection as Connection;
    this.#finish();
    connection.belongTo(attempt).keepAlive(true);
    connection.interrupt();
    return connection;
  }

  /** Closes the connection, in whatever state it is. */
  end(): void {
    if (this.state === 'over') return;
    this.#finish();
    this.#attempt.stop(new Error('the standby connection is not needed'));
  }

  #finish(): void {
    this.state = 'over';
    clearTimeout(this.#timer);
    this.#attempt.end();
    this.#onOver(this);
  }
}
