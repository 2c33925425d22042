// One request between its consumer and an Agent. The consumer is told of the start at once, and not when there is a
// connection, so that it can abort while a selector or a handshake is at work.

import type { Duplex } from 'node:stream';
import { ProgressOf, toPairs, UNPARSED } from './handlers.ts';
import type { Controller, ModernHandler, ParsedHeaders, RawHeaders } from './handlers.ts';
import type { Pool } from './pools.ts';
import { undiciError } from './undici-errors.ts';

/**
 * `unrouted`: no pool has it yet. `waiting`: in a pool, without a response. `answered`: the response has begun. `over`:
 * the consumer has been told the end, and is not called any more.
 */
type State = 'unrouted' | 'waiting' | 'answered' | 'over';

/** For the Agent a modern handler, and for the consumer the controller of its request. */
export class Exchange extends ProgressOf<ModernHandler> implements ModernHandler, Controller {
  paused = false;
  reason: Error | null = null;
  rawHeaders: RawHeaders | null = null;
  rawTrailers: RawHeaders | null = null;
  readonly rawOnly: boolean;
  /** Called when the request is over before a pool has it. */
  onUnrouted: (() => void) | undefined;
  #state: State = 'unrouted';
  #pool: Pool | undefined;
  #agent: Controller | undefined;

  constructor(consumer: ModernHandler) {
    super(consumer);
    this.rawOnly = consumer.rawOnly === true;
  }

  get aborted(): boolean {
    return this.reason !== null;
  }

  get over(): boolean {
    return this.#state === 'over';
  }

  /**
   * Tells the consumer that the request starts. True: the consumer has not aborted it, so that it has to be dispatched.
   */
  start(): boolean {
    try {
      this.next.onRequestStart?.(this, undefined);
    } catch (error) {
      this.fail(error as Error);
    }
    return !this.over;
  }

  /** The pool whose Agent gets the request now, after `waited` milliseconds. */
  enter(pool: Pool, waited: number): void {
    this.#state = 'waiting';
    this.#pool = pool;
    pool.enter(this, waited);
  }

  /** Tells the consumer that the request has failed. */
  fail(error: Error): void {
    if (this.over) return;
    this.#end();
    this.next.onResponseError?.(this, error);
  }

  // The consumer's side.

  abort(reason: Error): void {
    if (this.aborted || this.over) return;
    this.reason = reason ?? undiciError('ABORTED');
    if (this.#agent) this.#agent.abort(this.reason);
    else this.fail(this.reason);
  }

  pause(): void {
    this.paused = true;
    this.#agent?.pause();
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.#agent?.resume();
  }

  // The Agent's side. What the consumer throws is passed to the Agent, which then calls onResponseError.

  /** Called when there is a connection, and again when the request is sent once more on another one. */
  onRequestStart(controller: Controller): void {
    // This throws in place of an abort: after an abort, undici would close the new connection, and the requests behind
    // this one would have to dial again.
    if (this.over) throw this.reason ?? new Error('the request is over');
    this.#agent = controller;
    if (this.#state === 'waiting') this.#pool?.connected(this);
    if (this.paused) controller.pause();
  }

  onRequestUpgrade(controller: Controller, status: number, headers: ParsedHeaders, socket: Duplex): unknown {
    this.#answered();
    this.rawHeaders = rawPairs(controller.rawHeaders ?? headers);
    try {
      const result = this.next.onRequestUpgrade?.(this, status, this.#parsed(headers), socket);
      // From now on the socket, which belongs to the consumer, holds the pool open in place of the request.
      if (!this.over) this.#end();
      return result;
    } catch (error) {
      // undici 5 and the first releases of 6 then destroy the socket, and call no error callback.
      this.fail(error as Error);
      throw error;
    }
  }

  onResponseStart(controller: Controller, status: number, headers: ParsedHeaders, statusText?: string): void {
    if (this.over) return;
    if (status >= 200) this.#answered();
    this.rawHeaders = rawPairs(controller.rawHeaders ?? headers);
    this.next.onResponseStart?.(this, status, this.#parsed(headers), statusText);
  }

  onResponseData(_: Controller, chunk: Buffer): void {
    if (!this.over) this.next.onResponseData?.(this, chunk);
  }

  onResponseEnd(controller: Controller, trailers: ParsedHeaders): void {
    if (this.over) return;
    this.rawTrailers = rawPairs(controller.rawTrailers ?? trailers ?? []);
    // The consumer is called first: the retry of undici 7 and 8 throws here, and then expects the error callback.
    this.next.onResponseEnd?.(this, this.#parsed(trailers));
    if (!this.over) this.#end();
  }

  onResponseError(_: Controller | null, error: Error): void {
    this.fail(error);
  }

  #answered(): void {
    if (this.#state !== 'waiting') return;
    this.#state = 'answered';
    this.#pool?.answered(this);
  }

  #end(): void {
    const unanswered = this.#state === 'waiting';
    this.#state = 'over';
    if (this.#pool) this.#pool.leave(this, unanswered && this.aborted);
    else this.onUnrouted?.();
  }

  #parsed(headers: ParsedHeaders): ParsedHeaders {
    return this.rawOnly ? UNPARSED : headers;
  }
}

/**
 * Over HTTP/2 some Agents give an object. The fetch of the first releases of undici 8 reads no headers from an object.
 */
function rawPairs(headers: RawHeaders | ParsedHeaders): RawHeaders {
  return Array.isArray(headers) ? (headers as RawHeaders) : toPairs(headers);
}
