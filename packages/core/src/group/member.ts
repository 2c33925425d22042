// One member of a group: its chain, and its health. No timer and no IO: the code that tries a member reports the result.

import { channel } from 'node:diagnostics_channel';
import { SocksError } from '../errors.ts';
import { printProxy } from '../proxy.ts';
import type { SocksProxy } from '../proxy.ts';

/** What `ProxyGroup.state()` says of one member. */
export interface MemberState {
  /** The hops without credentials, first hop first. */
  readonly proxies: readonly string[];
  /** `greeting`: its rest is over, and one connection finds out whether it answers. */
  readonly state: 'ready' | 'resting' | 'greeting';
  /** When the rest ends or has ended, as the group's `now()` gives the time. Absent when the member is ready. */
  readonly until?: number;
  /** How many times in a row it has failed. */
  readonly failures: number;
  /** Why it rests. Absent when it was slower than another member, and after `rest()`. */
  readonly error?: SocksError;
}

/** A message of the channel `socksify:group`: the state of one member has changed. */
export interface GroupMessage extends Pick<MemberState, 'proxies' | 'state' | 'error'> {
  /** How many milliseconds the member rests from now; 0 unless it rests. */
  readonly for: number;
}

/** Milliseconds. The rest doubles with each failure up to this. */
const LONGEST_REST = 300_000;

const changes = channel('socksify:group');

export class Member {
  readonly chain: readonly SocksProxy[];
  readonly #rest: number;
  readonly #now: () => number;
  /** Undefined: ready. */
  #until: number | undefined;
  #failures = 0;
  #error: SocksError | undefined;
  /** The application called `rest()`, and a tunnel does not end that rest early. */
  #held = false;
  #greeting = false;

  constructor(chain: readonly SocksProxy[], rest: number, now: () => number) {
    this.chain = chain;
    this.#rest = rest;
    this.#now = now;
  }

  get ready(): boolean {
    return this.#until === undefined;
  }

  /** 0 when it is ready. */
  get until(): number {
    return this.#until ?? 0;
  }

  /** True if its rest is over and no greeting is in progress. The caller must greet it now, and report the result. */
  startGreeting(): boolean {
    if (this.#until === undefined || this.#until > this.#now() || this.#greeting) return false;
    this.#greeting = true;
    this.#publish();
    return true;
  }

  /** The greeting said nothing about the proxy, so that the next request greets it again. */
  stopGreeting(): void {
    this.#greeting = false;
    this.#publish();
  }

  /** It has answered. */
  succeeded(): void {
    this.#greeting = false;
    if (this.#until === undefined || (this.#held && this.#until > this.#now())) return;
    this.#until = this.#error = undefined;
    this.#failures = 0;
    this.#held = false;
    this.#publish();
  }

  /**
   * It has failed, or was too slow.
   *
   * @param began when the attempt began. If that was before the end of the rest, the rest neither begins anew nor
   * doubles: many requests fail at the same time when a proxy dies, and they count as one failure.
   */
  failed(began: number, error?: unknown): void {
    this.#greeting = false;
    if (this.#until !== undefined && began < this.#until) return;
    const longest = Math.max(this.#rest, LONGEST_REST);
    // 2 ** 1024 is Infinity, and 0 times Infinity is not a number.
    this.#until = this.#now() + Math.min(this.#rest * 2 ** Math.min(this.#failures, 100), longest);
    this.#failures++;
    this.#error = error instanceof SocksError ? error : undefined;
    this.#held = false;
    this.#publish();
  }

  /** Lets it rest for so many milliseconds from now, whatever it answers meanwhile. */
  rest(milliseconds: number = this.#rest): void {
    this.#until = this.#now() + milliseconds;
    this.#error = undefined;
    this.#held = true;
    this.#publish();
  }

  now(): number {
    return this.#now();
  }

  get state(): MemberState {
    return {
      proxies: this.chain.map(printProxy),
      state: this.#until === undefined ? 'ready' : this.#greeting ? 'greeting' : 'resting',
      ...(this.#until !== undefined && { until: this.#until }),
      failures: this.#failures,
      ...(this.#error && { error: this.#error }),
    };
  }

  #publish(): void {
    if (!changes.hasSubscribers) return;
    const { proxies, state, error } = this.state;
    const rests = state === 'resting' ? Math.max(0, this.until - this.#now()) : 0;
    changes.publish({ proxies, state, for: rests, ...(error && { error }) } satisfies GroupMessage);
  }
}

/** The order in which members are tried: the ready ones as given, then the others, the one whose rest ends first. */
export function inOrder(members: readonly Member[]): Member[] {
  const resting = members.filter((member) => !member.ready);
  if (resting.length === 0) return [...members];
  return [
    ...members.filter((member) => member.ready),
    ...resting.toSorted((one, other) => one.until - other.until),
  ];
}
