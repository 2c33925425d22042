// The two generations of undici's dispatch handlers, and the translation of each into the other. The states of a
// request are in exchange.ts.

import type { Duplex } from 'node:stream';

export type RawHeaders = readonly (Buffer | string | readonly (Buffer | string)[])[];
export type ParsedHeaders = Record<string, string | string[] | undefined>;

/** The object with which a modern handler controls its request. */
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
  /** Set by handlers of this package that do not read the parsed headers when the controller has raw ones. */
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
  onResponseError?(controller: Controller | null, error: Error): unknown;
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

/** Any handler as a modern one. Of a handler that has both sets of methods, the modern set counts, as in undici 7. */
export function modernHandler(handler: Handler): ModernHandler {
  return typeof handler.onRequestStart === 'function' ? handler : new ModernOverLegacy(handler);
}

/**
 * A modern handler as both: for interceptors, which may be of any undici. An Agent must never see it. The fetch of
 * undici 8 reads the raw headers alone, so these are brought up to date with what the interceptors made of them.
 */
export function bothHandlers(handler: ModernHandler): Handler {
  const both: Record<string, unknown> = new LegacyOverModern(handler) as never;
  for (const [name, index] of MODERN) {
    both[name] = (controller: Controller, ...args: unknown[]): unknown => {
      const parsed = args[index] as ParsedHeaders | undefined;
      if (parsed) updateRaw(controller, name === 'onResponseEnd' ? 'rawTrailers' : 'rawHeaders', parsed);
      return (handler[name] as Method | undefined)?.call(handler, controller, ...args);
    };
  }
  return both;
}

type Method = (...args: unknown[]) => unknown;

/**
 * The callbacks of a modern handler, and the position of the headers among the arguments after the controller; -1: no
 * headers.
 */
const MODERN = [
  ['onRequestStart', -1],
  ['onRequestUpgrade', 1],
  ['onResponseStart', 1],
  ['onResponseData', -1],
  ['onResponseEnd', 0],
  ['onResponseError', -1],
] as const;

/** Passes on the callbacks that are the same in both generations. */
export class ProgressOf<H extends Progress> implements Progress {
  protected readonly next: H;

  constructor(next: H) {
    this.next = next;
  }

  onResponseStarted(): unknown {
    return this.next.onResponseStarted?.();
  }

  onBodySent(...args: unknown[]): unknown {
    return this.next.onBodySent?.(...args);
  }

  onRequestSent(): unknown {
    return this.next.onRequestSent?.();
  }
}

class ModernOverLegacy extends ProgressOf<LegacyHandler> implements ModernHandler {
  readonly rawOnly = true;

  onRequestStart(controller: Controller, context?: unknown): void {
    this.next.onConnect?.((reason) => controller.abort(reason as Error), context);
  }

  onRequestUpgrade(controller: Controller, status: number, headers: ParsedHeaders, socket: Duplex): unknown {
    return this.next.onUpgrade?.(status, presentPairs(controller.rawHeaders, headers), socket);
  }

  onResponseStart(controller: Controller, status: number, headers: ParsedHeaders, statusText = ''): void {
    const raw = presentPairs(controller.rawHeaders, headers);
    if (this.next.onHeaders?.(status, raw, () => controller.resume(), statusText) === false) {
      controller.pause();
    }
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (this.next.onData?.(chunk) === false) controller.pause();
  }

  onResponseEnd(controller: Controller, trailers: ParsedHeaders): void {
    this.next.onComplete?.(presentPairs(controller.rawTrailers, trailers ?? {}));
  }

  onResponseError(_: Controller | null, error: Error): void {
    this.next.onError?.(error);
  }
}

