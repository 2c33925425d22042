// The shapes of undici that this package handles. Each release of undici declares types of its own, and none has to be
// installed, so every shape is declared here, as the union of undici 5.28 to 8. Only where the types of the releases
// exclude each other does a shape stand for any type.

import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** A value whose type depends on the undici that is installed. */
export type OfUndici = any;

/** A method of undici's Dispatcher whose types depend on the undici that is installed. */
export type DispatcherMethod = (...args: any[]) => any;

/** The part of undici's Agent that is used here. */
export interface AgentLike {
  dispatch(options: OfUndici, handler: OfUndici): boolean;
  close(callback?: OfUndici): Promise<void>;
  destroy(error?: OfUndici, callback?: OfUndici): Promise<void>;
  readonly destroyed?: boolean;
  on(event: OfUndici, listener: DispatcherMethod): unknown;
  readonly webSocketOptions?: unknown;
  readonly eventSourceOptions?: unknown;
  /** Counts by origin, and of each by name. */
  readonly stats?: Readonly<Record<string, object>>;
  request: DispatcherMethod;
  stream: DispatcherMethod;
  pipeline: DispatcherMethod;
  connect: DispatcherMethod;
  upgrade: DispatcherMethod;
}

/** undici's Agent, of any version. */
export type AgentClass = new (options?: OfUndici) => AgentLike;

export type Dispatch = (options: OfUndici, handler: OfUndici) => boolean;

/** undici's interceptor, of any version. */
export type Interceptor = (dispatch: OfUndici) => OfUndici;

/** `legacy`: onConnect, onHeaders ... (undici up to 7). `modern`: onRequestStart, onResponseStart ... (undici 8). */
export type Generation = 'legacy' | 'modern';

/** The options that every undici passes to `dispatch`: those that are used here. */
export interface DispatchOptions {
  origin?: string | URL;
  path: string;
  method: string;
  headers?: unknown;
  body?: unknown;
  upgrade?: unknown;
  allowH2?: unknown;
  maxRedirections?: unknown;
  dispatcher?: unknown;
}

/** Flat pairs: each name is followed by its value. */
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
  abort(reason?: Error): void;
  pause(): void;
  resume(): void;
}

/** The callbacks that are the same in both generations. */
export interface ProgressHandler {
  onResponseStarted?(...args: unknown[]): unknown;
  onBodySent?(...args: unknown[]): unknown;
  onRequestSent?(...args: unknown[]): unknown;
}

/** undici 7 and 8. */
export interface ModernHandler extends ProgressHandler {
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
export interface LegacyHandler extends ProgressHandler {
  onConnect?(abort: (reason?: Error) => void, context?: unknown): unknown;
  onUpgrade?(status: number, headers: OfUndici, socket: Duplex): unknown;
  onHeaders?(status: number, headers: OfUndici, resume: () => void, statusText: string): unknown;
  onData?(chunk: Buffer): unknown;
  onComplete?(trailers: OfUndici): unknown;
  onError?(error: Error): unknown;
}

/** A handler of any undici. */
export type Handler = ModernHandler & LegacyHandler;

/** What undici hands to a connector. */
export interface ConnectorDestination {
  hostname: string;
  host?: string | undefined;
  protocol: string;
  port: string | number;
  servername?: string | null | undefined;
  localAddress?: string | null | undefined;
  socketPath?: string | null | undefined;
  httpSocket?: Socket | undefined;
}

/** Called once, with a socket or an error. */
export type ConnectorCallback = (
  ...result: [error: null, socket: Socket] | [error: Error, socket: null]
) => void;

/** The `connect` option of undici's classes. */
export type Connector = (destination: ConnectorDestination, callback: ConnectorCallback) => void;
