// The global object that Node's own fetch belongs to, and the two properties of it that can hold a global dispatcher.
// In a vm context (Jest, the vmThreads of vitest) `globalThis` is another object, which Node's fetch never reads.

import { runInThisContext } from 'node:vm';

/** Read by Node 20, 22 and 24, and by undici 5, 6 and 7. */
export const NODE_20: unique symbol = Symbol.for('undici.globalDispatcher.1');

/** Read by Node 26 and undici 8. */
export const NODE_26: unique symbol = Symbol.for('undici.globalDispatcher.2');

/** The same object as `globalThis`, except in a vm context. */
export const mainGlobal: typeof globalThis = runInThisContext('globalThis') as typeof globalThis;

/**
 * Read inside the main context: Node ends the process when the getter of one of them is called from another context. Not
 * of `globalThis`, where a DOM or fake timers may have put others.
 */
export const nodeGlobals: Pick<
  typeof globalThis,
  'AbortController' | 'AbortSignal' | 'DOMException' | 'performance'
> = runInThisContext('({ AbortController, AbortSignal, DOMException, performance })') as typeof globalThis;

/** Properties whose first reading makes Node load its undici. */
const OF_UNDICI = ['Headers', 'Request', 'Response', 'FormData'] as const;

/**
 * Makes Node load its undici, which then sets its own dispatcher unless there is one. Reading one property is enough,
 * but any of them may have been replaced, so all are read.
 */
export function loadNodeUndici(): void {
  // A bundler removes a property access whose value is not used; it keeps a call.
  for (const name of OF_UNDICI) Reflect.get(mainGlobal, name);
}

export function dispatcherIn(global: object, place: symbol): unknown {
  return Reflect.get(global, place);
}

/** Sets the property. If undici has defined it, it is writable but cannot be removed. */
export function putDispatcher(global: object, place: symbol, dispatcher: unknown): void {
  Reflect.set(global, place, dispatcher);
}
