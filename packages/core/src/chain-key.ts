// A key that names a chain by its value. Pools, TLS sessions and standby connections are kept apart by it.

import { invalidOption } from './errors.ts';
import { Alternatives } from './group/group.ts';
import { reveal } from './hidden.ts';
import { isChecked } from './proxy.ts';
import type { SocksProxy } from './proxy.ts';
import type { Selection } from './route.ts';

let salt: Uint8Array | undefined;
const keys = new WeakMap<SocksProxy | Exclude<Selection, string>, string>();
const identities = new WeakMap<object, number>();
let identityCount = 0;

/**
 * Equal for chains of equal proxies, credentials and TLS options; different for all others. For alternatives: equal if
 * the chains, their order, the key and the number of calls of `rest()` are. The result is a hash with a salt that is
 * made anew in each process, so that nobody can read or guess credentials from it.
 */
export function chainKey(selection: Selection): string {
  if (selection === 'direct') return selection;
  const known = keys.get(selection);
  if (known !== undefined) return known;
  const key = selection instanceof Alternatives ? alternativesKey(selection) : listKey(selection);
  // A list that the caller can still change has another key later.
  if (selection instanceof Alternatives || Object.isFrozen(selection)) keys.set(selection, key);
  return key;
}

function alternativesKey(alternatives: Alternatives): string {
  const { members, key, rests } = Alternatives.contentOf(alternatives);
  return hashed(JSON.stringify([members.map(({ chain }) => chainKey(chain)), key, rests]));
}

function listKey(chain: readonly SocksProxy[]): string {
  if (!Array.isArray(chain) || !chain.every(isChecked)) throw invalidOption('chain is what select() gave');
  return chain.map(proxyKey).join('+');
}

function proxyKey(proxy: SocksProxy): string {
  const known = keys.get(proxy);
  if (known !== undefined) return known;
  const { version, host, port, path, dns, credentials, tls = {} } = proxy;
  const options = Object.entries(reveal(tls)).toSorted(([one], [other]) => (one < other ? -1 : 1));
  const { username, password } = credentials ?? {};
  const value = [version, host, port, path, dns, username, password, proxy.tls && options];
  const key = hashed(JSON.stringify(value, comparable));
  keys.set(proxy, key);
  return key;
}

function hashed(text: string): string {
  // Loaded here, because the module is slow to load and most programs need no key.
  const { createHmac, randomBytes } = process.getBuiltinModule('node:crypto');
  salt ??= randomBytes(16);
  return createHmac('sha256', salt).update(text).digest('base64url');
}

/** Functions, and objects such as a SecureContext, are compared by identity; everything else is compared by value. */
function comparable(_name: string, value: unknown): unknown {
  if (typeof value === 'bigint') return `${value}n`;
  const isData =
    typeof value !== 'function' && (typeof value !== 'object' || value === null || isPlain(value));
  if (isData) return value;
  const identity = identities.get(value) ?? ++identityCount;
  identities.set(value, identity);
  return { identity };
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype || Array.isArray(value);
}
