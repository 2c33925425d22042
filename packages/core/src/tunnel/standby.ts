// Keeps connections to the last proxy of a chain with greeting and authentication done, so that a tunnel costs one
// round trip.

import { clearTimeout, setImmediate, setTimeout } from 'node:timers';
import { chainKey } from '../chain-key.ts';
import type { SocksOptions } from '../options.ts';
import type { SocksProxy } from '../proxy.ts';
import { Attempt } from './attempt.ts';
import type { Connection } from './connection.ts';
import { negotiateHops, toHops } from './hops.ts';
import { needsLookup, resolveHops } from './lookup.ts';

/** Milliseconds. Servers close a connection that sends no request; of those measured, the first one after 5 s. */
const MAX_AGE = 4000;

type ProxyChain = readonly SocksProxy[];

interface StandbyConnection {
  readonly chain: ProxyChain;
  /** The attempt that opens the connection, and owns it until it is taken. */
  readonly attempt: Attempt;
  /** False while it is being opened, and while it is being taken. */
  isReady: boolean;
  connection?: Connection;
  timer?: NodeJS.Timeout;
}

export class Standby {
  readonly #size: number;
  readonly #options: SocksOptions;
  /** Those that are neither taken nor closed, the oldest first. */
  readonly #all = new Set<StandbyConnection>();
  #closed = false;

  constructor(size: number, options: SocksOptions) {
    this.#size = size;
    this.#options = options;
  }

  /**
   * Takes the youngest connection of an equal chain that is ready, and makes it part of the attempt. Before that, Node
   * gets one chance to look at its sockets, so that a connection that the proxy has just closed is not used.
   */
  async take(chain: ProxyChain, attempt: Attempt): Promise<Connection | undefined> {
    for (;;) {
      const found = [...this.#all].findLast((one) => one.isReady && isEqual(one.chain, chain));
      if (!found) return undefined;
      found.isReady = false;
      await new Promise<void>((resolve) => void setImmediate(resolve));
      const { connection } = found;
      if (!this.#all.has(found) || !connection) continue;
      this.#finish(found);
      connection.belongTo(attempt).keepAlive(true);
      connection.interrupt();
      return connection;
    }
  }

  /**
   * Opens the missing connections in the background, for this chain. A chain that has none gets at least one; without
   * room for it, the oldest are closed. So chains that are used in turn keep their connections.
   */
  fill(chain: ProxyChain): void {
    if (this.#closed) return;
    const all = [...this.#all];
    const least = all.some((one) => isEqual(one.chain, chain)) ? 0 : 1;
    const missing = Math.max(least, this.#size - all.length);
    for (const oldest of all.slice(0, Math.max(0, all.length + missing - this.#size))) this.#end(oldest);
    for (let i = 0; i < missing; i++) void this.#open(chain);
  }

  close(): void {
    this.#closed = true;
    for (const one of this.#all) this.#end(one);
  }

  async #open(chain: ProxyChain): Promise<void> {
    const attempt = new Attempt(this.#options, undefined, true).begin();
    const one: StandbyConnection = { chain, attempt, isReady: false };
    this.#all.add(one);
    try {
      // The destination is not known yet, and negotiation does not depend on it.
      const hops = toHops(chain, { host: '0.0.0.0', port: 0 });
      const [resolved = hops] = hops.some(needsLookup) ? await resolveHops(hops, attempt) : [];
      one.connection = await negotiateHops(resolved, attempt);
      attempt.end();
      attempt.throwIfStopped();
      one.isReady = true;
      one.connection.keepAlive(false);
      one.timer = setTimeout(() => this.#end(one), MAX_AGE).unref();
      // Whatever comes now (a byte, the end, a failure), the connection is of no use: no request was sent on it.
      await one.connection.hasMore();
    } catch {
      // The error is dropped. If the proxy keeps failing, the next tunnel reports it to its caller.
    }
    this.#end(one);
  }

  /** Closes the connection, in whatever state it is. */
  #end(one: StandbyConnection): void {
    if (!this.#all.has(one)) return;
    this.#finish(one);
    one.attempt.stop(new Error('the standby connection is not needed'));
  }

  #finish(one: StandbyConnection): void {
    clearTimeout(one.timer);
    one.attempt.end();
    this.#all.delete(one);
  }
}

function isEqual(one: ProxyChain, other: ProxyChain): boolean {
  return one === other || chainKey(one) === chainKey(other);
}
