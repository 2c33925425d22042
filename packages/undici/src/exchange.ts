// One request between its consumer and an Agent. The consumer is told of the start at once, and not when there is a
// connection, so that it can abort while a selector or a handshake is at work.

import type { Duplex } from 'node:stream';
import { HandlerOver, LegacyOverModern } from './handlers.ts';
import { isRaw, toPairs, UNPARSED } from './headers.ts';
import type { Pool } from './pools.ts';
import { undiciError } from './errors.ts';
import type {
  Controller,
  Generation,
  Handler,
  LegacyHandler,
  ModernHandler,
  ParsedHeaders,
  ProgressHandler,
  RawHeaders,
} from './undici-shapes.ts';

/** What is the same in both generations: the states of the request, its abort, and its place in a pool. */
export abstract class Exchange<H extends ProgressHandler = ProgressHandler> extends HandlerOver<H> {
  /** The handler for the Agent, which must see only callbacks of its own generation. */
  forAgent: Handler = this;
  /** Why the consumer has aborted the request, if it has. */
  reason: Error | null = null;
  /** The consumer has been told the end, and is not called any more. */
  over = false;
  /** Called when the request is over before a pool has it, with its error. */
  onUnrouted: ((error: unknown) => void) | undefined;
  #pool: Pool | undefined;
  /** In a pool, without a response. */
  #waiting = false;
  /** Set once there is a connection. */
  protected agent: Pick<Controller, 'abort'> | undefined;

  protected abstract tellStart(): void;
  protected abstract tellError(error: Error): void;

  /**
   * Tells the consumer that the request starts. True: the consumer has not aborted it, so that it has to be dispatched.
   */
  start(): boolean {
    try {
      this.tellStart();
    } catch (error) {
      this.fail(error);
    }
    return !this.over;
  }

  /** The pool whose Agent gets the request now, after `waited` milliseconds. */
  enter(pool: Pool, waited: number): void {
    this.#pool = pool;
    this.#waiting = true;
    pool.enter(this, waited);
  }

  /** Tells the consumer that the request has failed. */
  fail(error: unknown): void {
    if (this.over) return;
    this.end(error);
    this.tellError(error as Error);
  }

  /** For the consumer. */
  abort(reason?: Error): void {
    if (this.reason || this.over) return;
    this.reason = reason ?? undiciError('ABORTED');
    if (this.agent) this.agent.abort(this.reason);
    else this.fail(this.reason);
  }

