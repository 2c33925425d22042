// The pools in use, one for each origin and chain: no connection outlives the answer of the selector that it was opened
// for. Each has Agents of its own, which are closed when nothing is left in it: no request, no handshake, no connection.
//
// undici 5 and 6 and the Agents inside Node 20 and 22 keep the pool of every origin for ever, and what an Agent keeps
// cannot be taken from it without its private symbols. But an Agent can be dropped, and with nothing in it, closing it
// breaks nothing. What is in it is counted here by sockets and requests, which every generation has alike.

import type { Socket } from 'node:net';
import timers from 'node:timers';
import { URL } from 'node:url';
import { chainKey } from '@socksify/core';
import type { Chain } from '@socksify/core';
import type { AgentLike } from './agent.ts';
import { nodeGlobals } from './main-global.ts';

// Taken at load: tests replace these, and then nobody would ever be told.
const { setImmediate } = timers;
const { AbortController, DOMException } = nodeGlobals;

type Build = (h2: boolean, pool: Pool) => AgentLike;

export class Pools {
  readonly #pools = new Map<string, Pool>();
  readonly #build: Build;
  readonly #max: number;
  readonly #keep: boolean;

  /**
   * @param max how many origins there can be at a time
   * @param keep never let a pool go
   */
  constructor(build: Build, max: number, keep: boolean) {
    this.#build = build;
    this.#max = max;
    this.#keep = keep;
  }

  /**
   * A request has to enter the pool in the same turn, since until then nothing holds a new one.
   *
   * @param chain undefined for a fixed route
   * @returns undefined when there are too many origins
   */
  get(given: string | URL | undefined, chain?: Chain): Pool | undefined {
    const key = chain === undefined ? '' : chainKey(chain);
    // Most callers have the normal form already, and parsing a URL is dear.
    const pool = typeof given === 'string' ? this.#pools.get(key + given) : undefined;
    return pool ?? this.#find(normalOrigin(given), key, chain);
  }

  #find(origin: string, key: string, chain: Chain | undefined): Pool | undefined {
    const name = key + origin;
    const known = this.#pools.get(name);
    if (known) return known;
    if (this.#max < Infinity) {
      const origins = new Set(Array.from(this.#pools.values(), (pool) => pool.origin));
      if (origins.size >= this.#max && !origins.has(origin)) return undefined;
    }
    const pool = new Pool(name, origin, chain, this.#build, () => !this.#keep && this.#pools.delete(name));
    this.#pools.set(name, pool);
    return pool;
  }

  agents(): AgentLike[] {
    return [...this.#pools.values()].flatMap((pool) => pool.agents());
  }
}

export interface Attempt {
  readonly signal: AbortSignal;
  /** To be called when the attempt is over; with its socket if there is one. */
  end(socket?: Socket): void;
}

export class Pool {
  /** Differs from that of every other pool. */
  readonly name: string;
  readonly origin: string;
  /** Undefined for a fixed route. */
  readonly chain: Chain | undefined;
  /** Milliseconds that the request which came last has waited for its selector. */
  waited = 0;
  /** Requests, handshakes and sockets. */
  #held = 0;
  /** Requests that may need a connection. */
  readonly #queued = new Set<object>();
  /** Requests on a connection, without a response: undici sends most of them again when the connection is lost. */
  readonly #sent = new Set<object>();
  readonly #attempts = new Set<AbortController>();
  /** Sockets that speak HTTP/2. */
  #h2 = 0;
  readonly #agents = new Map<boolean, AgentLike>();
  readonly #build: Build;
  readonly #forget: () => boolean;
  #gone = false;

  /** @param forget called when nothing is left in the pool; true: it is gone */
  constructor(name: string, origin: string, chain: Chain | undefined, build: Build, forget: () => boolean) {
    this.name = name;
    this.origin = origin;
    this.chain = chain;
    this.#build = build;
    this.#forget = forget;
  }

  agent(h2: boolean): AgentLike {
    let agent = this.#agents.get(h2);
    if (!agent) this.#agents.set(h2, (agent = this.#build(h2, this)));
    return agent;
  }

  agents(): AgentLike[] {
    return [...this.#agents.values()];
  }

  /** A request begins, after it has waited for its selector. */
  enter(request: object, waited: number): void {
    this.#held++;
    this.waited = waited;
    this.#queued.add(request);
  }

  /** The request has a connection. */
  connected(request: object): void {
    if (this.#queued.delete(request)) this.#sent.add(request);
  }

  /** The request needs no connection any more, whatever happens. */
  answered(request: object): void {
    this.#queued.delete(request);
    this.#sent.delete(request);
  }

  /** The request is over. */
  leave(request: object, aborted: boolean): void {
    this.answered(request);
    // undici fails everything in the queue that an ended attempt was for. So an attempt is left alone until the turn is
    // over: a request that is sent again after an abort comes within it.
    if (aborted && !this.wanted) setImmediate(() => this.#endAttempts());
    this.#release();
  }

  /** Some request needs a connection, or may: a connection of HTTP/2 can hand its requests back while it is open. */
  get wanted(): boolean {
    return this.#queued.size > 0 || (this.#h2 > 0 && this.#sent.size > 0);
  }

  #endAttempts(): void {
    if (this.wanted) return;
    for (const attempt of this.#attempts) attempt.abort(nobodyWaits());
  }

  /**
   * A handshake begins. undici tells its connector nothing about aborts, so the signal is how one reaches the proxy's
   * socket. undici also begins one for a request that was aborted in its queue: that ends here.
   */
  attempt(): Attempt {
    this.#held++;
    const controller = new AbortController();
    if (!this.wanted) this.#requeue();
    if (!this.wanted) controller.abort(nobodyWaits());
    this.#attempts.add(controller);
    return {
      signal: controller.signal,
      end: (socket) => {
        this.#attempts.delete(controller);
        if (socket && !socket.closed) this.#hold(socket);
        else this.#release();
      },
    };
  }

  #hold(socket: Socket & { readonly alpnProtocol?: string | false | null }): void {
    const h2 = Number(socket.alpnProtocol === 'h2');
    this.#h2 += h2;
    // Before undici hears of it, which then dials again for what was sent on this socket.
    socket.once('close', () => {
      this.#h2 -= h2;
      this.#requeue();
      this.#release();
    });
  }

  /** Which requests a lost connection had is not known. */
  #requeue(): void {
    for (const request of this.#sent) this.#queued.add(request);
    this.#sent.clear();
  }

  /** A request, a handshake or a socket is over. */
  // Deferred: undici calls this in the middle of its own work, and may yet send the request once more.
  #release(): void {
    this.#held--;
    if (this.#held > 0) return;
    setImmediate(() => {
      if (this.#held > 0 || this.#gone) return;
      this.#gone = this.#forget();
      if (!this.#gone) return;
      for (const agent of this.agents()) agent.close().catch(() => {});
    });
  }
}

/** Empty for what is no URL: undici refuses that itself. */
function normalOrigin(origin: string | URL | undefined): string {
  if (origin instanceof URL) return origin.origin;
  return origin !== undefined && URL.canParse(origin) ? new URL(origin).origin : '';
}

function nobodyWaits(): Error {
  return new DOMException('no request waits for this connection any more', 'AbortError');
}
