// Selects, for a route that the caller gives, the chain of proxies that leads to one destination.

import type { Destination } from './destination.ts';
import { check } from './errors.ts';
import { isFunction, isObject } from './given.ts';
import { toProxy } from './proxy.ts';
import type { ProxyLike, SocksProxy } from './proxy.ts';

/** What a {@link ProxySelector} answers: one proxy, a chain (first hop first), or `undefined` for a direct connection. */
export type ProxyChoice = ProxyLike | readonly ProxyLike[] | undefined;

/**
 * Policy: which proxy or chain leads to this destination. `undefined` means a direct connection. Called once for each
 * tunnel, or for each request by the agent and the dispatcher. The wait for a promise counts into the time limit. That
 * one caller gets unchanged what the selector throws or rejects with.
 */
export type ProxySelector = (destination: Destination) => ProxyChoice | Promise<ProxyChoice>;

/** One proxy, a chain of them (first hop first), or a {@link ProxySelector}. */
export type ProxyRoute = ProxyLike | readonly ProxyLike[] | ProxySelector;

/** Checked proxies, first hop first; `direct` when a selector chose a direct connection. */
export type Chain = readonly SocksProxy[] | 'direct';

/** A route as far as it can be checked without a destination: a selector is called later. */
export type CheckedRoute = Chain | ProxySelector;

/** @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS` */
export function checkRoute(route: ProxyRoute): CheckedRoute {
  return typeof route === 'function' ? route : toChain(route);
}

/** The chain for this destination: a promise only if the selector gives one. */
export function selectChain(route: CheckedRoute, destination: Destination): Chain | Promise<Chain> {
  if (typeof route !== 'function') return route;
  const choice = route(destination);
  // oxlint-disable-next-line promise/prefer-await-to-then -- await would delay the answer of a synchronous selector
  return isPromise(choice) ? Promise.resolve(choice).then(toChosenChain) : toChosenChain(choice);
}

function toChosenChain(choice: ProxyChoice): Chain {
  return choice === undefined ? 'direct' : toChain(choice);
}

function toChain(value: ProxyLike | readonly ProxyLike[]): readonly SocksProxy[] {
  // Array.from() also visits the holes of a sparse array.
  const proxies = Array.isArray(value) ? Array.from(value as readonly ProxyLike[]) : [value as ProxyLike];
  const chain = proxies.map(toProxy);
  check(chain.length > 0, 'PROXY', 'a chain has at least one proxy');
  const later = chain.slice(1);
  const isTcp = later.every(({ path }) => path === undefined);
  check(isTcp, 'PROXY', 'only the first proxy of a chain can be a Unix socket');
  const isGlobal = later.every(({ host }) => !host.includes('%'));
  check(isGlobal, 'PROXY', 'only the first proxy of a chain can have an IPv6 zone');
  return chain;
}

export function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return isObject(value) && isFunction(value['then']);
}
