// Decides which members of a group are tried for one tunnel, when, and when to stop. No IO, no timer, no clock: it
// takes events and the time, and returns actions.
//
// Members negotiate side by side, because the destination does not notice it: when a member has not negotiated within
// the stagger, the next one begins beside it. One member at a time gets a request, so that the destination never sees
// two connections.

import type { Blame } from '../blame.ts';
import { at } from '../given.ts';

/** How many members can have a connection at a time. */
export const AT_ONCE = 8;

/** Members are numbers, in the order in which they are to be tried. */
export type Action =
  /** Dial this member and negotiate with it; then call `negotiated()` or `failed()`. */
  | { readonly type: 'begin'; readonly member: number }
  /** Send the request; then call `granted()` or `failed()`. */
  | { readonly type: 'request'; readonly member: number }
  /** Close this connection: its time is over. It has failed, and `failed()` is not called. */
  | { readonly type: 'give up'; readonly member: number }
  /** Close all connections: the tunnel has failed with the last error. */
  | { readonly type: 'fail' };

interface Runner {
  state: 'negotiating' | 'ready' | 'requesting' | 'over';
  readonly began: number;
  /** The member is late from this time on, when the next one could begin. */
  readonly lateAt: number;
}

export class Race {
  /** Call `wake()` at this time. Infinity: never. */
  wakeAt: number = Infinity;
  readonly #count: number;
  readonly #stagger: number;
  readonly #deadline: number;
  /** Those that have begun, in this order. */
  readonly #runners: Runner[] = [];
  /** How many requests have failed without saying whether the proxy or the destination is to blame. */
  #unclear = 0;
  #over = false;

  /**
   * @param count how many members there are
   * @param stagger milliseconds
   * @param deadline the time at which the caller ends the race; Infinity: never
   */
  constructor(count: number, stagger: number, deadline: number) {
    this.#count = count;
    this.#stagger = stagger;
    this.#deadline = deadline;
  }

  start(now: number): Action[] {
    return this.#proceed(now);
  }

  negotiated(member: number, now: number): Action[] {
    if (!this.#move(member, 'ready')) return [];
    return this.#first('requesting') === undefined ? this.#proceed(now) : [];
  }

  failed(member: number, blame: Blame, now: number): Action[] {
    if (!this.#move(member, 'over')) return [];
    if (blame === 'unclear') this.#unclear++;
    if (blame === 'destination' || blame === 'none' || this.#unclear === 2) return this.#fail();
    return this.#first('requesting') === undefined ? this.#proceed(now) : [];
  }

  /** The caller has its tunnel. Close all other connections. */
  granted(): void {
    this.#end();
  }

  wake(now: number): Action[] {
    if (this.#over || now < this.wakeAt) return [];
    const requesting = this.#first('requesting');
    const oldest = this.#first('negotiating');
    let late: number | undefined;
    if (requesting !== undefined) late = requesting;
    else if (this.running.length >= AT_ONCE) late = oldest;
    if (late === undefined) return this.#begin(now);
    this.#move(late, 'over');
    if (late === requesting) this.#unclear++;
    const next = this.#unclear === 2 ? this.#fail() : this.#proceed(now);
    return [{ type: 'give up', member: late }, ...next];
  }

  /** The members that have a connection, or are getting one. */
  get running(): number[] {
    return this.#runners.flatMap(({ state }, member) => (state === 'over' ? [] : [member]));
  }

  /** True if the member has not negotiated at this time, although the next one could have begun before it. */
  isLate(member: number, time: number): boolean {
    const runner = this.#runners[member];
    return runner?.state === 'negotiating' && runner.lateAt <= time;
  }

  /** Earlier members that were late when this one began, and have not negotiated. */
  overtakenBy(member: number): number[] {
    const { began } = at(this.#runners, member);
    return this.running.filter((other) => other < member && this.isLate(other, began));
  }

  /** Called while no request is in progress: sends one, begins the next member, waits, or fails. */
  #proceed(now: number): Action[] {
    const ready = this.#first('ready');
    if (ready !== undefined) return this.#request(ready, now);
    if (this.#runners.length < this.#count) return this.#begin(now);
    this.wakeAt = Infinity;
    return this.running.length > 0 ? [] : this.#fail();
  }

  #begin(now: number): Action[] {
    const member = this.#runners.length;
    // All members have to begin before the deadline.
    const share = Math.max(1, (this.#deadline - now) / (this.#count - member + 1));
    const lateAt = now + Math.min(this.#stagger, share);
    this.#runners.push({ state: 'negotiating', began: now, lateAt });
    if (member + 1 === this.#count) this.wakeAt = Infinity;
    // The next member takes the place of the oldest one, which gets as much time as the deadline leaves.
    else if (this.running.length >= AT_ONCE && share < Infinity) this.wakeAt = now + share;
    else this.wakeAt = lateAt;
    return [{ type: 'begin', member }];
  }

  #request(member: number, now: number): Action[] {
    const others = this.running.length > 1 || this.#runners.length < this.#count;
    this.#move(member, 'requesting');
    // After a first request without an answer there can be a second one, and no third.
    this.wakeAt = others && this.#unclear === 0 ? now + (this.#deadline - now) / 2 : Infinity;
    return [{ type: 'request', member }];
  }

  #fail(): Action[] {
    this.#end();
    return [{ type: 'fail' }];
  }

  #end(): void {
    this.#over = true;
    this.wakeAt = Infinity;
  }

  #first(state: Runner['state']): number | undefined {
    const found = this.#runners.findIndex((runner) => runner.state === state);
    return found === -1 ? undefined : found;
  }

  /** False if the race is over, for all members or for this one. */
  #move(member: number, state: Runner['state']): boolean {
    const runner = this.#runners[member];
    if (this.#over || !runner || runner.state === 'over') return false;
    runner.state = state;
    return true;
  }
}