/** A modern handler as a legacy one, and the controller of its request. */
export class LegacyOverModern extends ProgressOf<ModernHandler> implements LegacyHandler, Controller {
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
    this.next.onRequestStart?.(this, context);
  }

  onUpgrade(status: number, headers: RawHeaders | null, socket: Duplex): unknown {
    this.rawHeaders = headers ?? [];
    return this.next.onRequestUpgrade?.(this, status, this.#parse(this.rawHeaders), socket);
  }

  onHeaders(status: number, headers: RawHeaders, resume: () => void, statusText: string): boolean {
    this.rawHeaders = headers;
    this.#resume = resume;
    this.next.onResponseStart?.(this, status, this.#parse(headers), statusText);
    return !this.paused;
  }

  onData(chunk: Buffer): boolean {
    this.next.onResponseData?.(this, chunk);
    return !this.paused;
  }

  onComplete(trailers: RawHeaders | null): void {
    this.rawTrailers = trailers ?? [];
    this.next.onResponseEnd?.(this, this.#parse(this.rawTrailers));
  }

  onError(error: Error): void {
    this.next.onResponseError?.(this, error);
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
    return this.next.rawOnly === true ? UNPARSED : toObject(headers);
  }
}

type HeaderValue = RawHeaders[number] | undefined;

/** Stands for parsed headers that nobody reads. */
export const UNPARSED: ParsedHeaders = Object.freeze({});

/** Interceptors sometimes give a controller of their own. If its properties are read-only, nothing is changed. */
function updateRaw(controller: Controller, which: 'rawHeaders' | 'rawTrailers', parsed: ParsedHeaders): void {
  const raw = controller?.[which];
  if (!raw) return;
  const pairs = toPairs(raw);
  const present = presentPairs(pairs, parsed);
  if (present !== pairs) Reflect.set(controller, which, present);
}

/**
 * The headers as pairs, after the interceptors. Interceptors change the parsed headers and may leave the raw ones as
 * they came. So a raw pair is used only if the parsed value of its name is still the same.
 */
function presentPairs(
  raw: RawHeaders | ParsedHeaders | null | undefined,
  parsed: ParsedHeaders,
): readonly Buffer[] {
  if (!raw) return toPairs(parsed);
  const pairs = toPairs(raw);
  if (parsed === UNPARSED) return pairs;
  const before = byName(pairs);
  const present: Buffer[] = [];
  let kept = 0;
  for (const [name, given] of Object.entries(parsed)) {
    if (given === undefined || given === null) continue;
    const values = [given].flat();
    const own = before.get(name.toLowerCase());
    const same = own?.length === values.length && own.every((value, i) => hasText(value, values[i]));
    if (same) kept++;
    for (const value of same ? own : values)
      present.push(toBuffer(name), value instanceof Buffer ? value : toBuffer(String(value)));
  }
  return kept === before.size && present.length === pairs.length ? pairs : present;
}

/** Some versions of undici read headers as Latin-1, some as UTF-8. */
function hasText(value: Buffer, text: unknown): boolean {
  return value.toString('latin1') === String(text) || value.toString() === String(text);
}

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
  return Object.fromEntries(
    Array.from(byName(toPairs(headers)), ([name, values]) => {
      const texts = values.map((value) => value.toString('latin1'));
      return [name, texts.length > 1 ? texts : texts[0]];
    }),
  );
}

function byName(pairs: readonly Buffer[]): Map<string, Buffer[]> {
  const values = new Map<string, Buffer[]>();
  for (let i = 0; i + 1 < pairs.length; i += 2) {
    const [name, value] = [(pairs[i] as Buffer).toString('latin1').toLowerCase(), pairs[i + 1] as Buffer];
    const before = values.get(name);
    if (before) before.push(value);
    else values.set(name, [value]);
  }
  return values;
}

function entries(headers: RawHeaders | ParsedHeaders): readonly (readonly [Buffer | string, HeaderValue])[] {
  if (!Array.isArray(headers)) return Object.entries(headers as ParsedHeaders);
  const list = headers as RawHeaders;
  return list.flatMap((name, i) => (i % 2 === 0 ? [[name as Buffer | string, list[i + 1]] as const] : []));
}

function toBuffer(text: Buffer | string): Buffer {
  if (typeof text !== 'string') return text;
  // An interceptor may have read UTF-8, or may have made a new text.
  // oxlint-disable-next-line no-control-regex -- "all Latin-1"
  return Buffer.from(text, /^[\u0000-\u00ff]*$/.test(text) ? 'latin1' : 'utf8');
}
