// SocksDispatcher: an Agent of any generation behind one dispatch() that handlers of either generation can use.

import { EventEmitter } from 'node:events';
import type { ProxyRoute, SocksClient } from '@socksify/core';
import { checkAgent, nodeAgent, offersH2 } from './agent.ts';
import type { AgentLike, Generation } from './agent.ts';
import { connectorOver, socksClient } from './connector.ts';
import type { ConnectorCallback, ConnectorTarget } from './connector.ts';
import { Exchange } from './exchange.ts';
import { isForm, writeForm } from './form.ts';
import { bothHandlers, LegacyOverModern, modernHandler } from './handlers.ts';
import type { Handler } from './handlers.ts';
import { divideOptions } from './options.ts';
import type { SocksDispatcherOptions } from './options.ts';
import { Origins } from './origins.ts';
import type { Origin } from './origins.ts';
import { checkRuntime } from './runtime.ts';

/** What every undici passes to `dispatch`, as far as it matters here. */
export interface DispatchOptions {
  origin?: string | URL;
  path: string;
  method: string;
  headers?: any;
  body?: any;
  upgrade?: any;
  allowH2?: any;
  dispatcher?: any;
}

export type Dispatch = (options: any, handler: any) => boolean;

/** undici's interceptor, of any version. */
export type Interceptor = (dispatch: any) => any;

const AGENT = Symbol('agent');

/** Methods that reach the dispatcher through `this.dispatch` alone, so that they work on a composed view of it. */
const OVER_DISPATCH: ReadonlySet<unknown> = new Set([
  'compose',
  'request',
  'stream',
  'pipeline',
  'connect',
  'upgrade',
]);

/**
 * Takes `fetch` and everything of undici through a SOCKS proxy: as `dispatcher` of Node's own `fetch` and `WebSocket`,
 * and of undici 5.28 to 8, whichever Agent it is built on. One serves them all.
 *
 * A failed connection is the `cause` of fetch's TypeError, and the error itself for `undici.request`: match its `code`
 * (`ERR_SOCKS_*`). Does no IO until the first request.
 *
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS`; undici's `UND_ERR_INVALID_ARG` for its
 * own options; Error `ERR_FEATURE_UNAVAILABLE_ON_PLATFORM` on Bun and Deno, which would send directly
 * @example
 * const dispatcher = new SocksDispatcher('socks5://127.0.0.1:1080');
 * const response = await fetch('https://example.com/', { dispatcher });
 * await dispatcher.close();
 */
export class SocksDispatcher extends EventEmitter {
  readonly #client: SocksClient;
  readonly #generation: Generation;
  readonly #allowH2: boolean;
  readonly #origins: Origins;
  #closing: Promise<void> | undefined;
  #destroying: Promise<void> | undefined;