  /** There is a connection. Called again when the request is sent once more on another one. */
  protected connected(agent: Pick<Controller, 'abort'>): void {
    // This throws in place of an abort: after an abort, undici would close the new connection, and the requests behind
    // this one would have to dial again.
    if (this.over) throw this.reason ?? new Error('the request is over');
    this.agent = agent;
    if (this.#waiting) this.#pool?.connected(this);
  }

  /** The response has begun, so that no other connection is needed. */
  protected answered(): void {
    if (!this.#waiting) return;
    this.#waiting = false;
    this.#pool?.answered(this);
  }

  /** @param tell gives the socket to the consumer */
  protected upgraded(tell: () => unknown): unknown {
    this.answered();
    try {
      const result = tell();
      // From now on the socket, which belongs to the consumer, holds the pool open in place of the request.
      if (!this.over) this.end();
      return result;
    } catch (error) {
      // undici 5 and the first releases of 6 then destroy the socket, and call no error callback.
      this.fail(error);
      throw error;
    }
  }

  protected end(error?: unknown): void {
    const aborted = this.#waiting && this.reason !== null;
    this.over = true;
    this.#waiting = false;
    if (this.#pool) this.#pool.leave(this, aborted);
    else this.onUnrouted?.(error);
  }
}

/**
 * Between a legacy consumer and a legacy Agent. What the consumer throws is passed to the Agent, which then calls
 * onError.
 */
export class LegacyExchange extends Exchange<LegacyHandler> implements LegacyHandler {
  protected tellStart(): void {
    this.consumer.onConnect?.((reason) => this.abort(reason), undefined);
  }

  protected tellError(error: Error): void {
    this.consumer.onError?.(error);
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.connected({ abort });
  }

  onUpgrade(status: number, headers: RawHeaders | null, socket: Duplex): unknown {
    return this.upgraded(() => this.consumer.onUpgrade?.(status, toPairs(headers ?? []), socket));
  }

  onHeaders(status: number, headers: RawHeaders, resume: () => void, statusText: string): unknown {
    if (this.over) return true;
    if (status >= 200) this.answered();
    return this.consumer.onHeaders?.(status, toPairs(headers), resume, statusText);
  }

  onData(chunk: Buffer): unknown {
    return this.over || this.consumer.onData?.(chunk);
  }

  onComplete(trailers: RawHeaders | null): void {
    if (this.over) return;
    this.consumer.onComplete?.(toPairs(trailers ?? []));
    if (!this.over) this.end();
  }

  onError(error: Error): void {
    this.fail(error);
  }
}

/**
 * Between a modern consumer and an Agent of any generation: for the Agent a handler, and for the consumer the controller
 * of its request. What the consumer throws is passed to the Agent, which then calls onResponseError.
 */
export class ModernExchange extends Exchange<ModernHandler> implements ModernHandler, Controller {
  paused = false;
  rawHeaders: RawHeaders | null = null;
  rawTrailers: RawHeaders | null = null;
  readonly rawOnly: boolean;
  declare protected agent: Controller | undefined;

  constructor(consumer: ModernHandler, generation: Generation) {
    super(consumer);
    this.rawOnly = consumer.rawOnly === true;
    if (generation === 'legacy') this.forAgent = new LegacyOverModern(this);
  }

  protected tellStart(): void {
    this.consumer.onRequestStart?.(this, undefined);
  }

  protected tellError(error: Error): void {
    this.consumer.onResponseError?.(this, error);
  }

  // The consumer's side.

  get aborted(): boolean {
    return this.reason !== null;
  }

  pause(): void {
    this.paused = true;
    this.agent?.pause();
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.agent?.resume();
  }

  // The Agent's side.

  onRequestStart(controller: Controller): void {
    this.connected(controller);
    if (this.paused) controller.pause();
  }

  onRequestUpgrade(controller: Controller, status: number, headers: ParsedHeaders, socket: Duplex): unknown {
    this.rawHeaders = rawPairs(controller.rawHeaders ?? headers);
    const tell = () => this.consumer.onRequestUpgrade?.(this, status, this.#parsed(headers), socket);
    return this.upgraded(tell);
  }

  onResponseStart(controller: Controller, status: number, headers: ParsedHeaders, statusText?: string): void {
    if (this.over) return;
    if (status >= 200) this.answered();
    this.rawHeaders = rawPairs(controller.rawHeaders ?? headers);
    this.consumer.onResponseStart?.(this, status, this.#parsed(headers), statusText);
  }

  onResponseData(_: Controller, chunk: Buffer): void {
    if (!this.over) this.consumer.onResponseData?.(this, chunk);
  }

  onResponseEnd(controller: Controller, trailers: ParsedHeaders): void {
    if (this.over) return;
    this.rawTrailers = rawPairs(controller.rawTrailers ?? trailers ?? []);
    // The consumer is called first: the retry of undici 7 and 8 throws here, and then expects the error callback.
    this.consumer.onResponseEnd?.(this, this.#parsed(trailers));
    if (!this.over) this.end();
  }

  onResponseError(_: Controller | null, error: Error): void {
    this.fail(error);
  }

  #parsed(headers: ParsedHeaders): ParsedHeaders {
    return this.rawOnly ? UNPARSED : headers;
  }
}

/**
 * Over HTTP/2 some Agents give an object. The fetch of the first releases of undici 8 reads no headers from an object.
 */
function rawPairs(headers: RawHeaders | ParsedHeaders): RawHeaders {
  return isRaw(headers) ? headers : toPairs(headers);
}
