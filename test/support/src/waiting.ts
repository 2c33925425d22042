// Waiting for what happens, without a fixed time.

import type { EventEmitter } from 'node:events';
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises';

/** Resolves when the request, socket or stream is closed, with an error or without. */
export async function closed(emitter: EventEmitter & { readonly closed: boolean }): Promise<void> {
  if (emitter.closed) return;
  await new Promise<void>((resolve) => {
    emitter.once('close', () => resolve());
  });
}

/**
 * The reason of a promise that rejects.
 * @throws Error when the promise is fulfilled
 */
export async function rejection(promise: Promise<unknown>): Promise<any> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error('the promise did not reject', { cause: value });
}

/** Resolves after so many turns of the event loop. */
export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}

/** A promise whose resolve function is at hand for listeners. */
export function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  const parts: { resolve?: (value: T) => void } = {};
  const promise = new Promise<T>((resolve) => {
    parts.resolve = resolve;
  });
  return { promise, resolve: (value) => parts.resolve?.(value) };
}

/**
 * The value of the promise, if it comes within the time.
 * @param what names what is waited for
 * @throws Error that says what hangs
 */
export async function within<Value>(
  promise: Promise<Value>,
  what: string,
  milliseconds: number,
): Promise<Value> {
  const alarm = new AbortController();
  const hang = wait(milliseconds, undefined, { signal: alarm.signal }).then(() => {
    throw new Error(`hangs: ${what}`);
  });
  try {
    return await Promise.race([promise, hang]);
  } finally {
    alarm.abort();
    hang.catch(() => {});
  }
}
