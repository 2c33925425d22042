// For a request with `agent: false`, Node calls `new agent.constructor()`, without arguments, on the global agent. This
// file makes that call use the route of the global agent.

import type { ProxyRoute } from '@socksify/core';

/** Options that the new agent does not get: its pools have the defaults, as with Node's own agents. */
const POOL_OPTION = /^(?:keepAlive|max(?:Total|Free)?Sockets|timeout|standby)$/;

/** The same class, but `new` without arguments takes the route and the other options of this agent. */
export function bindConstructor<T extends new (...given: never) => object>(
  agentClass: T,
  route: ProxyRoute,
  options: object,
): T {
  const kept = Object.fromEntries(Object.entries(options).filter(([name]) => !POOL_OPTION.test(name)));
  const bound: T = new Proxy(agentClass, {
    construct: (original, given, newTarget) =>
      Reflect.construct(
        original,
        given.length === 0 ? [route, kept] : given,
        newTarget === bound ? original : newTarget,
      ) as object,
  });
  return bound;
}
