// SocksDispatcher: an Agent of any generation behind one dispatch() that handlers of either generation can use.

import { EventEmitter } from 'node:events';
import { inspect } from 'node:util';
import type { ProxyRoute, Selection, SocksClient } from '@socksify/core';
import { checkAgent, nodeAgent, offersH2, usingConnector } from './base-agent.ts';
import { connectError, connectorOver, socksClient } from './connector.ts';
import { cleanOptions, destinationOf } from './dispatch-options.ts';
import type { Exchange } from './exchange.ts';
import { BothOverModern, generationOf, LegacyOverModern, modernHandler } from './handlers.ts';
import { LegacyExchange } from './legacy-exchange.ts';
import { nodeGlobals } from './main-global.ts';
import { ModernExchange } from './modern-exchange.ts';
import { divideOptions } from './options.ts';
import type { SocksDispatcherOptions } from './options.ts';
import { Pools } from './pools.ts';
import type { Pool } from './pools.ts';
import { checkRuntime } from './runtime.ts';
import { undiciError } from './errors.ts';
import type {
  AgentClass,
  AgentLike,
  Dispatch,
  DispatcherMethod,
  DispatchOptions,
  Generation,
  Handler,
  Interceptor,
  OfUndici,
} from './undici-shapes.ts';

// Those of Node: test environments replace these on `globalThis`.
const { AbortController, performance } = nodeGlobals;

const AGENT = Symbol('agent');

/** One for `compose`; undefined and null are passed over, as undici does. */
type Layer = Interceptor | null | undefined;

const LENT = ['request', 'stream', 'pipeline', 'connect', 'upgrade'] as const;

/** Methods that use nothing of the dispatcher but `this.dispatch`, so that they work on a composed view of it. */
const OVER_DISPATCH: ReadonlySet<unknown> = new Set(['compose', ...LENT]);

/**
 * Sends requests of `fetch` and of undici through a SOCKS proxy: as `dispatcher` of Node's own `fetch` and `WebSocket`,
 * and of undici 5.28 to 8, whichever Agent it is built on. One dispatcher serves them all.
 *
 * A selector is called once for each request, in its async context. No request uses a connection that was opened for
 * another answer. A failed connection, and what a selector throws, is the `cause` of fetch's TypeError, and the error
 * itself for `undici.request`: match its `code` (`ERR_SOCKS_*`). There is no IO before the first request.
 *
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS`; undici's `UND_ERR_INVALID_ARG` for its
 * own options; Error `ERR_FEATURE_UNAVAILABLE_ON_PLATFORM` on Bun and Deno, which would send directly; Error
 * `ERR_INVALID_STATE` where there is no Agent to build on: pass `Agent`
 * @example
 * const dispatcher = new SocksDispatcher('socks5://127.0.0.1:1080');
 * const response = await fetch('https://example.com/', { dispatcher });
 * await dispatcher.close();
 */
export class SocksDispatcher extends EventEmitter {
  /**
   * Sends no request. It lends its methods, and it gives the errors for wrong arguments and for requests after the end.
   */
  readonly #agent: AgentLike;
  readonly #client: SocksClient;
  readonly #selects: boolean;
  readonly #Agent: AgentClass;
  readonly #generation: Generation;
  readonly #h2: boolean;
  /** Undefined: the Agent follows no redirects. */
  readonly #maxRedirections: number | undefined;
  readonly #pools: Pools;
  /**
   * Requests whose selector has not answered yet, each with a promise that settles when the request was sent or has
   * failed.
   */
  readonly #selecting = new Map<Exchange, Promise<void>>();
  #closing: Promise<void> | undefined;
  #destroying: Promise<void> | undefined;