  constructor(proxy: ProxyRoute, options: SocksDispatcherOptions = {}) {
    super();
    checkRuntime('SocksDispatcher');
    const { pool, connector } = divideOptions(options);
    this.#client = socksClient(proxy, connector);
    const Agent = options.Agent ?? nodeAgent();
    this.#generation = checkAgent(Agent, pool);
    this.#allowH2 = pool.allowH2 ?? offersH2(Agent, this.#generation, !options.Agent);
    const { maxOrigins, ...poolOptions } = pool;

    const resume = typeof proxy !== 'function';
    const connectors = [false, true].map((allowH2) =>
      connectorOver(this.#client, { ...connector, allowH2, resume }),
    );
    const build = (allowH2: boolean, origin?: Origin): AgentLike => {
      const connect = (target: ConnectorTarget, callback: ConnectorCallback): void =>
        connectors[Number(allowH2)]?.(target, callback, origin);
      const agent = new Agent({ ...poolOptions, allowH2, connect });
      for (const event of ['connect', 'disconnect', 'connectionError', 'drain']) {
        agent.on(event, (...args: unknown[]) => this.emit(event, ...args));
      }
      return agent;
    };
    // What a factory returns is not ours to close.
    this.#origins = new Origins(build, maxOrigins ?? Infinity, pool.factory !== undefined);
    // This one serves no origin: it lends its methods, and refuses what comes after the end. Not enumerable; a search
    // for Node's Agent finds it here when this is the global dispatcher.
    Object.defineProperty(this, AGENT, { value: build(this.#allowH2) });
  }

  /**
   * Sends a request. `handler` is of either generation of undici.
   *
   * @returns false when the origin's pool is busy, as in undici
   */
  dispatch(options: DispatchOptions, handler: Handler): boolean {
    if (typeof handler !== 'object' || handler === null) throw new TypeError('handler must be an object');
    const request = cleanOptions(options);
    const origin = this.#origins.get(request.origin);
    const exchange = new Exchange(modernHandler(handler), origin);
    if (!exchange.start()) return true;
    if (!origin) {
      exchange.onResponseError(null, maxOriginsReached());
      return false;
    }
    // Requests with `upgrade` are for what HTTP/2 cannot carry.
    const h2 = this.#allowH2 && !request.upgrade && request.allowH2 !== false;
    const agent = this.closed ? agentOf(this) : origin.agent(h2);
    return agent.dispatch(request, this.#generation === 'modern' ? exchange : new LegacyOverModern(exchange));
  }

  /** A view of this dispatcher with interceptors in front, of whichever undici they come from; the last one first. */
  compose(
    ...interceptors: (Interceptor | null | undefined)[] | [readonly (Interceptor | null | undefined)[]]
  ): this {
    let dispatch: Dispatch = (options, handler) => this.dispatch(options, handler);
    for (const interceptor of interceptors.flat() as readonly (Interceptor | null | undefined)[]) {
      if (interceptor === null || interceptor === undefined) continue;
      if (typeof interceptor !== 'function') throw new TypeError('an interceptor is a function');
      dispatch = interceptor(dispatch) as Dispatch;
      if (typeof dispatch !== 'function') throw new TypeError('an interceptor returns a dispatch function');
    }
    const composed: Dispatch = (options, handler) => dispatch(options, bothHandlers(modernHandler(handler)));
    return new Proxy(this, {
      get: (target, key) => {
        if (key === 'dispatch') return composed;
        const value: unknown = Reflect.get(target, key, target);
        return typeof value === 'function' && !OVER_DISPATCH.has(key) ? value.bind(target) : value;
      },
    });
  }

  /** Waits for the requests under way, then closes every connection. New requests are refused at once. */
  close(): Promise<void>;
  close(callback: () => void): void;
  close(callback?: () => void): Promise<void> | void {
    this.#closing ??= this.#destroying ?? this.#closeAll();
    return settle(this.#closing, callback);
  }

  /** Ends every request with `error` (default: undici's ClientDestroyedError), and every handshake, at once. */
  destroy(error?: Error | null): Promise<void>;
  destroy(callback: () => void): void;
  destroy(error: Error | null, callback: () => void): void;
  destroy(error?: Error | null | (() => void), callback?: () => void): Promise<void> | void {
    const [reason, done] = typeof error === 'function' ? [null, error] : [error ?? null, callback];
    this.#destroying ??= this.#destroyAll(reason);
    return settle(this.#destroying, done);
  }

  async #closeAll(): Promise<void> {
    await Promise.all(this.#agents().map((agent) => agent.close()));
    await this.#client.close();
  }

  async #destroyAll(reason: Error | null): Promise<void> {
    // The Agents first: their requests then fail with this reason, and not with that of the closed client.
    const ended = this.#agents().map((agent) => agent.destroy(reason));
    await this.#client.close();
    await Promise.all(ended);
  }

  #agents(): AgentLike[] {
    return [agentOf(this), ...this.#origins.agents()];
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
  get webSocketOptions(): any {
    return agentOf(this).webSocketOptions;
  }

  /** Limits that undici's EventSource reads from its dispatcher. */
  get eventSourceOptions(): any {
    return agentOf(this).eventSourceOptions;
  }

  // undici's own methods, over the dispatch() above. Their types are those of the undici that is installed.

  /** As `Dispatcher.request` of the Agent built on. */
  request(...args: any[]): any {
    return agentOf(this).request.apply(this, args);
  }

  /** As `Dispatcher.stream` of the Agent built on. */
  stream(...args: any[]): any {
    return agentOf(this).stream.apply(this, args);
  }

  /** As `Dispatcher.pipeline` of the Agent built on. */
  pipeline(...args: any[]): any {
    return agentOf(this).pipeline.apply(this, args);
  }

  /** As `Dispatcher.connect` of the Agent built on: an HTTP CONNECT request. */
  connect(...args: any[]): any {
    return agentOf(this).connect.apply(this, args);
  }

  /** As `Dispatcher.upgrade` of the Agent built on. */
  upgrade(...args: any[]): any {
    return agentOf(this).upgrade.apply(this, args);
  }

  override listeners(event: any): any[] {
    return super.listeners(event);
  }

  override rawListeners(event: any): any[] {
    return super.rawListeners(event);
  }

  /** Nothing of the proxy or of TLS keys is shown. */
  toJSON(): object {
    return { closed: this.closed, destroyed: this.destroyed };
  }

  static {
    Object.defineProperty(this.prototype, Symbol.for('nodejs.util.inspect.custom'), {
      value(this: SocksDispatcher) {
        return `SocksDispatcher { closed: ${this.closed}, destroyed: ${this.destroyed} }`;
      },
    });
  }
}

function settle(promise: Promise<void>, callback?: (error?: unknown) => void): Promise<void> | void {
  if (callback === undefined) return promise;
  if (typeof callback !== 'function') throw new TypeError('callback must be a function');
  // oxlint-disable-next-line promise/no-callback-in-promise -- undici has both forms
  promise.then(() => callback(), callback);
}

/** As undici 7 and 8 fail it. */
function maxOriginsReached(): Error {
  const error = Object.assign(new Error('Maximum allowed origins reached'), {
    code: 'UND_ERR_MAX_ORIGINS_REACHED',
  });
  error.name = 'MaxOriginsReachedError';
  return error;
}

/** The options as every Agent takes them: as they come, if possible. */
function cleanOptions(options: DispatchOptions): DispatchOptions {
  if (isForm(options.body)) return cleanOptions(writeForm(options, options.body));
  const headers = collapseContentLength(options.headers);
  if (options.dispatcher === undefined && headers === options.headers) return options;
  // undici 8 throws when it finds a dispatcher in them.
  return { ...options, headers, dispatcher: undefined };
}

/** The fetch of Node 20 and 22 makes "5, 5" of a content-length that the caller has set too. */
function collapseContentLength(headers: unknown): unknown {
  if (typeof headers !== 'object' || headers === null || Array.isArray(headers)) return headers;
  for (const name in headers) {
    if (name.length !== 14 || name.toLowerCase() !== 'content-length') continue;
    const value: unknown = (headers as Record<string, unknown>)[name];
    const [, length] = (typeof value === 'string' && /^(\d+)(?:, *\1)+$/.exec(value)) || [];
    if (length !== undefined) return { ...headers, [name]: length };
  }
  return headers;
}

function agentOf(dispatcher: SocksDispatcher): AgentLike {
  return (dispatcher as unknown as Record<symbol, AgentLike>)[AGENT] as AgentLike;
}
