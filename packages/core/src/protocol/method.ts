// Authentication methods as values: what follows the METHOD reply (RFC 1928 section 3), and which methods to offer.

import { invalidOption, SocksError } from '../errors.ts';
import { isFunction, isObject } from '../given.ts';
import { hopError } from './step.ts';
import type { Hop, Steps } from './step.ts';
import { userpass } from './userpass.ts';

/** Wraps everything after the authentication, request and reply included (RFC 1961 section 6). */
export interface Encapsulation {
  /** The bytes to send for these bytes of the application: one frame, or several. */
  readonly seal: (data: Uint8Array) => Uint8Array | Promise<Uint8Array>;
  /** Reads one frame, and returns what is in it. */
  readonly open: () => Steps<Uint8Array>;
}

/**
 * An authentication method of SOCKS5.
 *
 * @example
 * const gssapi: AuthMethod = {
 *   id: 0x01,
 *   *authenticate() {
 *     let token = new Uint8Array();
 *     yield { wait: context.step().then((bytes) => { token = bytes; }) };
 *     yield { write: frame(0x01, token) };
 *     const reply = yield { read: 2, phase: 'authentication' };
 *     // …
 *     return { seal, open };
 *   },
 * };
 */
export interface AuthMethod {
  /** The METHOD value, 0 to 254. */
  readonly id: number;
  /**
   * The messages after the METHOD reply. If it returns an encapsulation, everything after these messages is wrapped. If
   * it throws, the error is the `cause` of an `ERR_SOCKS_AUTH_FAILED`; a SocksError is passed on unchanged.
   */
  readonly authenticate: () => Steps<Encapsulation | void>;
}

/**
 * `auto` offers 02 and 00 when there are credentials; `required` offers 02 alone, so that credentials are always used;
 * a list offers its methods and no others, in this order, at every hop.
 */
export type AuthPolicy = 'auto' | 'required' | readonly AuthMethod[];

/** No authentication required. */
export const NONE: AuthMethod = {
  id: 0x00,
  // oxlint-disable-next-line no-empty-function, require-yield -- this method has no messages
  *authenticate() {},
};

/** Username and password, RFC 1929. */
export const USERPASS = 0x02;

/** Offers 02 only with credentials, because some servers choose 02 whenever it is offered. */
export function offeredMethods(hop: Hop, auth: AuthPolicy): readonly AuthMethod[] {
  const { credentials } = hop.proxy;
  if (typeof auth === 'object') return auth;
  if (!credentials) return [NONE];
  const method: AuthMethod = { id: USERPASS, authenticate: () => userpass(hop, credentials) };
  return auth === 'required' ? [method] : [method, NONE];
}

/** Runs a method, and turns whatever it throws into a SocksError. */
export function* authenticate(hop: Hop, method: AuthMethod): Steps<Encapsulation | undefined> {
  try {
    return (yield* method.authenticate()) ?? undefined;
  } catch (error) {
    if (error instanceof SocksError) throw error;
    throw hopError(hop, 'ERR_SOCKS_AUTH_FAILED', { phase: 'authentication', cause: error });
  }
}

/** @throws TypeError `ERR_INVALID_ARG_VALUE` */
export function checkAuth(auth: unknown): void {
  if (auth === 'auto' || auth === 'required') return;
  if (!Array.isArray(auth)) throw invalidOption("auth is 'auto', 'required' or an array of methods");
  const methods: readonly unknown[] = auth;
  const ids = methods.map((method) => (isObject(method) ? method['id'] : undefined));
  // One octet counts the methods, and FF means none (RFC 1928 section 3).
  if (ids.length < 1 || ids.length > 255) throw invalidOption('auth lists 1 to 255 methods');
  if (!ids.every((id) => typeof id === 'number' && Number.isInteger(id) && id >= 0 && id <= 254)) {
    throw invalidOption('auth lists methods with an id from 0 to 254');
  }
  if (new Set(ids).size < ids.length) throw invalidOption('auth lists each method once');
  if (!methods.every((method) => isObject(method) && isFunction(method['authenticate']))) {
    throw invalidOption('auth lists methods with authenticate()');
  }
}
