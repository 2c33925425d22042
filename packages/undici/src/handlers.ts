// The two generations of undici's dispatch handlers, and the translation of each into the other. No state of a
// request is decided here, and no Agent is known.

import type { Duplex } from 'node:stream';

export type RawHeaders = readonly (Buffer | string | readonly (Buffer | string)[])[];
export type ParsedHeaders = Record<string, string | string[] | undefined>;

/** What a modern handler steers its request with. */
export interface Controller {
  readonly aborted: boolean;
  readonly paused: boolean;
  readonly reason: Error | null;
  /** Pairs, or over HTTP/2 in undici 8 an object. */
  rawHeaders?: RawHeaders | ParsedHeaders | null;
  rawTrailers?: RawHeaders | ParsedHeaders | null;
  abort(reason: Error): void;
  pause(): void;
  resume(): void;
}

interface Progress {
  onResponseStarted?(): unknown;
  onBodySent?(...args: any[]): unknown;
  onRequestSent?(): unknown;
}

/** undici 7 and 8. */
export interface ModernHandler extends Progress {
  /** Of handlers of this package: the parsed headers are not looked at when the controller has raw ones. */
  readonly rawOnly?: boolean;
  onRequestStart?(controller: Controller, context?: unknown): unknown;
  onRequestUpgrade?(controller: Controller, status: number, headers: ParsedHeaders, socket: Duplex): unknown;
  onResponseStart?(
    controller: Controller,
    status: number,
    headers: ParsedHeaders,
    statusText?: string,
  ): unknown;
  onResponseData?(controller: Controller, chunk: Buffer): unknown;
  onResponseEnd?(controller: Controller, trailers: ParsedHeaders): unknown;
  onResponseError?(controller: Controller, error: Error): unknown;
}

/** undici 5, 6 and 7. */
export interface LegacyHandler extends Progress {
  onConnect?(abort: (reason?: Error) => void, context?: unknown): unknown;
  onUpgrade?(status: number, headers: any, socket: Duplex): unknown;
  onHeaders?(status: number, headers: any, resume: () => void, statusText: string): unknown;
  onData?(chunk: Buffer): unknown;
  onComplete?(trailers: any): unknown;
  onError?(error: Error): unknown;
}

export type Handler = ModernHandler & LegacyHandler;

/** Any handler as a modern one. Of a handler with both sets the modern one counts, as in undici 7. */
export function modernHandler(handler: Handler): ModernHandler {
  return typeof handler.onRequestStart === 'function' ? handler : new ModernOverLegacy(handler);
}

/** A modern handler as both: for interceptors, which may be of any undici. An Agent must never see it. */
export function bothHandlers(handler: ModernHandler): Handler {
  return Object.assign(new LegacyOverModern(handler), {
    onRequestStart: (...args: Parameters<NonNullable<ModernHandler['onRequestStart']>>) =>
      handler.onRequestStart?.(...args),
    onRequestUpgrade: (...args: Parameters<NonNullable<ModernHandler['onRequestUpgrade']>>) =>
      handler.onRequestUpgrade?.(...args),
    onResponseStart: (...args: Parameters<NonNullable<ModernHandler['onResponseStart']>>) =>
      handler.onResponseStart?.(...args),
    onResponseData: (...args: Parameters<NonNullable<ModernHandler['onResponseData']>>) =>
      handler.onResponseData?.(...args),
    onResponseEnd: (...args: Parameters<NonNullable<ModernHandler['onResponseEnd']>>) =>
      handler.onResponseEnd?.(...args),
    onResponseError: (...args: Parameters<NonNullable<ModernHandler['onResponseError']>>) =>
      handler.onResponseError?.(...args),
  });
}

class ModernOverLegacy implements ModernHandler {
  readonly rawOnly = true;
  readonly #handler: LegacyHandler;

  constructor(handler: LegacyHandler) {
    this.#handler = handler;
  }

  onRequestStart(controller: Controller, context?: unknown): void {
    this.#handler.onConnect?.((reason) => controller.abort(reason as Error), context);
  }

  onRequestUpgrade(controller: Controller, status: number, headers: ParsedHeaders, socket: Duplex): unknown {
    return this.#handler.onUpgrade?.(status, toPairs(controller.rawHeaders ?? headers), socket);
  }

