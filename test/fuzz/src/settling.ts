// Every attempt at a tunnel, whatever its input, settles once, with a tunnel or with a documented error, and keeps no
// listener on the signal of the caller.

import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { getEventListeners } from 'node:events';
import { inspect } from 'node:util';
import { SocksError } from '@socksify/core';
import type { Tunnel } from '@socksify/core';

export type Outcome = { readonly tunnel: Tunnel } | { readonly error: unknown };

/** Longer than any time limit of an attempt in these properties. */
const HANG = 10_000;

/** The outcome of an attempt. With it come no more messages of the diagnostics channels than one start and one end. */
export async function outcomeOf(begin: () => Promise<Tunnel>, signal?: AbortSignal): Promise<Outcome> {
  const messages: string[] = [];
  const listeners = (['start', 'end', 'error'] as const).map((event) => {
    const listener = (): void => void messages.push(event);
    subscribe(`socksify:tunnel:${event}`, listener);
    return () => unsubscribe(`socksify:tunnel:${event}`, listener);
  });
  let alarm: NodeJS.Timeout | undefined;
  const hang = new Promise<never>((_, reject) => {
    alarm = setTimeout(() => reject(new assert.AssertionError({ message: 'hangs' })), HANG);
  });
  try {
    const outcome = await Promise.race([settle(begin), hang]);
    await turns(2);
    // An error that comes before the route is known is told to the caller alone.
    const all = ['start', 'tunnel' in outcome ? 'end' : 'error'];
    if (messages.length > 0 || 'tunnel' in outcome) assert.deepEqual(messages, all);
    if (signal) assert.equal(getEventListeners(signal, 'abort').length, 0);
    return outcome;
  } finally {
    clearTimeout(alarm);
    for (const stop of listeners) stop();
  }
}

async function settle(begin: () => Promise<Tunnel>): Promise<Outcome> {
  let promise: Promise<Tunnel>;
  try {
    promise = begin();
  } catch (error) {
    throw new assert.AssertionError({ message: `thrown, not rejected: ${inspect(error)}` });
  }
  try {
    return { tunnel: await promise };
  } catch (error) {
    // A failed assertion, such as one in a call-back, is no outcome.
    if (error instanceof assert.AssertionError) throw error;
    return { error };
  }
}

export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => void setImmediate(resolve));
}

/** An error of ours, or Node's for an option that is none. */
export function isTyped(error: unknown): boolean {
  if (error instanceof SocksError) return /^ERR_SOCKS_[A-Z0-9_]+$/.test(error.code);
  return error instanceof TypeError && (error as NodeJS.ErrnoException).code === 'ERR_INVALID_ARG_VALUE';
}
