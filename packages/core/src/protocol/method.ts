// Authentication methods as values: what follows the METHOD reply (RFC 1928 section 3), and which methods to offer.

import { invalidOption } from '../errors.ts';
import { isFunction, isObject } from '../given.ts';
import type { Hop, Steps } from './step.ts';
import { userpass } from './userpass.ts';

/** Wraps everything after the authentication, request and reply included (RFC 1961 section 6). */
export interface Encapsulation {
  /** The bytes to send for these bytes of the application: one frame, or several. */
  readonly seal: (data: Uint8Array) => Uint8Array | Promise<Uint8Array>;
  /** Reads one frame, and returns what is in it. */
  readonly open: () => Steps<Uint8Array>;
}

/** An authentication method of SOCKS5. */
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

/** A method as the handshake uses it: one of the caller's list, or one that this package speaks. */
export interface OfferedMethod {
  readonly id: number;
  /** What it usually means when the proxy refuses this method, and no other was offered. */
  readonly hint?: string;
  /** Absent if the method has no messages. */
  readonly authenticate?: (hop: Hop) => Steps<Encapsulation | void>;
}

/** The methods that this package speaks, in the order in which they are offered. */
const WITH_CREDENTIALS: readonly OfferedMethod[] = [
  {
    id: 0x02,
    hint: "the proxy may take no credentials: leave out auth: 'required'",
    authenticate: userpass,
  },
];
const WITHOUT_CREDENTIALS: readonly OfferedMethod[] = [
  { id: 0x00, hint: 'the proxy wants credentials: write socks5://user:password@host' },
];
const ALL = [...WITH_CREDENTIALS, ...WITHOUT_CREDENTIALS];

/** Offers 02 only with credentials, because some servers choose 02 whenever it is offered. */
export function offeredMethods({ proxy }: Hop, auth: AuthPolicy): readonly OfferedMethod[] {
  // A method of the caller is called without the hop, which holds credentials.
  if (typeof auth === 'object')
    return auth.map((method) => ({ id: method.id, authenticate: () => method.authenticate() }));
  if (!proxy.credentials) return WITHOUT_CREDENTIALS;
  return auth === 'required' ? WITH_CREDENTIALS : ALL;
}

/** What it usually means when a proxy accepts none of these methods. */
export function refusalHint(offered: readonly OfferedMethod[]): string | undefined {
  const [only, ...others] = offered;
  return others.length === 0 ? ALL.find(({ id }) => id === only?.id)?.hint : undefined;
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
