// The global dispatcher, in both places where some undici looks for it.

import { SocksDispatcher } from './dispatcher.ts';
import { checkRuntime } from './runtime.ts';
import { NODE_20, NODE_26 } from './symbols.ts';

/**
 * Makes `dispatcher` the default of Node's own `fetch` and of every copy of undici, whatever its version.
 *
 * The returned function puts back what was there before (where there was nothing, a dispatcher that connects directly),
 * unless someone else has set one since. Undo nested calls in reverse order.
 *
 * @param dispatcher a SocksDispatcher, or what its `compose` returned
 * @throws TypeError `ERR_INVALID_ARG_TYPE` for what is no dispatcher; Error `ERR_FEATURE_UNAVAILABLE_ON_PLATFORM` on
 * Bun and Deno, which ignore it; Error `ERR_INVALID_STATE` when it did not take effect, or when an undici is loaded
 * that looks for its dispatcher in a place unknown here
 * @example
 * const undo = setGlobalDispatcher(new SocksDispatcher('socks5://127.0.0.1:1080'));
 * await fetch('https://example.com/');
 * undo();
 */
export function setGlobalDispatcher(dispatcher: {
  dispatch(options: any, handler: any): boolean;
}): () => void {
  checkRuntime('setGlobalDispatcher');
  if (typeof dispatcher?.dispatch !== 'function') {
    throw Object.assign(new TypeError('setGlobalDispatcher takes a SocksDispatcher'), {
      code: 'ERR_INVALID_ARG_TYPE',
    });
  }
  // Reading this loads Node's undici, which sets its own default first, so that undo has something to put back.
  void globalThis.Headers;
  const before = [NODE_20, NODE_26].map(
    (symbol) => [symbol, Object.getOwnPropertyDescriptor(globalThis, symbol)] as const,
  );
  const undo = (): void => {
    for (const [symbol, descriptor] of before) {
      if (current(symbol) !== dispatcher) continue;
      put(symbol, descriptor === undefined ? direct() : descriptor.value);
    }
  };
  for (const [symbol] of before) put(symbol, dispatcher);
  // Every undici fills its place when it is loaded, Node's own has done so above, and looks into it at every request.
  // So all of them use this dispatcher, unless one has a place that is not known here.
  const places = Object.getOwnPropertySymbols(globalThis).filter(({ description }) =>
    description?.startsWith('undici.globalDispatcher.'),
  );
  const elsewhere = places.find((symbol) => current(symbol) !== dispatcher);
  const ofNode = before.some(([, descriptor]) => descriptor !== undefined);
  if (ofNode && !elsewhere && before.every(([symbol]) => current(symbol) === dispatcher)) return undo;
  undo();
  const reason =
    elsewhere?.description ?? (ofNode ? 'globalThis is frozen' : "Node's fetch has been replaced");
  throw Object.assign(new Error(`the global dispatcher cannot be set for every fetch: ${reason}`), {
    code: 'ERR_INVALID_STATE',
  });
}

/** An undici that was loaded in the meantime has made no Agent of its own, and fails when its place is empty. */
function direct(): SocksDispatcher | undefined {
  try {
    return new SocksDispatcher(() => undefined);
  } catch {
    return undefined;
  }
}

function current(symbol: symbol): unknown {
  return (globalThis as unknown as Record<symbol, unknown>)[symbol];
}

/** undici's own property is writable but not configurable; a new one stays removable. */
function put(symbol: symbol, value: unknown): void {
  if (Object.hasOwn(globalThis, symbol)) Reflect.set(globalThis, symbol, value);
  else
    Reflect.defineProperty(globalThis, symbol, {
      value,
      writable: true,
      enumerable: false,
      configurable: true,
    });
}
