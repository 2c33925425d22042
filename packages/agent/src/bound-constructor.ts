// For a request with `agent: false`, Node calls `new agent.constructor()`, without arguments, on the global agent. This
// file makes that call use the route of the global agent.

import type { ProxyRoute } from '@socksify/core';

type AgentClass = new (route: ProxyRoute, options: object) => object;

/** Options that the new agent does not get: its pools have the defaults, as with Node's own agents. */
const POOL_OPTION = /^(?:keepAlive|max(?:Total|Free)?Sockets|timeout|standby)$/;

/** The route with which each agent was made. */
const routes = new WeakMap<object, ProxyRoute>();

/**
 * Gives the agent a constructor of its own: the same class, but `new` without arguments takes the route and the other
 * options of this agent.
 *
 * @param base what is made in place of a subclass whose constructor takes other arguments
 */
export function bindConstructor(agent: object, base: AgentClass, route: ProxyRoute, options: object): void {
  routes.set(agent, route);
  const kept = Object.fromEntries(Object.entries(options).filter(([name]) => !POOL_OPTION.test(name)));
  const bound: AgentClass = new Proxy<AgentClass>(Reflect.get(agent, 'constructor'), {
    construct: (original, given, newTarget) =>
      given.length === 0
        ? construct(original, base, route, kept)
        : Reflect.construct(original, given, newTarget === bound ? original : newTarget),
  });
  Object.defineProperty(agent, 'constructor', { value: bound, writable: true, configurable: true });
}

function construct(agentClass: AgentClass, base: AgentClass, route: ProxyRoute, options: object): object {
  try {
    const made = new agentClass(route, options);
    if (routes.get(made) === route) return made;
  } catch (error) {
    if (agentClass === base) throw error;
  }
  // This class takes other arguments.
  return new base(route, options);
}
