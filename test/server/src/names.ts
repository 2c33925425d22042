// The proxy's own names. Nobody else knows them, so a client that reaches one has left the look-up to the proxy.

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';

/** Addresses of a name, to be tried in turn. */
export type NameTable = Readonly<Record<string, string | readonly string[]>>;

/** The addresses of a host. @throws Error with code `ENOTFOUND` */
export type Resolver = (host: string) => Promise<readonly string[]>;

/**
 * A resolver for literals, then the table; `system` asks the operating system about everything else, the default
 * is not to. A literal sent as a name (ATYP 03) is served, as all real servers do; the log shows how it came.
 * @throws TypeError when the table holds anything but addresses
 */
export function createResolver(names: NameTable = {}, beyond: 'none' | 'system' = 'none'): Resolver {
  const table = new Map<string, readonly string[]>();
  for (const [name, value] of Object.entries(names)) {
    const addresses = typeof value === 'string' ? [value] : value;
    if (!addresses.every((address) => isIP(address))) throw new TypeError(`${name}: not an address`);
    table.set(normalise(name), addresses);
  }
  return async (host) => {
    if (isIP(host)) return [host];
    const addresses = table.get(normalise(host));
    if (addresses) return addresses;
    if (beyond === 'system') return (await lookup(host, { all: true })).map(({ address }) => address);
    throw Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
  };
}

function normalise(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}
