// What a property is to those who run it. Nothing of SOCKS is in this file.

import type { IRawProperty } from 'fast-check';

/** How often a run came to this end. The keys are all that can happen; a generator that misses one is of no use. */
export type Ends = Record<string, number>;

export interface Property {
  readonly name: string;
  /** Synchronous or asynchronous; of any arguments. */
  readonly check: IRawProperty<unknown>;
  readonly ends: Ends;
  /** How many runs the suite makes: fewer of those that open sockets. */
  readonly runs: number;
}

/** Forgets the type of the arguments, which nobody but fast-check sees. */
export function defineProperty<T>(
  name: string,
  check: IRawProperty<T>,
  ends: Ends = {},
  runs: number = 2000,
): Property {
  return { name, check, ends, runs };
}

/** Counts an end. */
export function count(ends: Ends, end: string): void {
  ends[end] = (ends[end] ?? 0) + 1;
}
