// The global dispatcher, in every place where some undici looks for it.

import { SocksDispatcher } from './dispatcher.ts';
import { withCode } from './errors.ts';
import { dispatcherIn, loadNodeUndici, mainGlobal, NODE_20, NODE_26, putDispatcher } from './main-global.ts';
import { checkRuntime } from './runtime.ts';

/** A global object and a symbol. In a vm context, the copies of undici that are loaded there read another global. */
type Place = readonly [global: object, symbol: symbol];

const GLOBALS = [...new Set([mainGlobal, globalThis])];
const PLACES: readonly Place[] = GLOBALS.flatMap((global): Place[] => [
  [global, NODE_20],
  [global, NODE_26],
]);

/** What one call of setGlobalDispatcher put in its places, and what was there before. */
interface Installation {
  readonly dispatcher: unknown;
  readonly before: unknown[];
}

/** The installations that have not been undone, in the order of their calls. */
const installations: Installation[] = [];

/**
 * Makes `dispatcher` the default of Node's own `fetch` and of every copy of undici, whatever its version.
 *
 * The returned function puts back what was there before (where there was nothing, a dispatcher that connects directly),
 * unless other code has set another dispatcher since. Several calls can be undone in any order. In a vm context (Jest,
 * vitest's `vmThreads`) Node's fetch belongs to all contexts of the process or thread, and so does this: undo it after
 * the tests.
 *
 * @param dispatcher a SocksDispatcher, or what its `compose` returned
 * @throws TypeError `ERR_INVALID_ARG_TYPE` for what is no dispatcher; Error `ERR_FEATURE_UNAVAILABLE_ON_PLATFORM` on
 * Bun and Deno, which ignore it; Error `ERR_INVALID_STATE` when it did not take effect, when the global `fetch` or
 * `Headers` has been replaced by one that is not undici's, or when an undici is loaded that looks for its dispatcher in
 * a place unknown here
 * @example
 * const undo = setGlobalDispatcher(new SocksDispatcher('socks5://127.0.0.1:1080'));
 * await fetch('https://example.com/');
 * undo();
 */
export function setGlobalDispatcher(dispatcher: {
  dispatch(options: object, handler: object): boolean;
}): () => void {
  checkRuntime('setGlobalDispatcher');
  if (typeof dispatcher?.dispatch !== 'function') {
    throw withCode(new TypeError('setGlobalDispatcher takes a SocksDispatcher'), 'ERR_INVALID_ARG_TYPE');
  }
  // Node's undici sets its own default when it is loaded; so it is loaded first, and undo has a dispatcher to put back.
  loadNodeUndici();
  for (const global of GLOBALS) if (global === mainGlobal || 'fetch' in global) checkFetch(global);
  const installation = { dispatcher, before: PLACES.map(current) };
  installations.push(installation);
  for (const [global, symbol] of PLACES) putDispatcher(global, symbol, dispatcher);
  const missed = missedPlace(dispatcher);
  if (missed === undefined) return () => undo(installation);
  undo(installation);
  throw invalidState(missed);
}

function undo(installation: Installation): void {
  const index = installations.indexOf(installation);
  if (index === -1) return;
  installations.splice(index, 1);
  const later = installations.slice(index);
  for (const [i, place] of PLACES.entries()) {
    const { dispatcher, before } = installation;
    // A later call found this dispatcher here. Its undo then has to put back what this call found.
    const successor = later.find((other) => other.before[i] === dispatcher);
    if (successor) successor.before[i] = before[i];
    else if (current(place) === dispatcher) putDispatcher(...place, before[i] ?? direct());
  }
}

/**
 * Names a place that does not hold the dispatcher now; undefined if all do. Every undici reads its place at every
 * request, and an unknown undici may read another one.
 */
function missedPlace(dispatcher: unknown): string | undefined {
  const others = GLOBALS.flatMap((global) =>
    Object.getOwnPropertySymbols(global)
      .filter(({ description }) => description?.startsWith('undici.globalDispatcher.'))
      .map((symbol): Place => [global, symbol]),
  );
  const missed = [...others, ...PLACES].find((place) => current(place) !== dispatcher);
  return missed && `globalThis[${String(missed[1])}] cannot be set`;
}

/**
 * Throws unless the fetch is that of an undici: only those read `dispatcher` from their options, before they do
 * anything else.
 */
function checkFetch({ fetch, Headers, Response }: typeof globalThis): void {
  let ofUndici = false;
  try {
    const own = new Response().headers instanceof Headers;
    const options = {
      get dispatcher(): never {
        ofUndici = own;
        throw new Error('no request is meant');
      },
    };
    // No fetch sends anything for this URL, which is its own content.
    Promise.resolve(fetch('data:,', options)).catch(() => {});
  } catch {
    // A fetch that throws is not undici's, unless it has read the option.
  }
  if (!ofUndici) throw invalidState("fetch, Headers or Response is not Node's or undici's any more");
}

function invalidState(reason: string): Error {
  const message = `the global dispatcher cannot be set for every fetch: ${reason}`;
  return withCode(new Error(message), 'ERR_INVALID_STATE');
}

/**
 * A dispatcher for a place that was empty before. An undici that was loaded meanwhile has made no Agent of its own, and
 * fails when its place is empty.
 */
function direct(): SocksDispatcher | undefined {
  try {
    return new SocksDispatcher(() => undefined);
  } catch {
    return undefined;
  }
}

function current([global, symbol]: Place): unknown {
  return dispatcherIn(global, symbol);
}
