// Selects, for a route that the caller gives, the chain of proxies that leads to one destination, or several chains that
// stand in for each other.

import { toChain } from './chain.ts';
import type { Chain } from './chain.ts';
import type { Destination } from './destination.ts';
import { isFunction, isObject } from './given.ts';
import { Alternatives, isGroup } from './group/group.ts';
import type { ProxyGroup } from './group/group.ts';
import type { ProxyLike } from './proxy.ts';

/**
 * What a {@link ProxySelector} answers: one proxy; a chain (first hop first); a group, or what its `select()` gave; or
 * `undefined` for a direct connection.
 */
export type ProxyChoice = ProxyLike | readonly ProxyLike[] | ProxyGroup | Alternatives | undefined;

/**
 * Policy: which proxy or chain leads to this destination. `undefined` means a direct connection. Called once for each
 * tunnel, or for each request by the agent and the dispatcher. The time limit includes the wait for a promise. What the
 * selector throws or rejects with is the error of that one tunnel or request, unchanged. `context.signal` aborts when the
 * promise is no longer waited for: after an abort, the time limit, or the end of the client.
 */
export type ProxySelector = (
  destination: Destination,
  context: { readonly signal: AbortSignal },
) => ProxyChoice | Promise<ProxyChoice>;

/** One proxy, a chain of them (first hop first), a {@link ProxySelector}, a group, or what its `select()` gave. */
export type ProxyRoute = ProxyLike | readonly ProxyLike[] | ProxySelector | Alternatives;

/** What was selected for one tunnel or request. */
export type Selection = Chain | Alternatives;

/** A route as far as it can be checked without a destination: a selector is called later. */
export type CheckedRoute = Selection | ProxySelector;

/** @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS` */
export function checkRoute(route: ProxyRoute): CheckedRoute {
  return typeof route === 'function' || route instanceof Alternatives ? route : toChain(route);
}

/** The context of one call of a selector. Most selectors read no signal, and an AbortController is slow to make. */
export class LazyContext {
  #controller: AbortController | undefined;

  get signal(): AbortSignal {
    return (this.#controller ??= new AbortController()).signal;
  }

  abort(reason: unknown): void {
    (this.#controller ??= new AbortController()).abort(reason);
  }
}

/** What the selector selects for this destination: a promise only if the selector gives one. */
export function selectChain(
  selector: ProxySelector,
  destination: Destination,
  context: LazyContext,
): Selection | Promise<Selection> {
  const choice = selector(destination, context);
  // oxlint-disable-next-line promise/prefer-await-to-then -- await would delay the answer of a synchronous selector
  return isPromise(choice) ? Promise.resolve(choice).then(toSelection) : toSelection(choice);
}

function toSelection(choice: ProxyChoice): Selection {
  if (choice === undefined) return 'direct';
  // `() => current` lets a program replace the group while it runs.
  if (isGroup(choice)) return choice.select();
  return choice instanceof Alternatives ? choice : toChain(choice);
}

export function isPromise<T>(value: T | Promise<T>): value is Promise<T> {
  return isObject(value) && isFunction(value['then']);
}
