// A key that names a chain by its value. Pools, TLS sessions and standby connections are kept apart by it.

import type { Chain } from './route.ts';
import type { SocksProxy } from './proxy.ts';

let salt: Uint8Array | undefined;
const keys = new WeakMap<SocksProxy, string>();
const identities = new WeakMap<object, number>();
let identityCount = 0;

/**
 * Equal for chains of equal proxies, credentials and TLS options; different for all others. The key is a hash with a
 * salt that is made anew in each process: credentials cannot be read or guessed from it.
 */
export function chainKey(chain: Chain): string {
  return chain === 'direct' ? 'direct' : chain.map(proxyKey).join('+');
}

function proxyKey(proxy: SocksProxy): string {
  const known = keys.get(proxy);
  if (known !== undefined) return known;
  const { version, host, port, path, dns, credentials, tls } = proxy;
  const value = [
    version,
    host,
    port,
    path,
    dns,
    credentials?.username,
    credentials?.password,
    tls && comparableOptions(tls),
  ];
  // Loaded here, because only a selector needs a key and the module is slow to load.
  const { createHmac, randomBytes } = process.getBuiltinModule('node:crypto');
  salt ??= randomBytes(16);
  const key = createHmac('sha256', salt).update(JSON.stringify(value)).digest('base64url').slice(0, 22);
  keys.set(proxy, key);
  return key;
}

function comparableOptions(tls: object): unknown {
  const options = tls as Readonly<Record<string, unknown>>;
  return Object.keys(options)
    .toSorted()
    .map((name) => [name, comparable(options[name])]);
}

/** Text, numbers and bytes count by their value; functions and objects, such as a SecureContext, by their identity. */
function comparable(option: unknown): unknown {
  if (typeof option === 'bigint' || typeof option === 'symbol') return String(option);
  if (typeof option !== 'function' && (typeof option !== 'object' || option === null))
    return [typeof option, option];
  if (option instanceof Uint8Array) return { bytes: Buffer.from(option).toString('base64') };
  if (Array.isArray(option)) return option.map(comparable);
  let identity = identities.get(option);
  if (identity === undefined) identities.set(option, (identity = ++identityCount));
  return { identity };
}
