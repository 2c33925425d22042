// Finds the Agent class to build on, and which generation of handlers it speaks. Never imports undici.

import { LegacyOverModern } from './handlers.ts';
import type { ModernHandler } from './handlers.ts';
import { NODE_26, NODE_20 } from './symbols.ts';

/** The part of undici's Agent that is used here. */
export interface AgentLike {
  dispatch(options: any, handler: any): boolean;
  close(): Promise<unknown>;
  destroy(error?: any): Promise<unknown>;
  on(event: any, listener: (...args: any[]) => void): unknown;
  readonly webSocketOptions?: unknown;
  readonly eventSourceOptions?: unknown;
  request(...args: any[]): any;
  stream(...args: any[]): any;
  pipeline(...args: any[]): any;
  connect(...args: any[]): any;
  upgrade(...args: any[]): any;
}

export type AgentClass = new (options?: any) => AgentLike;

/** `legacy`: onConnect, onHeaders ... (undici up to 7). `modern`: onRequestStart, onResponseStart ... (undici 8). */
export type Generation = 'legacy' | 'modern';

/**
 * The Agent class inside Node, which is to be had only from the global dispatcher.
 *
 * @throws Error `ERR_INVALID_STATE` when the global dispatcher has been replaced by something without an Agent in it
 */
export function nodeAgent(): AgentClass {
  // Reading this loads Node's undici, which then sets its global dispatcher.
  void globalThis.Headers;
  const globals = globalThis as unknown as Record<symbol, unknown>;
  const Agent = findAgent(globals[NODE_26]) ?? findAgent(globals[NODE_20]);
  if (Agent) return Agent;
  throw Object.assign(
    new Error(
      'the global dispatcher was replaced by one without an undici Agent in it; pass { Agent } from undici',
    ),
    { code: 'ERR_INVALID_STATE' },
  );
}

/** An environment agent or a wrapper holds its Agent in a symbol property. */
function findAgent(value: unknown, depth = 0): AgentClass | undefined {
  if (typeof value !== 'object' || value === null || depth > 3) return undefined;
  for (let at: unknown = value; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    const own = Object.getOwnPropertyDescriptor(at, 'constructor')?.value as AgentClass | undefined;
    if (own?.name === 'Agent' && typeof own.prototype.dispatch === 'function') return own;
  }
  for (const symbol of Object.getOwnPropertySymbols(value)) {
    const found = findAgent((value as Record<symbol, unknown>)[symbol], depth + 1);
    if (found) return found;
  }
  return undefined;
}

const generations = new WeakMap<AgentClass, Generation>();

/**
 * Which of the two error methods does a destroyed Agent call? No request, no version string.
 *
 * @throws TypeError `ERR_INVALID_ARG_TYPE` when it calls neither: that is no Agent of undici
 */
export function generationOf(Agent: AgentClass): Generation {
  let generation = generations.get(Agent);
  if (generation) return generation;
  if (typeof Agent === 'function' && typeof Agent.prototype?.dispatch === 'function') {
    const probe = new Agent();
    void probe.destroy();
    // Without onRequestStart, which would make undici 7 wrap the handler.
    probe.dispatch(PROBE, {
      onError: () => (generation = 'legacy'),
      onResponseError: () => (generation = 'modern'),
    });
  }
  if (!generation) {
    throw Object.assign(new TypeError('Agent is not the Agent class of undici 5.28 to 8'), {
      code: 'ERR_INVALID_ARG_TYPE',
    });
  }
  generations.set(Agent, generation);
  return generation;
}

const PROBE = { origin: 'http://localhost', path: '/', method: 'GET' };

/**
 * undici checks pool and client options at the first request only. Here a throw-away Agent, which connects to
 * nothing, is given one at once.
 *
 * @throws undici's InvalidArgumentError, `UND_ERR_INVALID_ARG`
 */
export function checkAgentOptions(Agent: AgentClass, options: object): void {
  const probe = new Agent({ ...options, connect: () => {} });
  let failed: unknown;
  const handler: ModernHandler = {
    onRequestStart() {},
    onResponseStart() {},
    onResponseData() {},
    onResponseEnd() {},
    onResponseError: (_, error) => (failed = error),
  };
  probe.dispatch(PROBE, generationOf(Agent) === 'modern' ? handler : new LegacyOverModern(handler));
  const invalid = failed;
  void probe.destroy();
  if (invalid) throw invalid;
}
