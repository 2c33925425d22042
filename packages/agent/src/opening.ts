// A request while its socket is being opened. Node neither reports that such a request was destroyed nor starts its
// timeout, so its `destroy` and `setTimeout` are wrapped until the socket is open.

import { AsyncResource } from 'node:async_hooks';
import { EventEmitter } from 'node:events';
import { Socket } from 'node:net';
import { endRequest, failRequest, silenceTimeout } from './node-http.ts';
import type { NodeRequest } from './node-http.ts';

/** Milliseconds. Node replaces a longer timeout by this one, and prints a warning. */
const MAX_TIMEOUT = 2 ** 31 - 1;

const openings = new WeakMap<NodeRequest, Opening>();

/** Stands in `agent.sockets` for the socket to come: it counts there, and `agent.destroy()` destroys it. */
export class Opening extends EventEmitter {
  readonly connecting = true;
  readonly writable = true;
  /** The request was destroyed at a time when Node would have given it a connecting socket. */
  late = false;
  /** The pool in which it stands, and its name there; undefined while the selector has not answered. */
  pool: Record<string, object[]> | undefined;
  name = '';
  readonly request: NodeRequest;
  /** Aborted as soon as the request is destroyed. */
  readonly signal: AbortSignal;
  readonly #all: Map<NodeRequest, Opening>;
  readonly #abort: AbortController;
  readonly #context: AsyncResource;
  #timer: NodeJS.Timeout | undefined;
  #begun = false;
  #timedOut = false;

  /**
   * @param all the openings of the agent, this one included until it ends
   * @param timeout milliseconds after which the request emits `timeout`; 0 or undefined: never
   * @param context the async context of the request, for its events
   */
  constructor(
    req: NodeRequest,
    all: Map<NodeRequest, Opening>,
    timeout?: number,
    context?: AsyncResource,
    abort: AbortController = new AbortController(),
  ) {
    super();
    this.request = req;
    this.#all = all;
    this.signal = abort.signal;
    this.#abort = abort;
    this.#context = context ?? new AsyncResource('SocksOpening');
    if (req.destroyed) abort.abort();
    process.nextTick(() => (this.#begun = true));
    all.set(req, this);
    openings.set(req, this);
    replaceMethods(req, methodsOf(req), WATCHED);
    if (timeout) this.arm(timeout);
  }

  get destroyed(): boolean {
    return this.request.destroyed;
  }

  destroy(error?: Error): this {
    this.request.destroy(error);
    return this;
  }

  onDestroy(wasDestroyed: boolean): void {
    this.late ||= this.#begun && !wasDestroyed;
    this.#abort.abort();
  }

  /**
   * Makes the request emit `timeout` after so many milliseconds, as it does while Node connects. It emits the event
   * once, however often this is called. 0 or undefined: never.
   */
  arm(milliseconds: number | undefined): void {
    clearTimeout(this.#timer);
    if (!Number.isFinite(milliseconds) || !milliseconds || this.#timedOut) return;
    this.#timer = setTimeout(this.#onTimeout, Math.min(milliseconds, MAX_TIMEOUT));
    this.#timer.unref();
  }

  readonly #onTimeout = (): void => {
    const req = this.request;
    this.#timedOut = true;
    req.once('socket', (socket: Socket) => silenceTimeout(req, socket));
    this.#context.runInAsyncScope(() => req.emit('timeout'));
  };

  /** Fails the request. One that was destroyed meanwhile ends as Node ends it, with the error of its own destroy(). */
  fail(error: unknown): void {
    const { request, late } = this;
    if (!request.destroyed) failRequest(request, error);
    else endRequest(request, request.aborted && late ? hangUp() : undefined);
  }

  /** Takes the opening out of its pool, and gives the request its own methods back. */
  end(): void {
    clearTimeout(this.#timer);
    const { pool = {}, name, request } = this;
    const sockets = pool[name];
    const index = sockets?.indexOf(this) ?? -1;
    if (index !== -1) sockets?.splice(index, 1);
    if (sockets?.length === 0) delete pool[name];
    this.#all.delete(request);
    openings.delete(request);
    // The properties stay, because a request that loses one is a slow object from then on.
    replaceMethods(request, WATCHED, methodsOf(request));
  }
}

/** The error that Node gives to a request that was aborted while its socket was connecting. */
function hangUp(): Error {
  return Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
}

/** Throws what Node throws when it gives a socket one of these timeouts. */
export function checkTimeouts(...timeouts: (number | undefined)[]): void {
  for (const milliseconds of timeouts) {
    if (milliseconds && !(Number.isFinite(milliseconds) && milliseconds > 0))
      new Socket().setTimeout(milliseconds);
  }
}

type Methods = Pick<NodeRequest, 'destroy' | 'setTimeout'>;

/** Those that every request of its class has. */
function methodsOf(req: NodeRequest): Methods {
  return Object.getPrototypeOf(req);
}

/** Methods that the program gave to the request stay. */
function replaceMethods(req: NodeRequest, from: Methods, to: Methods): void {
  for (const name of ['destroy', 'setTimeout'] as const) {
    if (req[name] === from[name])
      Object.defineProperty(req, name, { value: to[name], writable: true, configurable: true });
  }
}

/** The own methods of a request that has an opening. */
const WATCHED: Methods = {
  destroy(this: NodeRequest, error?: Error): NodeRequest {
    const { destroyed } = this;
    methodsOf(this).destroy.call(this, error);
    openings.get(this)?.onDestroy(destroyed);
    return this;
  },
  setTimeout(this: NodeRequest, milliseconds: number, callback?: () => void): NodeRequest {
    methodsOf(this).setTimeout.call(this, milliseconds, callback);
    openings.get(this)?.arm(milliseconds);
    return this;
  },
};