  onResponseStart(controller: Controller, status: number, headers: ParsedHeaders, statusText = ''): void {
    const raw = toPairs(controller.rawHeaders ?? headers);
    if (this.#handler.onHeaders?.(status, raw, () => controller.resume(), statusText) === false) {
      controller.pause();
    }
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (this.#handler.onData?.(chunk) === false) controller.pause();
  }

  onResponseEnd(controller: Controller, trailers: ParsedHeaders): void {
    this.#handler.onComplete?.(toPairs(controller.rawTrailers ?? trailers ?? []));
  }

  onResponseError(_: Controller, error: Error): void {
    this.#handler.onError?.(error);
  }

  onResponseStarted(): unknown {
    return this.#handler.onResponseStarted?.();
  }

  onBodySent(...args: unknown[]): unknown {
    return this.#handler.onBodySent?.(...args);
  }

  onRequestSent(): unknown {
    return this.#handler.onRequestSent?.();
  }
}

/** A modern handler as a legacy one. */
export class LegacyOverModern implements LegacyHandler {
  readonly #handler: ModernHandler;
  readonly #parse: (headers: RawHeaders) => ParsedHeaders;
  #controller = new LegacyController();

  constructor(handler: ModernHandler) {
    this.#handler = handler;
    this.#parse = handler.rawOnly === true ? () => UNPARSED : toObject;
  }

  // Again for a request that is sent once more, on another connection.
  onConnect(abort: (reason?: Error) => void, context?: unknown): void {
    this.#controller = new LegacyController(abort);
    this.#handler.onRequestStart?.(this.#controller, context);
  }

  onUpgrade(status: number, headers: RawHeaders | null, socket: Duplex): unknown {
    this.#controller.rawHeaders = headers ?? [];
    return this.#handler.onRequestUpgrade?.(this.#controller, status, this.#parse(headers ?? []), socket);
  }

  onHeaders(status: number, headers: RawHeaders, resume: () => void, statusText: string): boolean {
    const controller = this.#controller;
    controller.rawHeaders = headers;
    controller.onResume = resume;
    this.#handler.onResponseStart?.(controller, status, this.#parse(headers), statusText);
    return !controller.paused;
  }

  onData(chunk: Buffer): boolean {
    this.#handler.onResponseData?.(this.#controller, chunk);
    return !this.#controller.paused;
  }

  onComplete(trailers: RawHeaders | null): void {
    this.#controller.rawTrailers = trailers ?? [];
    this.#handler.onResponseEnd?.(this.#controller, this.#parse(trailers ?? []));
  }

  onError(error: Error): void {
    this.#handler.onResponseError?.(this.#controller, error);
  }

  onResponseStarted(): unknown {
    return this.#handler.onResponseStarted?.();
  }

  onBodySent(...args: unknown[]): unknown {
    return this.#handler.onBodySent?.(...args);
  }

  onRequestSent(): unknown {
    return this.#handler.onRequestSent?.();
  }
}

class LegacyController implements Controller {
  aborted = false;
  paused = false;
  reason: Error | null = null;
  rawHeaders: RawHeaders | null = null;
  rawTrailers: RawHeaders | null = null;
  onResume: (() => void) | undefined;
  readonly #abort: ((reason?: Error) => void) | undefined;

  constructor(abort?: (reason?: Error) => void) {
    this.#abort = abort;
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
    this.onResume?.();
  }
}

type HeaderValue = RawHeaders[number] | undefined;

const UNPARSED: ParsedHeaders = Object.freeze({});

/** Flat pairs of Buffers, one pair for each value: several Set-Cookie stay several. */
export function toPairs(headers: RawHeaders | ParsedHeaders): readonly Buffer[] {
  // As llhttp delivers them.
  if (Array.isArray(headers) && headers.every((part) => part instanceof Buffer)) return headers;
  const pairs: Buffer[] = [];
  for (const [name, value] of entries(headers)) {
    for (const one of Array.isArray(value) ? (value as (Buffer | string)[]) : [value as Buffer | string]) {
      if (one !== undefined) pairs.push(toBuffer(name), toBuffer(one));
    }
  }
  return pairs;
}

/** Lower-case names; an array for a name that came several times. */
export function toObject(headers: RawHeaders | ParsedHeaders): ParsedHeaders {
  const values = new Map<string, string | string[]>();
  const pairs = toPairs(headers);
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const name = (pairs[i] as Buffer).toString('latin1').toLowerCase();
    const value = (pairs[i + 1] as Buffer).toString('latin1');
    const before = values.get(name);
    if (before === undefined) values.set(name, value);
    else if (typeof before === 'string') values.set(name, [before, value]);
    else before.push(value);
  }
  return Object.fromEntries(values);
}

function entries(headers: RawHeaders | ParsedHeaders): readonly (readonly [Buffer | string, HeaderValue])[] {
  if (!Array.isArray(headers)) return Object.entries(headers as ParsedHeaders);
  const list = headers as RawHeaders;
  return list.flatMap((name, i) => (i % 2 === 0 ? [[name as Buffer | string, list[i + 1]] as const] : []));
}

function toBuffer(text: Buffer | string): Buffer {
  return typeof text === 'string' ? Buffer.from(text, 'latin1') : text;
}
