// Keeps connections to the last proxy of a chain with greeting and authentication done, so that a tunnel costs one
// round trip. demand.ts says how many.

import { clearTimeout, setImmediate, setTimeout } from 'node:timers';
import { chainKey } from '../chain-key.ts';
import type { SocksOptions } from '../options.ts';
import type { SocksProxy } from '../proxy.ts';
import { Attempt } from './attempt.ts';
import type { Connection } from './connection.ts';
import { Demand } from './demand.ts';
import { negotiateHops, toCandidates } from './hops.ts';

/** Milliseconds. Servers close a connection that sends no request; of those measured, the first one after 5 s. */
const MAX_AGE = 4000;
/**
 * Milliseconds that a tunnel waits for a connection that is being opened, before it opens one of its own; longer if the
 * last connection took longer to open.
 */
const PATIENCE = 1000;
/** How many chains are remembered with the demand for them. */
const REMEMBERED = 1000;

type ProxyChain = readonly SocksProxy[];

interface StandbyConnection {
  readonly key: string;
  /** The attempt that opens the connection, and owns it until it is taken. */
  readonly attempt: Attempt;
  /** True while no tunnel has chosen it. */
  isFree: boolean;
  /** True if its credentials wait until another connection has been negotiated. */
  isAhead: boolean;
  /** Set when it is ready. */
  connection?: Connection;
  /** Called when it is ready or closed. */
  onOpened?: () => void;
  timer?: NodeJS.Timeout;
}

export class Standby {
  readonly #size: number;
  readonly #options: SocksOptions;
  /** Those that are neither taken nor closed, the oldest first. */
  readonly #all = new Set<StandbyConnection>();
  /** By the key of the chain, the one requested last at the end. */
  readonly #demands = new Map<string, Demand>();
  /** Milliseconds that the last connection took to open. */
  #took = 0;
  #closed = false;

  constructor(size: number, options: SocksOptions) {
    this.#size = size;
    this.#options = options;
  }

  /**
   * Takes the oldest connection of an equal chain, and makes it part of the attempt; its replacement is opened at once.
   * If none is ready, the one that was begun first is nearly open. If that one fails, the tunnel opens a connection of
   * its own, and reports its error; to wait for the next one could open connections until the time limit. Before a
   * connection is used, Node gets one chance to look at its sockets, so that a connection that the proxy has just closed
   * is not used.
   */
  async take(chain: ProxyChain, attempt: Attempt): Promise<Connection | undefined> {
    const key = chainKey(chain);
    this.#demandOf(key).add(performance.now());
    for (;;) {
      const free = this.#free().filter((one) => one.key === key && !one.isAhead);
      const found = free.find(({ connection }) => connection) ?? free[0];
      if (!found) return undefined;
      found.isFree = false;
      this.fill(chain);
      const wasReady = found.connection !== undefined;
      if (!wasReady) await this.#change(found, attempt);
      await new Promise<void>((resolve) => void setImmediate(resolve));
      const { connection } = found;
      if (connection && this.#all.has(found)) {
        attempt.own(connection).keepAlive(true);
        // This ends the wait for bytes, and with it the standby connection.
        connection.interrupt(new Error('the standby connection was taken'));
        return connection;
      }
      if (!wasReady) return undefined;
    }
  }

  /**
   * Opens the missing connections in the background, for this chain. A chain that has none gets at least one; without
   * room for it, the oldest are closed. So chains that are used in turn keep their connections.
   *
   * @param negotiation of a tunnel's own connection, which goes on at the same time: credentials are sent only after it
   * has succeeded, so that wrong ones are sent once
   */
  fill(chain: ProxyChain, negotiation?: Promise<unknown>): void {
    if (this.#closed) return;
    const key = chainKey(chain);
    const free = this.#free();
    const held = free.filter((one) => one.key === key).length;
    const room = Math.max(this.#size - free.length, held === 0 ? 1 : 0);
    const missing = Math.min(this.#demandOf(key).wanted - held, room);
    for (const oldest of free.slice(0, Math.max(0, free.length + missing - this.#size))) this.#end(oldest);
    for (let i = 0; i < missing; i++) void this.#open(key, chain, negotiation);
  }

  close(): void {
    this.#closed = true;
    for (const one of this.#all) this.#end(one);
  }

  /**
   * Waits until the connection is ready or closed. If that takes too long, or the attempt stops, it is closed, since another
   * one has been opened in its place.
   */
  async #change(one: StandbyConnection, attempt: Attempt): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const change = new Promise<void>((resolve) => {
      one.onOpened = resolve;
      // This timer keeps the process alive, which the connection does not.
      timer = setTimeout(() => this.#end(one), Math.max(PATIENCE, 2 * this.#took));
    });
    try {
      await attempt.race(change);
    } catch (reason) {
      this.#end(one);
      throw reason;
    } finally {
      clearTimeout(timer);
    }
  }

  #free(): StandbyConnection[] {
    return [...this.#all].filter(({ isFree }) => isFree);
  }

  #demandOf(key: string): Demand {
    const demand = this.#demands.get(key) ?? new Demand(this.#size);
    this.#demands.delete(key);
    this.#demands.set(key, demand);
    const [oldest = key] = this.#demands.keys();
    if (this.#demands.size > REMEMBERED) this.#demands.delete(oldest);
    return demand;
  }

  async #open(key: string, chain: ProxyChain, negotiation?: Promise<unknown>): Promise<void> {
    const attempt = new Attempt(this.#options, undefined, true).begin();
    const one: StandbyConnection = { key, attempt, isFree: true, isAhead: negotiation !== undefined };
    this.#all.add(one);
    const began = performance.now();
    const before = negotiation && this.#proof(one, negotiation);
    try {
      // The destination is not known yet, and negotiation does not depend on it.
      const [hops = []] = await toCandidates(chain, { host: '0.0.0.0', port: 0 }, attempt);
      const connection = await negotiateHops(hops, attempt, { before });
      attempt.end();
      one.connection = connection;
      this.#took = performance.now() - began;
      one.isAhead = false;
      one.onOpened?.();
      connection.keepAlive(false);
      one.timer = setTimeout(() => this.#end(one), MAX_AGE).unref();
      // Whatever comes now (a byte, the end, a failure), the connection is of no use: no request was sent on it. If the
      // attempt was stopped meanwhile, the connection has failed already.
      await connection.hasMore();
    } catch {
      // The error is dropped. If the proxy keeps failing, the next tunnel reports it to its caller.
    }
    this.#end(one);
  }

  /** Resolves when the negotiation has succeeded. The connection may not wait for it, so its failure is no error here. */
  async #proof(one: StandbyConnection, negotiation: Promise<unknown>): Promise<void> {
    try {
      await negotiation;
      one.isAhead = false;
    } catch {
      this.#end(one);
    }
  }

  /** Closes the connection, in whatever state it is. One that was taken belongs to another attempt, and stays open. */
  #end(one: StandbyConnection): void {
    clearTimeout(one.timer);
    this.#all.delete(one);
    one.attempt.end();
    one.attempt.stop(new Error('the standby connection is not needed'));
    one.onOpened?.();
  }
}
