// The names that only this server can resolve. A client that gets a tunnel to one has left the look-up to the server.

import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { canonical } from './address.ts';

/** Addresses of a name, to be tried in turn. The name `*` stands for every name that is not in the table. */
export type NameTable = Readonly<Record<string, string | readonly string[]>>;

export interface Resolver {
  /** The addresses of a host. @throws Error with code `ENOTFOUND` */
  readonly addressesOf: (host: string) => Promise<readonly string[]>;
  /** The first name in the table that has this address. @throws Error with code `ENOTFOUND` */
  readonly nameOf: (address: string) => string;
}

/**
 * A resolver for literals, then the table. With `system`, the operating system looks up all other names; by default
 * nothing does. A literal sent as a name (ATYP 03) is served, as all real servers do; the log shows how it came.
 * @throws TypeError when the table holds anything but addresses
 */
export function createResolver(names: NameTable = {}, beyond: 'none' | 'system' = 'none'): Resolver {
  const table = new Map<string, readonly string[]>();
  const reverse = new Map<string, string>();
  for (const [name, value] of Object.entries(names)) {
    const addresses = typeof value === 'string' ? [value] : value;
    if (!addresses.every((address) => isIP(address))) throw new TypeError(`${name}: not an address`);
    table.set(normalise(name), addresses);
    for (const address of addresses.map(canonical)) {
      if (!reverse.has(address)) reverse.set(address, name);
    }
  }
  return {
    async addressesOf(host) {
      if (isIP(host)) return [host];
      const addresses = table.get(normalise(host)) ?? table.get('*');
      if (addresses) return addresses;
      // The system would stop at a NUL, so that it would look up another name than the one that the rules allowed.
      if (beyond === 'none' || !/^[\x21-\x7e]+$/.test(host)) throw notFound('no such name');
      return (await lookup(host, { all: true })).map(({ address }) => address);
    },
    nameOf(address) {
      const name = reverse.get(canonical(address));
      if (name === undefined) throw notFound('no such address');
      return name;
    },
  };
}

/** The one spelling of a name. */
export function normalise(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}

function notFound(reason: string): Error {
  return Object.assign(new Error(reason), { code: 'ENOTFOUND' });
}
