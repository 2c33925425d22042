// A chain of proxies, first hop first.

import { check } from './errors.ts';
import { isList } from './given.ts';
import { toProxy } from './proxy.ts';
import type { ProxyLike, SocksProxy } from './proxy.ts';

/** Checked proxies, first hop first; `direct` when a selector chose a direct connection. */
export type Chain = readonly SocksProxy[] | 'direct';

/** @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS` */
export function toChain(value: ProxyLike | readonly ProxyLike[]): readonly SocksProxy[] {
  // Array.from() also visits the holes of a sparse array.
  const chain = isList(value) ? Array.from(value, toProxy) : [toProxy(value)];
  check(chain.length > 0, 'PROXY', 'a chain has at least one proxy');
  const later = chain.slice(1);
  const isTcp = later.every(({ path }) => path === undefined);
  check(isTcp, 'PROXY', 'only the first proxy of a chain can be a Unix socket');
  const isGlobal = later.every(({ host }) => !host.includes('%'));
  check(isGlobal, 'PROXY', 'only the first proxy of a chain can have an IPv6 zone');
  return Object.freeze(chain);
}
