// The global dispatcher, in both places where some undici looks for it.

import { checkRuntime } from './runtime.ts';
import { NODE_20, NODE_26 } from './symbols.ts';

/**
 * Makes `dispatcher` the default of Node's own `fetch` and of every copy of undici, whatever its version.
 *
 * The returned function puts back what was there before, unless someone else has set a dispatcher since. Undo nested
 * calls in reverse order.
 *
 * @param dispatcher a SocksDispatcher, or what its `compose` returned
 * @throws TypeError `ERR_INVALID_ARG_TYPE` for what is no dispatcher; Error `ERR_FEATURE_UNAVAILABLE_ON_PLATFORM` on
 * Bun and Deno, which ignore it; Error `ERR_INVALID_STATE` when it did not take effect
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
      if (descriptor === undefined) Reflect.deleteProperty(globalThis, symbol);
      else put(symbol, descriptor.value);
    }
  };
  for (const [symbol] of before) put(symbol, dispatcher);
  if (before.every(([symbol]) => current(symbol) === dispatcher)) return undo;
  undo();
  throw Object.assign(new Error('the global dispatcher cannot be set: globalThis is frozen, or guards it'), {
    code: 'ERR_INVALID_STATE',
  });
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
