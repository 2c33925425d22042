// Finds the Agent class to build on, and which generation of handlers it speaks. Never imports undici.

import { withCode } from './errors.ts';
import { dispatcherIn, loadNodeUndici, mainGlobal, NODE_20, NODE_26, putDispatcher } from './main-global.ts';
import type { AgentOptions } from './options.ts';
import type { AgentClass, DispatcherMethod, Generation } from './undici-shapes.ts';

const PLACES = [NODE_26, NODE_20];

let ofNode: AgentClass | undefined;

/**
 * The Agent class inside Node. It can be read from the global dispatcher alone. If another dispatcher was there before
 * Node loaded its undici, and so took the place of Node's Agent, this is the Agent class of that dispatcher.
 *
 * @throws Error `ERR_INVALID_STATE` when the global dispatcher has no Agent in it
 */
export function nodeAgent(): AgentClass {
  ofNode ??= agentInGlobal(isOfNode) ?? loadedAgent();
  const Agent = ofNode ?? agentInGlobal();
  if (Agent) return Agent;
  throw withCode(
    new Error(
      'the global dispatcher was replaced by one without an undici Agent in it; pass { Agent } from undici',
    ),
    'ERR_INVALID_STATE',
  );
}

/** Whether HTTP/2 is offered by default: as this Agent does, or as Node's Agent does if this one stands for it. */
export function offersH2(Agent: AgentClass, generation: Generation, standsForNodes: boolean): boolean {
  if (standsForNodes && Agent !== ofNode) return Number.parseInt(process.versions['undici'] ?? '', 10) >= 8;
  return generation === 'modern';
}

/**
 * Loads the undici of Node and reads its Agent. That undici sets a dispatcher only in an empty place, and another
 * undici may have filled the places, so they are emptied for the time of loading.
 */
function loadedAgent(): AgentClass | undefined {
  const before = PLACES.map((place) => [place, dispatcherIn(mainGlobal, place)] as const);
  const taken = before.filter(([, dispatcher]) => dispatcher !== undefined);
  for (const [place] of taken) putDispatcher(mainGlobal, place, undefined);
  try {
    loadNodeUndici();
    return agentInGlobal(isOfNode);
  } finally {
    for (const [place, dispatcher] of taken) putDispatcher(mainGlobal, place, dispatcher);
  }
}

function agentInGlobal(test: (Agent: AgentClass) => boolean = () => true): AgentClass | undefined {
  for (const place of PLACES) {
    const Agent = findAgent(dispatcherIn(mainGlobal, place));
    if (Agent && test(Agent)) return Agent;
  }
  return undefined;
}

/** True for the Agent inside Node. A wrong option makes the Agent throw, and the stack of the error names its file. */
function isOfNode(Agent: AgentClass): boolean {
  try {
    new Agent({ factory: null }).destroy().catch(() => {});
    return false;
  } catch (error) {
    return String((error as Error | undefined)?.stack).includes('node:internal/deps/undici');
  }
}

/** Finds the Agent class in a dispatcher. An environment agent or a wrapper holds its Agent in a symbol property. */
function findAgent(value: unknown, depth = 0): AgentClass | undefined {
  if (typeof value !== 'object' || value === null || depth > 3) return undefined;
  for (let at: unknown = value; at && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    const own = Object.getOwnPropertyDescriptor(at, 'constructor')?.value as AgentClass | undefined;
    if (own?.name === 'Agent' && typeof own.prototype.dispatch === 'function') return own;
  }
  for (const symbol of Object.getOwnPropertySymbols(value)) {
    const found = findAgent(Reflect.get(value, symbol), depth + 1);
    if (found) return found;
  }
  return undefined;
}

/** That of an Agent that sends no request. */
const CONNECTOR = (): void => {};

/** These classes of undici dispatch too, but do not use the connector that they are given. */
const NO_AGENT = /^(?:EnvHttpProxy|Proxy|Socks5Proxy|Mock|Snapshot|Retry)Agent$/;

/**
 * Finds out the generation of an Agent, by the error method that it calls, and whether it takes these options, which
 * undici checks at the first request only. A throw-away Agent gets a request whose path cannot be read, so that undici
 * fails the request before it publishes it or connects. What is only similar to an Agent may not fail this request;
 * it gets the request again after it was destroyed.
 *
 * @throws TypeError `ERR_INVALID_ARG_TYPE` for what is no Agent of undici, and for a subclass that drops the connector;
 * undici's InvalidArgumentError, `UND_ERR_INVALID_ARG`, for the options
 */
export function checkAgent(Agent: AgentClass, options: AgentOptions): Generation {
  let generation: Generation | undefined;
  let failed: unknown;
  const checked = new Error('the options are valid');
  const unreadable = {
    origin: 'http://localhost',
    method: 'GET',
    maxRedirections: 0,
    get path(): string {
      throw checked;
    },
  };
  // Without onRequestStart, which would make undici 7 wrap the handler.
  const failing =
    (of: Generation) =>
    (...args: unknown[]): void => {
      generation = of;
      failed = args.at(-1);
    };
  const handler = { onError: failing('legacy'), onResponseError: failing('modern') };
  if (isAgentClass(Agent) && !NO_AGENT.test(Agent.name)) {
    // Without factory and interceptors: they are code of the caller, which would see this request.
    const own = { ...options, interceptors: undefined, connect: CONNECTOR };
    const probe = new Agent({ ...own, factory: undefined });
    probe.dispatch(unreadable, handler);
    if (failed === checked) {
      // An Agent of undici. It hands its connector to its factory, before anything else is done with a request.
      let passed: unknown;
      const factory = (_: unknown, given: AgentOptions): never => {
        passed = given.connect;
        throw checked;
      };
      new Agent({ ...own, factory }).dispatch(unreadable, handler);
      if (passed !== CONNECTOR)
        throw dropsConnect('this Agent class must pass `connect` and `factory` on to the Agent of undici');
    } else if (failed !== undefined) throw failed;
    probe.destroy().catch(() => {});
    if (!generation) probe.dispatch(unreadable, handler);
    if (generation) return generation;
  }
  throw withCode(
    new TypeError('Agent is not the Agent class of undici 5.28 to 8: pass { Agent } from undici'),
    'ERR_INVALID_ARG_TYPE',
  );
}

/** A factory of the caller: the Pool or Client that it makes must take the connector, or it would connect directly. */
export function usingConnector(factory: DispatcherMethod): DispatcherMethod {
  return (origin: unknown, options: AgentOptions): unknown => {
    let isRead = false;
    const given = {
      ...options,
      get connect() {
        isRead = true;
        return options.connect;
      },
    };
    const made: unknown = factory(origin, given);
    if (isRead) return made;
    throw dropsConnect('factory must pass its options, or `connect`, on to the Pool or Client that it makes');
  };
}

function dropsConnect(must: string): TypeError {
  return withCode(new TypeError(`${must}, or it could connect directly`), 'ERR_INVALID_ARG_TYPE');
}

const METHODS = ['dispatch', 'close', 'destroy', 'on'] as const;

function isAgentClass(Agent: AgentClass): boolean {
  const { prototype } = typeof Agent === 'function' ? Agent : {};
  return METHODS.every((name) => typeof prototype?.[name] === 'function');
}
