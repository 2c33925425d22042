// Translates the handlers of each generation of undici into the other.

import type { Duplex } from 'node:stream';
import { presentPairs, toObject, toPairs, UNPARSED } from './headers.ts';
import type {
  Controller,
  DispatcherMethod,
  Generation,
  Handler,
  LegacyHandler,
  ModernHandler,
  ParsedHeaders,
  ProgressHandler,
  RawHeaders,
} from './undici-shapes.ts';

/**
 * Of a handler that has both sets of callbacks, the modern set counts, as in undici 7. Undefined for what is no handler.
 */
export function generationOf(handler: Handler | null | undefined): Generation | undefined {
  if (typeof handler?.onRequestStart === 'function') return 'modern';
  return typeof handler?.onConnect === 'function' ? 'legacy' : undefined;
}

/** Any handler as a modern one. */
export function modernHandler(handler: Handler): ModernHandler {
  return generationOf(handler) === 'modern' ? handler : new ModernOverLegacy(handler);
}

const PROGRESS = ['onResponseStarted', 'onBodySent', 'onRequestSent'] as const;

/** Has those callbacks of its consumer that are the same in both generations. */
export class HandlerOver<H extends ProgressHandler> implements ProgressHandler {
  declare protected readonly consumer: H;
  declare onResponseStarted?: DispatcherMethod;
  declare onBodySent?: DispatcherMethod;
  declare onRequestSent?: DispatcherMethod;

  constructor(consumer: H) {
    this.consumer = consumer;
    for (const name of PROGRESS) {
      if (consumer[name]) this[name] = consumer[name].bind(consumer);
    }
  }
}

/** A legacy handler as a modern one. */
class ModernOverLegacy extends HandlerOver<LegacyHandler> implements ModernHandler {
  readonly rawOnly = true;

  onRequestStart(controller: Controller, context?: unknown): void {
    this.consumer.onConnect?.((reason) => controller.abort(reason), context);
  }

  onRequestUpgrade(controller: Controller, status: number, headers: ParsedHeaders, socket: Duplex): unknown {
    return this.consumer.onUpgrade?.(status, presentPairs(controller.rawHeaders, headers), socket);
  }

  onResponseStart(controller: Controller, status: number, headers: ParsedHeaders, statusText = ''): void {
    const raw = presentPairs(controller.rawHeaders, headers);
    if (this.consumer.onHeaders?.(status, raw, () => controller.resume(), statusText) === false) {
      controller.pause();
    }
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (this.consumer.onData?.(chunk) === false) controller.pause();
  }

  onResponseEnd(controller: Controller, trailers: ParsedHeaders): void {
    this.consumer.onComplete?.(presentPairs(controller.rawTrailers, trailers ?? {}));
  }

  onResponseError(_: Controller | null, error: Error): void {
    this.consumer.onError?.(error);
  }
}

/** A modern handler as a legacy one, and the controller of its request. */
export class LegacyOverModern extends HandlerOver<ModernHandler> implements LegacyHandler, Controller {
  aborted = false;
  paused = false;
  reason: Error | null = null;
  rawHeaders: RawHeaders | null = null;
  rawTrailers: RawHeaders | null = null;
  #abort: ((reason?: Error) => void) | undefined;
  #resume: (() => void) | undefined;

  // Called again when the request is sent once more, on another connection.
  onConnect(abort: (reason?: Error) => void, context?: unknown): void {
    this.aborted = this.paused = false;
    this.reason = null;
    this.#abort = abort;
    this.consumer.onRequestStart?.(this, context);
  }

  onUpgrade(status: number, headers: RawHeaders | null, socket: Duplex): unknown {
    this.rawHeaders = headers ?? [];
    return this.consumer.onRequestUpgrade?.(this, status, this.#parse(this.rawHeaders), socket);
  }

  onHeaders(status: number, headers: RawHeaders, resume: () => void, statusText: string): boolean {
    this.rawHeaders = headers;
    this.#resume = resume;
    this.consumer.onResponseStart?.(this, status, this.#parse(headers), statusText);
    return !this.paused;
  }

  onData(chunk: Buffer): boolean {
    this.consumer.onResponseData?.(this, chunk);
    return !this.paused;
  }

  onComplete(trailers: RawHeaders | null): void {
    this.rawTrailers = trailers ?? [];
    this.consumer.onResponseEnd?.(this, this.#parse(this.rawTrailers));
  }

  onError(error: Error): void {
    this.consumer.onResponseError?.(this, error);
  }

  abort(reason: Error): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    this.#abort?.(reason);
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    if (!this.paused) return;
    this.paused = false;
    this.#resume?.();
  }

  #parse(headers: RawHeaders): ParsedHeaders {
    return this.consumer.rawOnly === true ? UNPARSED : toObject(headers);
  }
}

/**
 * A modern handler as one of both generations: for interceptors, which may be of any undici. An Agent must never see
 * it. The fetch of undici 8 reads the raw headers alone, so these are brought up to date with what the interceptors made
 * of the parsed ones.
 */
export class BothOverModern extends LegacyOverModern implements ModernHandler {
  onRequestStart(controller: Controller, context?: unknown): unknown {
    return this.consumer.onRequestStart?.(controller, context);
  }

  onRequestUpgrade(controller: Controller, status: number, headers: ParsedHeaders, socket: Duplex): unknown {
    updateRaw(controller, 'rawHeaders', headers);
    return this.consumer.onRequestUpgrade?.(controller, status, headers, socket);
  }

  onResponseStart(controller: Controller, status: number, headers: ParsedHeaders, text?: string): unknown {
    updateRaw(controller, 'rawHeaders', headers);
    return this.consumer.onResponseStart?.(controller, status, headers, text);
  }

  onResponseData(controller: Controller, chunk: Buffer): unknown {
    return this.consumer.onResponseData?.(controller, chunk);
  }

  onResponseEnd(controller: Controller, trailers: ParsedHeaders): unknown {
    updateRaw(controller, 'rawTrailers', trailers);
    return this.consumer.onResponseEnd?.(controller, trailers);
  }

  onResponseError(controller: Controller | null, error: Error): unknown {
    return this.consumer.onResponseError?.(controller, error);
  }
}

/** Interceptors sometimes give a controller of their own. If its properties are read-only, nothing is changed. */
function updateRaw(
  controller: Controller,
  name: 'rawHeaders' | 'rawTrailers',
  parsed: ParsedHeaders | null | undefined,
): void {
  const raw = controller?.[name];
  if (!raw || !parsed) return;
  const pairs = toPairs(raw);
  const present = presentPairs(pairs, parsed);
  if (present !== pairs) Reflect.set(controller, name, present);
}
