// A request between a consumer with the modern callbacks, those of undici 7 and 8, and an Agent of any generation.

import type { Duplex } from 'node:stream';
import { Exchange } from './exchange.ts';
import { LegacyOverModern } from './handlers.ts';
import { isRaw, toPairs, UNPARSED } from './headers.ts';
import type { Controller, Generation, ModernHandler, ParsedHeaders, RawHeaders } from './undici-shapes.ts';

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
    if (status >= 200) this.pool?.answered(this);
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
