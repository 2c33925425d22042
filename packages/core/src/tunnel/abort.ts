// One listener on each AbortSignal, shared by all attempts that the signal can end. With one listener
// for each attempt, Node would warn of a leak at the eleventh.

const signals = new WeakMap<
  AbortSignal,
  { readonly callbacks: Set<() => void>; readonly listener: () => void }
>();

/** Calls back when the signal aborts, and returns a function that removes the callback. */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  let shared = signals.get(signal);
  if (!shared) {
    const all = new Set<() => void>();
    const abort = (): void => {
      for (const one of all) one();
    };
    signal.addEventListener('abort', abort);
    signals.set(signal, (shared = { callbacks: all, listener: abort }));
  }
  const { callbacks, listener } = shared;
  callbacks.add(callback);
  return () => {
    callbacks.delete(callback);
    if (callbacks.size > 0) return;
    signal.removeEventListener('abort', listener);
    signals.delete(signal);
  };
}