  constructor(proxy: ProxyRoute, options: SocksDispatcherOptions = {}) {
    super();
    checkRuntime('SocksDispatcher');
    const { pool, connector } = divideOptions(options);
    this.#selects = typeof proxy === 'function';
    this.#client = socksClient(proxy, connector, SocksDispatcher);
    const Agent = options.Agent ?? nodeAgent();
    this.#Agent = Agent;
    const generation = checkAgent(Agent, pool);
    this.#generation = generation;
    const { useH2c = false, allowH2 = offersH2(Agent, generation, !options.Agent) } = connector;
    this.#h2 = allowH2 || useH2c;
    const { maxOrigins, maxRedirections = 0, interceptors, factory, ...others } = pool;
    // As in undici 5 and 6: interceptors of the caller replace the one that follows redirects.
    this.#maxRedirections =
      generation === 'modern' || Array.isArray(interceptors?.Agent) ? undefined : maxRedirections;

    const settings = { ...connector, resume: !this.#selects };
    const connectH1 = connectorOver(this.#client, { ...settings, allowH2: false, useH2c: false });
    const connectH2 = connectorOver(this.#client, { ...settings, allowH2, useH2c });
    const build = (h2: boolean, own?: Pool): AgentLike => {
      const connect = (h2 ? connectH2 : connectH1).bind(undefined, own);
      const agent = new Agent({
        ...others,
        interceptors,
        factory: typeof factory === 'function' ? usingConnector(factory) : factory,
        allowH2: h2,
        useH2c: h2 && useH2c,
        connect,
      });
      for (const event of ['connect', 'disconnect', 'connectionError', 'drain']) {
        agent.on(event, this.emit.bind(this, event));
      }
      return agent;
    };
    // A factory is code of the caller, and what it returns must not be closed here.
    this.#pools = new Pools(build, maxOrigins ?? Infinity, factory !== undefined);
    this.#agent = build(this.#h2);
    // Not enumerable. When this dispatcher is the global one, the search for an Agent finds it here; and the methods of
    // undici find it here when they are called on a composed view.
    Object.defineProperty(this, AGENT, { value: this.#agent });
  }

  /**
   * Sends a request. `handler` is of either generation of undici. A modern one always gets pairs in
   * `controller.rawHeaders`. Over HTTP/2, undici 8 gives an object there, which the fetch of its first releases cannot
   * read.
   *
   * @returns false when the origin's pool is busy, as in undici
   */
  dispatch(options: DispatchOptions, handler: Handler): boolean {
    const generation = generationOf(handler);
    if (!generation) return this.#agent.dispatch(options, handler);
    const { maxRedirections = this.#maxRedirections } = options ?? {};
    if (maxRedirections && this.#maxRedirections !== undefined) {
      return this.#follow({ ...options, maxRedirections }, handler, generation);
    }
    const exchange =
      this.#generation === 'legacy' && generation === 'legacy'
        ? new LegacyExchange(handler)
        : new ModernExchange(modernHandler(handler), this.#generation);
    if (typeof options !== 'object' || options === null) {
      return this.#agent.dispatch(options, exchange.forAgent);
    }
    if (!exchange.start()) return true;
    const closed = this.#closing ?? this.#destroying;
    let request: DispatchOptions;
    let chain: Selection | Promise<Selection> | undefined;
    try {
      request = cleanOptions(options);
      if (this.#selects && !closed) chain = this.#select(request, exchange);
    } catch (error) {
      exchange.fail(connectError(error));
      return true;
    }
    if (closed) return this.#agent.dispatch(request, exchange.forAgent);
    if (chain === undefined || chain === 'direct' || !('then' in chain)) {
      return this.#send(request, exchange, chain, 0);
    }
    this.#selecting.set(exchange, this.#sendWhenSelected(request, exchange, chain));
    return true;
  }

  /**
   * undici 5 and 6 follow redirects inside their Agent. An Agent in front of this dispatcher does it instead, so that
   * each redirect is a request of its own here.
   */
  #follow(options: DispatchOptions, handler: Handler, generation: Generation): boolean {
    const pool = {
      dispatch: (request: DispatchOptions, inner: Handler) =>
        this.dispatch({ ...request, maxRedirections: 0 }, inner),
      on: () => pool,
    };
    return new this.#Agent({ factory: () => pool }).dispatch(
      options,
      generation === 'modern' ? new LegacyOverModern(handler) : handler,
    );
  }

  #select(request: DispatchOptions, exchange: Exchange): Selection | Promise<Selection> | undefined {
    const destination = destinationOf(request.origin);
    if (!destination) return undefined;
    const selection = new AbortController();
    exchange.onUnrouted = (error) => selection.abort(error);
    return this.#client.select(destination, { signal: selection.signal });
  }

  async #sendWhenSelected(
    request: DispatchOptions,
    exchange: Exchange,
    selected: Promise<Selection>,
  ): Promise<void> {
    const begin = performance.now();
    try {
      const chain = await selected;
      if (!exchange.over) this.#send(request, exchange, chain, performance.now() - begin);
    } catch (error) {
      exchange.fail(connectError(error));
    } finally {
      this.#selecting.delete(exchange);
    }
  }

  /** @param waited milliseconds since the dispatch */
  #send(request: DispatchOptions, exchange: Exchange, chain: Selection | undefined, waited: number): boolean {
    const pool = this.#pools.get(request.origin, chain);
    if (!pool) {
      exchange.fail(undiciError('MAX_ORIGINS_REACHED'));
      return false;
    }
    pool.enter(exchange, waited);
    // Requests with `upgrade` need HTTP/1.1.
    const h2 = this.#h2 && !request.upgrade && request.allowH2 !== false;
    return pool.agent(h2).dispatch(request, exchange.forAgent);
  }

  /**
   * A view of this dispatcher with interceptors in front, of whichever undici they come from. The last interceptor is
   * called first.
   */
  compose(...interceptors: (Layer | readonly Layer[])[]): this {
    let dispatch: Dispatch = (options, handler) => this.dispatch(options, handler);
    for (const interceptor of interceptors.flat()) {
      if (interceptor === null || interceptor === undefined) continue;
      if (typeof interceptor !== 'function') throw new TypeError('an interceptor must be a function');
      dispatch = interceptor(dispatch);
      if (typeof dispatch !== 'function')
        throw new TypeError('an interceptor must return a dispatch function');
    }
    const composed: Dispatch = (options, handler) =>
      generationOf(handler)
        ? dispatch(options, new BothOverModern(modernHandler(handler)))
        : this.dispatch(options, handler);
    return new Proxy(this, {
      get: (dispatcher, key) => {
        if (key === 'dispatch') return composed;
        const value: unknown = Reflect.get(dispatcher, key, dispatcher);
        return typeof value === 'function' && !OVER_DISPATCH.has(key) ? value.bind(dispatcher) : value;
      },
    });
  }

  /** Waits for the requests in progress, then closes every connection. New requests are refused at once. */
  close(): Promise<void>;
  close(callback: () => void): void;
  close(callback?: () => void): Promise<void> | void {
    const agent = this.#agent;
    // As in undici: a dispatcher that was destroyed cannot be closed.
    if (this.#destroying && !this.#closing) return agent.close(callback);
    if (callback !== undefined && typeof callback !== 'function') throw undiciError('INVALID_ARG');
    this.#closing ??= this.#closeAll(agent.close());
    return settle(this.#closing, callback);
  }

  /** Ends every request with `error` (default: undici's ClientDestroyedError), and every handshake, at once. */
  destroy(error?: Error | null): Promise<void>;
  destroy(callback: () => void): void;
  destroy(error: Error | null, callback: () => void): void;
  destroy(error?: Error | null | (() => void), callback?: () => void): Promise<void> | void {
    const [reason, done] = typeof error === 'function' ? [null, error] : [error ?? null, callback];
    if (done !== undefined && typeof done !== 'function') throw undiciError('INVALID_ARG');
    this.#destroying ??= this.#destroyAll(reason);
    return settle(this.#destroying, done);
  }

  async #closeAll(closed: Promise<unknown>): Promise<void> {
    // Requests that came before close() are still sent. What a consumer throws meanwhile must not end this.
    await Promise.allSettled(this.#selecting.values());
    // Before the Agents are closed: those of undici 6, 7 and 8 then forget their requests, so that destroy() would end
    // none of them; and undici 7 does not wait for a request that dials again.
    await this.#pools.finished();
    // destroy() may have come meanwhile, and an Agent that was destroyed cannot be closed.
    if (this.#destroying) return this.#destroying;
    await Promise.all([closed, ...this.#pools.agents().map((agent) => agent.close())]);
    await this.#client.close();
  }

  async #destroyAll(reason: Error | null): Promise<void> {
    // The Agents first: their requests then fail with this reason, and not with that of the closed client.
    const ended = [this.#agent, ...this.#pools.agents()].map((agent) => agent.destroy(reason));
    // Those that wait now are not known to an Agent: undici 7 forgets an origin that has just lost its connection.
    // Each call is a function of its own, because a consumer may throw.
    const told = [...this.#selecting.keys(), ...this.#pools.waiting()].map(async (exchange) => {
      if (reason) exchange.fail(reason);
      // A destroyed Agent fails every request, with an error of its own.
      else this.#agent.dispatch({}, exchange.forAgent);
    });
    await Promise.all([...told, this.#client.close(), ...ended]);
  }

  /** True after `close()` or `destroy()`. */
  get closed(): boolean {
    return this.#closing !== undefined || this.#destroying !== undefined;
  }

  /** True after `destroy()`. */
  get destroyed(): boolean {
    return this.#destroying !== undefined;
  }

  /** Limits that undici's WebSocket reads from its dispatcher. */
  get webSocketOptions(): OfUndici {
    return this.#agent.webSocketOptions;
  }

  /** Limits that undici's EventSource reads from its dispatcher. */
  get eventSourceOptions(): OfUndici {
    return this.#agent.eventSourceOptions;
  }

  /** Counts of each origin's connections and requests, as undici 7 and 8 give them; undefined with 5 and 6. */
  get stats(): OfUndici {
    if (!this.#agent.stats) return undefined;
    const sums: Record<string, Record<string, unknown>> = {};
    for (const { stats } of this.#pools.agents()) {
      for (const [origin, counts] of Object.entries(stats ?? {})) {
        for (const [name, count] of Object.entries(counts)) {
          const sum = (sums[origin] ??= {});
          // `connected` of a Client is not a number.
          sum[name] = typeof count === 'number' ? Number(sum[name] ?? 0) + count : count;
        }
      }
    }
    return sums;
  }

  // undici's own methods, over the dispatch() above. Their types are those of the undici that is installed.

  /** As `Dispatcher.request` of the Agent built on. */
  declare request: DispatcherMethod;
  /** As `Dispatcher.stream` of the Agent built on. */
  declare stream: DispatcherMethod;
  /** As `Dispatcher.pipeline` of the Agent built on. */
  declare pipeline: DispatcherMethod;
  /** As `Dispatcher.connect` of the Agent built on: an HTTP CONNECT request. */
  declare connect: DispatcherMethod;
  /** As `Dispatcher.upgrade` of the Agent built on. */
  declare upgrade: DispatcherMethod;

  override listeners(event: OfUndici): OfUndici[] {
    return super.listeners(event);
  }

  override rawListeners(event: OfUndici): OfUndici[] {
    return super.rawListeners(event);
  }

  /** Shows neither the proxy nor TLS keys. */
  toJSON(): object {
    return { closed: this.closed, destroyed: this.destroyed };
  }

  static {
    for (const name of LENT) {
      Object.defineProperty(this.prototype, name, {
        value(this: SocksDispatcher, ...args: unknown[]): unknown {
          const agent: AgentLike = Reflect.get(this, AGENT);
          return agent[name].apply(this, args);
        },
      });
    }
    Object.defineProperty(this.prototype, Symbol.for('nodejs.util.inspect.custom'), {
      value(this: SocksDispatcher) {
        return `SocksDispatcher ${inspect(this.toJSON())}`;
      },
    });
  }
}

function settle(promise: Promise<void>, callback?: (error?: unknown) => void): Promise<void> | void {
  if (callback === undefined) return promise;
  // oxlint-disable-next-line promise/no-callback-in-promise -- undici has both forms
  promise.then(() => callback(), callback);
}
