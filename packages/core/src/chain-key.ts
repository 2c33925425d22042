// A key that names a chain by its value. Pools, TLS sessions and standby connections are kept apart by it.

import { invalidOption } from './errors.ts';
import { reveal } from './hidden.ts';
import { isChecked } from './proxy.ts';
import type { SocksProxy } from './proxy.ts';
import type { Chain } from './route.ts';

let salt: Uint8Array | undefined;
const keys = new WeakMap<SocksProxy, string>();
const identities = new WeakMap<object, number>();
let identityCount = 0;

/**
 * Equal for chains of equal proxies, credentials and TLS options; different for all others. The key is a hash with a
 * salt that is made anew in each process, so that nobody can read or guess credentials from it.
 */
export function chainKey(chain: Chain): string {
  if (chain === 'direct') return chain;
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
  // Loaded here, because the module is slow to load and most programs need no key.
  const { createHmac, randomBytes } = process.getBuiltinModule('node:crypto');
  salt ??= randomBytes(16);
  const key = createHmac('sha256', salt).update(JSON.stringify(value, comparable)).digest('base64url');
  keys.set(proxy, key);
  return key;
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
