// The private parts of Node's sockets that this package uses. Each is looked up and checked here, so that a Node without it
// gives an error that names it. Node 20, 22, 24 and 26 have them.

import type { Socket } from 'node:net';
import { fieldOf, isFunction, isObject } from './unknown.ts';

/** The native side of a socket: a TCP connection, a Unix socket, or TLS over one. */
export interface Handle {
  reading: boolean;
  onread: unknown;
  onerror?: (error: Error) => void;
  onnewsession?: unknown;
  readStop(): void;
  useUserBuffer(buffer: Uint8Array): void;
  close(): void;
  /** Only TLS has these. */
  receive?(bytes: Uint8Array): void;
  getServername?(): string | false | undefined;
  getSession?(): Buffer | undefined;
  enableSessionCallbacks?(): void;
  enableKeylogCallback?(): void;
  [key: symbol]: unknown;
}

/** The fields of every socket that Node's types leave out or call read-only. */
export interface Internals {
  _handle: unknown;
  _sockname: unknown;
  _peername: unknown;
  readonly _readableState: { readonly ended: boolean };
  _undestroy(): void;
  connecting: boolean;
  /** Of TLS. */
  ssl?: unknown;
  readonly encrypted?: boolean;
}

/** What a TLS socket has besides. */
export interface TlsInternals extends Internals {
  _wrapHandle(wrap: Socket | null, handle: Handle, hasActiveWrite: boolean): unknown;
  _init(socket: Socket | undefined, wrap: Socket | null): void;
  setSession(session: Buffer): void;
  setServername(name: string): void;
}

function missing(part: string): Error {
  return Object.assign(
    new Error(`socksify: Node ${process.version} has no ${part}: use Node 20, 22, 24 or 26`),
    {
      code: 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM',
    },
  );
}

/** True if these are methods of the value. */
function has(value: unknown, methods: readonly string[]): boolean {
  return methods.every((name) => isFunction(fieldOf(value, name)));
}

const SOCKET = ['_undestroy'];
const TLS = ['_wrapHandle', '_init', 'setSession', 'setServername'];
const HANDLE = ['readStop', 'close', 'useUserBuffer'];

const hasInternals = (socket: Socket): socket is Socket & Internals =>
  '_handle' in socket && '_readableState' in socket && has(socket, SOCKET);
const hasTls = (socket: Socket): socket is Socket & TlsInternals => has(socket, TLS);
const isHandle = (value: unknown): value is Handle => has(value, HANDLE);

export function internalsOf(socket: Socket): Socket & Internals {
  if (hasInternals(socket)) return socket;
  throw missing('_handle, _readableState, _undestroy in a socket');
}

/** True for a TLSSocket that dials for itself. A socket for which this is false by mistake would send plain text. */
export function isTls(socket: Socket): socket is Socket & TlsInternals {
  if (fieldOf(socket, 'encrypted') !== true || !('_wrapHandle' in socket)) return false;
  if (hasTls(socket)) return true;
  throw missing(`${TLS.join(', ')} in a TLS socket`);
}

/** @param value the field `_handle` of a socket, or what `_wrapHandle` makes of it */
export function checkHandle(value: unknown): Handle {
  if (isHandle(value)) return value;
  throw missing(`${HANDLE.join(', ')} in a handle`);
}

/** The prototype that all native handles of this kind share. */
export function prototypeOfHandle(handle: unknown): object {
  const prototype: unknown = isObject(handle) && Object.getPrototypeOf(handle);
  if (isObject(prototype)) return prototype;
  throw missing('_handle');
}

const symbols = new Map<string, symbol>();

/** Node exports none of its own symbols, so each is found by its description on an object that has it. */
function findSymbol(object: object, description: string): symbol | undefined {
  let symbol = symbols.get(description);
  for (let at: unknown = object; !symbol && isObject(at); at = Object.getPrototypeOf(at)) {
    symbol = Object.getOwnPropertySymbols(at).find((each) => each.description === description);
  }
  if (symbol) symbols.set(description, symbol);
  return symbol;
}

export function symbolOf(object: object, description: string): symbol {
  const symbol = findSymbol(object, description);
  if (symbol) return symbol;
  throw missing(description);
}

/** The value under one of Node's symbols. */
export function bySymbol(object: object, description: string): unknown {
  return fieldOf(object, symbolOf(object, description));
}

/** The socket of a native handle, if it has one. */
export function ownerOf(handle: object): unknown {
  const symbol = findSymbol(handle, 'owner_symbol');
  return symbol && fieldOf(handle, symbol);
}
