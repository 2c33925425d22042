// One listener on each AbortSignal, shared by all attempts that the signal can end. With one listener
// for each attempt, Node would warn of a leak at the eleventh.

const signals = new WeakMap<AbortSignal, ReturnType<typeof listen>>();

/** Calls back when the signal aborts, and returns a function that removes the callback. */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const { callbacks, listener } = signals.get(signal) ?? listen(signal);
  callbacks.add(callback);
  return () => {
    callbacks.delete(callback);
    if (callbacks.size > 0) return;
    signal.removeEventListener('abort', listener);
    signals.delete(signal);
  };
}

function listen(signal: AbortSignal) {
  const callbacks = new Set<() => void>();
  const listener = (): void => {
    for (const callback of callbacks) callback();
  };
  signal.addEventListener('abort', listener);
  signals.set(signal, { callbacks, listener });
  return { callbacks, listener };
}
