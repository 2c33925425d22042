// Connections to the last proxy of a way with greeting and authentication done, so that a tunnel costs one round trip.

import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Exchange } from '../protocol/step.ts';
import type { SocksProxy } from '../proxy.ts';
import { Deadline } from './deadline.ts';
import { resolveTargets } from './lookup.ts';
import { reach } from './reach.ts';
import type { ReachOptions } from './reach.ts';
import { abandon } from './secure.ts';

/** Milliseconds. Servers close a connection that asks for nothing; the most impatient one measured, after 5 s. */
const MAX_AGE = 4000;

interface Waiting {
  readonly chain: readonly SocksProxy[];
  readonly stream: Duplex;
  readonly release: () => void;
}

export class Standby {
  readonly #size: number;
  readonly #options: ReachOptions;
  readonly #timeout: number;
  readonly #waiting: Waiting[] = [];
  readonly #opening = new Set<{ readonly chain: readonly SocksProxy[]; readonly deadline: Deadline }>();

  #closed = false;

  constructor(size: number, options: ReachOptions, timeout: number) {
    this.#size = size;
    this.#options = options;
    this.#timeout = timeout;
  }

  /** The youngest connection of this way, if there is one. It is the caller's. */
  take(chain: readonly SocksProxy[]): Duplex | undefined {
    const found = this.#waiting.findLast((waiting) => sameWay(waiting.chain, chain));
    found?.release();
    return found?.stream;
  }

  /** Opens as many as are missing for this way, in the background. Those of other ways make room. */
  fill(chain: readonly SocksProxy[]): void {
    if (this.#closed) return;
    for (const { stream, release, chain: other } of Array.from(this.#waiting)) {
      if (sameWay(other, chain)) continue;
      release();
      abandon(stream);
    }
    for (const { deadline, chain: other } of this.#opening) {
      if (!sameWay(other, chain)) deadline.stop(new Error('another way is used now'));
    }
    const same = [...this.#waiting, ...this.#opening].filter((other) => sameWay(other.chain, chain));
    for (let missing = this.#size - same.length; missing > 0; missing--) void this.#open(chain);
  }

  close(): void {
    this.#closed = true;
    for (const { deadline } of this.#opening) deadline.stop(new Error('closed'));
    for (const { stream, release } of Array.from(this.#waiting)) {
      release();
      abandon(stream);
    }
  }

  async #open(chain: readonly SocksProxy[]): Promise<void> {
    const opening = { chain, deadline: new Deadline(this.#timeout, undefined, { background: true }) };
    this.#opening.add(opening);
    try {
      // The last target is not known yet, and nobody asks for it before it is.
      const hops = chain.map(
        (proxy, i): Exchange => ({ proxy, target: chain[i + 1] ?? { host: '0.0.0.0', port: 0 } }),
      );
      const [way = hops] = await resolveTargets(hops, this.#options.lookup, opening.deadline);
      this.#keep(chain, await reach(way, this.#options, opening.deadline));
    } catch {
      // The next tunnel finds out for itself, and tells its caller.
    } finally {
      opening.deadline.end();
      this.#opening.delete(opening);
    }
  }

  #keep(chain: readonly SocksProxy[], stream: Duplex): void {
    // A byte, the end, a close: nothing of that belongs to a connection that was not asked for anything.
    const drop = (): void => {
      waiting.release();
      abandon(stream);
    };
    const timer = setTimeout(drop, MAX_AGE).unref();
    const onReadable = (): void => {
      if (stream.readableLength > 0 || stream.readableEnded) drop();
      else stream.read(0); // at the end of the stream, this brings 'end'
    };
    const events = { readable: onReadable, end: drop, close: drop, error: drop };
    const waiting: Waiting = {
      chain,
      stream,
      release: () => {
        clearTimeout(timer);
        for (const [event, listener] of Object.entries(events)) stream.off(event, listener);
        const place = this.#waiting.indexOf(waiting);
        if (place !== -1) this.#waiting.splice(place, 1);
        (stream as Socket).ref?.();
      },
    };
    this.#waiting.push(waiting);
    for (const [event, listener] of Object.entries(events)) stream.on(event, listener);
    (stream as Socket).unref?.();
    if (stream.destroyed || stream.readableEnded) drop();
  }
}

/** The same proxies, by identity: a fixed route, or a selector that gives the same objects again. */
function sameWay(one: readonly SocksProxy[], other: readonly SocksProxy[]): boolean {
  return one.length === other.length && one.every((proxy, hop) => proxy === other[hop]);
}
