// The pools in use, one for each origin and chain, so that a connection serves only requests for which the selector
// gives the same answer. Each pool has Agents of its own. They are closed when the pool is empty: no request, no
// handshake, no connection.
//
// The Agents of undici 5 and 6 and of Node 20 and 22 keep a pool for every origin for ever, and only private symbols
// lead to it. So whole Agents are closed, when no request can be lost. This file counts requests and sockets, which all
// generations have.

import type { Socket } from 'node:net';
import timers from 'node:timers';
import { URL } from 'node:url';
import { chainKey } from '@socksify/core';
import type { Selection } from '@socksify/core';
import type { Exchange } from './exchange.ts';
import { nodeGlobals } from './main-global.ts';
import type { AgentLike } from './undici-shapes.ts';

// The timer is read at load: fake timers of tests replace it later, and then no empty pool would be closed. The classes
// are from the global object of Node, because test environments replace those of `globalThis`.
const { setImmediate } = timers;
const { AbortController, AbortSignal, DOMException } = nodeGlobals;

type Build = (h2: boolean, pool: Pool) => AgentLike;

export class Pools {
  readonly #pools = new Map<string, Pool>();
  readonly #build: Build;
  readonly #max: number;
  readonly #keep: boolean;

  /**
   * @param max how many origins there can be at a time
   * @param keep never close a pool
   */
  constructor(build: Build, max: number, keep: boolean) {
    this.#build = build;
    this.#max = max;
    this.#keep = keep;
  }

  /**
   * The request has to enter the pool in the same turn. Until then nothing holds the pool open.
   *
   * @param chain undefined for a fixed route
   * @returns undefined when there are too many origins
   */
  get(given: string | URL | undefined, chain?: Selection): Pool | undefined {
    const key = chain === undefined ? '' : chainKey(chain);
    // Most callers have the normal form already, and parsing a URL is slow.
    const known = typeof given === 'string' ? this.#pools.get(key + given) : undefined;
    const pool = known ?? this.#find(normalOrigin(given), key);
    if (pool) pool.chain = chain;
    return pool;
  }

  #find(origin: string, key: string): Pool | undefined {
    const name = key + origin;
    const known = this.#pools.get(name);
    if (known) return known;
    if (this.#max < Infinity) {
      const origins = new Set(Array.from(this.#pools.values(), (pool) => pool.origin));
      if (origins.size >= this.#max && !origins.has(origin)) return undefined;
    }
    const pool = new Pool(name, origin, this.#build, () => !this.#keep && this.#pools.delete(name));
    this.#pools.set(name, pool);
    return pool;
  }

  agents(): AgentLike[] {
    return [...this.#pools.values()].flatMap((pool) => pool.agents());
  }

  /** Requests that have no connection. */
  waiting(): Exchange[] {
    return [...this.#pools.values()].flatMap((pool) => pool.waiting());
  }

  /** Resolves when every request that is in a pool now is over. */
  async finished(): Promise<void> {
    await Promise.all(Array.from(this.#pools.values(), (pool) => pool.finished()));
  }
}

export class Pool {
  /** Different for each pool. */
  readonly name: string;
  readonly origin: string;
  /**
   * What the selector gave last; undefined for a fixed route. Two groups of equal proxies have one pool, and each of them
   * knows for itself which of its proxies rest.
   */
  chain: Selection | undefined;
  /**
   * Milliseconds that a request has waited for its selector, in the turn in which it comes: a handshake that begins in this
   * turn is for this request. Later ones may be for others.
   */
  waited = 0;
  /** How many requests, handshakes and sockets hold the pool open. */
  #held = 0;
  /** Requests that may need a connection. */
  readonly #queued = new Set<Exchange>();
  /** Requests on a connection, without a response: undici sends most of them again when the connection is lost. */
  readonly #sent = new Set<Exchange>();
  /** Requests that are not over. */
  #requests = 0;
  readonly #onFinished: (() => void)[] = [];
  /** Ends the attempts in progress. Another one takes its place then. */
  #attempts: AbortController | undefined;
  /** Sockets that speak HTTP/2. */
  #h2 = 0;
  readonly #agents = new Map<boolean, AgentLike>();
  readonly #build: Build;
  readonly #forget: () => boolean;
  #removed = false;

  /** @param forget called when the pool is empty; true: the pool was removed */
  constructor(name: string, origin: string, build: Build, forget: () => boolean) {
    this.name = name;
    this.origin = origin;
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

  waiting(): Exchange[] {
    return [...this.#queued];
  }

  finished(): Promise<void> {
    return this.#requests === 0
      ? Promise.resolve()
      : new Promise((resolve) => void this.#onFinished.push(resolve));
  }

  /** A request begins, after it has waited for its selector. */
  enter(request: Exchange, waited: number): void {
    this.#held++;
    this.#requests++;
    this.waited = waited;
    if (waited > 0) setImmediate(() => (this.waited = 0));
    this.#queued.add(request);
    request.pool = this;
  }

  /** The request has a connection. */
  connected(request: Exchange): void {
    if (this.#queued.delete(request)) this.#sent.add(request);
  }

  /** The request needs no connection any more, whatever happens. */
  answered(request: Exchange): void {
    this.#queued.delete(request);
    this.#sent.delete(request);
  }

  /** The request is over. */
  leave(request: Exchange): void {
    this.#requests--;
    if (this.#requests === 0) for (const finish of this.#onFinished.splice(0)) finish();
    const unanswered = this.#queued.delete(request) || this.#sent.delete(request);
    // When an attempt ends, undici fails every request that waits for it. A program may send a request again right
    // after an abort. So attempts are ended only after this turn, and not if such a request has come.
    if (unanswered && request.reason && !this.wanted) setImmediate(() => this.#endAttempts());
    this.#release();
  }

  /**
   * True if a request needs a connection or may need one: while an HTTP/2 connection is open, it can hand its requests
   * back.
   */
  get wanted(): boolean {
    return this.#queued.size > 0 || (this.#h2 > 0 && this.#sent.size > 0);
  }

  #endAttempts(): void {
    if (this.wanted) return;
    this.#attempts?.abort(nobodyWaits());
    this.#attempts = undefined;
  }

  /**
   * A handshake begins; returns the signal that ends it, because undici does not tell its connector about aborts. undici
   * also begins a handshake for a request that was aborted in the queue; the signal of that one is aborted already.
   */
  attempt(): AbortSignal {
    this.#held++;
    if (!this.wanted) this.#requeue();
    if (!this.wanted) return AbortSignal.abort(nobodyWaits());
    this.#attempts ??= new AbortController();
    return this.#attempts.signal;
  }

  /** The handshake is over. From now on its socket holds the pool open, if there is one. */
  attempted(socket?: Socket & { readonly alpnProtocol?: string | false | null }): void {
    if (!socket || socket.closed) {
      this.#release();
      return;
    }
    const isH2 = socket.alpnProtocol === 'h2';
    if (isH2) this.#h2++;
    // This listener comes before that of undici, which dials again for the requests that were sent on this socket.
    socket.on('close', isH2 ? this.#onH2Closed : this.#onClosed);
  }

  // Made once for a pool, so that no idle connection holds a function of its own.
  readonly #onClosed = (): void => {
    this.#requeue();
    this.#release();
  };

  readonly #onH2Closed = (): void => {
    this.#h2--;
    this.#onClosed();
  };

  /**
   * A connection was lost, and it is not known which requests it had. So every request that was sent may need another
   * one.
   */
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
      if (this.#held > 0 || this.#removed) return;
      this.#removed = this.#forget();
      if (!this.#removed) return;
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
