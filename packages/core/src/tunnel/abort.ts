// One listener on each AbortSignal, shared by all attempts that the signal can end. With eleven listeners Node would
// warn of a leak.

interface Listening {
  readonly callbacks: Set<() => void>;
  readonly stop: () => void;
}

const signals = new WeakMap<AbortSignal, Listening>();

/** Calls back when the signal aborts, and returns a function that removes the callback. */
export function onAbort(signal: AbortSignal, callback: () => void): () => void {
  const { callbacks, stop } = signals.get(signal) ?? listen(signal);
  callbacks.add(callback);
  return () => {
    callbacks.delete(callback);
    if (callbacks.size === 0) stop();
  };
}

function listen(signal: AbortSignal): Listening {
  const callbacks = new Set<() => void>();
  const listener = (): void => {
    for (const callback of callbacks) callback();
  };
  const stop = (): void => {
    signal.removeEventListener('abort', listener);
    signals.delete(signal);
  };
  const listening = { callbacks, stop };
  signal.addEventListener('abort', listener);
  signals.set(signal, listening);
  return listening;
}
