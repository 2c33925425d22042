// One request between its consumer and an Agent. The consumer is told of the start at once, not when a connection
// is there, so that an abort takes effect while a handshake is still going on.

import type { Duplex } from 'node:stream';
import { toPairs } from './handlers.ts';
import type { Controller, ModernHandler, ParsedHeaders, RawHeaders } from './handlers.ts';
import type { Origin } from './origins.ts';

/** A modern handler to the Agent, and to the consumer the controller of its request. */
export class Exchange implements ModernHandler, Controller {
  aborted = false;
  paused = false;
  reason: Error | null = null;
  rawHeaders: RawHeaders | null = null;
  rawTrailers: RawHeaders | null = null;
  readonly rawOnly: boolean;
  readonly #consumer: ModernHandler;
  readonly #origin: Origin | undefined;
  #agent: Controller | undefined;
  #waits = true;
  #ended = false;
  #over = false;

  constructor(consumer: ModernHandler, origin: Origin | undefined) {
    this.#consumer = consumer;
    this.rawOnly = consumer.rawOnly === true;
    this.#origin = origin;
    origin?.enter();
  }

  /** Tells the consumer. True: the request is still wanted, and is to be dispatched. */
  start(): boolean {
    try {
      this.#consumer.onRequestStart?.(this, undefined);
    } catch (error) {
      this.abort(error as Error);
    }
    return !this.#over;
  }

  // The consumer's side.

  abort(reason: Error): void {
    if (this.aborted || this.#over) return;
    this.aborted = true;
    this.reason = reason ?? new DOMException('This operation was aborted', 'AbortError');
    if (this.#agent) this.#agent.abort(this.reason);
    else this.#fail(this.reason);
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

  // The Agent's side.

  /** A connection is there; again for a request that is sent once more, on another one. */
  onRequestStart(controller: Controller): void {
    this.#agent = controller;
    if (this.#over) controller.abort(this.reason ?? new Error('the request is over'));
    else if (this.paused) controller.pause();
  }

  onRequestUpgrade(controller: Controller, status: number, headers: ParsedHeaders, socket: Duplex): unknown {
    // From here on its socket, which is the consumer's now, stands for it.
    this.#end();
    this.rawHeaders = rawPairs(controller.rawHeaders ?? headers);
    return this.#consumer.onRequestUpgrade?.(this, status, headers, socket);
  }

  onResponseStart(controller: Controller, status: number, headers: ParsedHeaders, statusText?: string): void {
    if (this.#over) return;
    if (status >= 200) this.#answered();
    this.rawHeaders = rawPairs(controller.rawHeaders ?? headers);
    this.#consumer.onResponseStart?.(this, status, headers, statusText);
  }

  onResponseData(_: Controller, chunk: Buffer): void {
    if (!this.#over) this.#consumer.onResponseData?.(this, chunk);
  }

  onResponseEnd(controller: Controller, trailers: ParsedHeaders): void {
    if (this.#over) return;
    this.#over = true;
    this.#end();
    this.rawTrailers = rawPairs(controller.rawTrailers ?? trailers ?? []);
    this.#consumer.onResponseEnd?.(this, trailers);
  }

  onResponseError(_: Controller | null, error: Error): void {
    this.#fail(error);
  }

  onResponseStarted(): unknown {
    return this.#over ? undefined : this.#consumer.onResponseStarted?.();
  }

  onBodySent(...args: unknown[]): unknown {
    return this.#over ? undefined : this.#consumer.onBodySent?.(...args);
  }

  onRequestSent(): unknown {
    return this.#over ? undefined : this.#consumer.onRequestSent?.();
  }

  #answered(): void {
    if (!this.#waits) return;
    this.#waits = false;
    this.#origin?.answered(this.aborted);
  }

  #end(): void {
    this.#answered();
    if (this.#ended) return;
    this.#ended = true;
    this.#origin?.leave();
  }

  #fail(error: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#end();
    this.#consumer.onResponseError?.(this, error);
  }
}

/** Over HTTP/2 some Agents give an object, which the first fetch of undici 8 takes for no headers at all. */
function rawPairs(headers: RawHeaders | ParsedHeaders): RawHeaders {
  return Array.isArray(headers) ? (headers as RawHeaders) : toPairs(headers);
}
