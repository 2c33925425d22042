// What `agent: false` makes of a global agent: Node calls `new agent.constructor()` on it, without arguments.

import type { ProxyRoute } from '@socksify/core';

/** A new agent has the default pools, as with Node's own agents. */
const POOL_OPTION = /^(?:keepAlive|max(?:Total|Free)?Sockets|timeout|standby)$/;

/** The same class, but `new` without arguments takes the route and the other options of this agent. */
export function bindConstructor<T extends new (...given: never) => object>(
  agentClass: T,
  route: ProxyRoute,
  options: object,
): T {
  const kept = Object.fromEntries(Object.entries(options).filter(([name]) => !POOL_OPTION.test(name)));
  const bound: T = new Proxy(agentClass, {
    construct: (target, given, newTarget) =>
      Reflect.construct(
        target,
        given.length === 0 ? [route, kept] : given,
        newTarget === bound ? target : newTarget,
      ) as object,
  });
  return bound;
}
