// Opens a tunnel through the first of several chains that gives one. group/race.ts decides which member is tried, and
// when. This file dials and requests, and reports each result to its member.

import { clearTimeout, setImmediate, setTimeout } from 'node:timers';
import { blameOf } from '../blame.ts';
import type { Destination } from '../destination.ts';
import { invalidOption, SocksError } from '../errors.ts';
import { at } from '../given.ts';
import { Alternatives } from '../group/group.ts';
import { inOrder } from '../group/member.ts';
import type { Member } from '../group/member.ts';
import { Race } from '../group/race.ts';
import type { Action } from '../group/race.ts';
import type { ConnectOptions } from '../options.ts';
import type { SocksProxy } from '../proxy.ts';
import { Attempt } from './attempt.ts';
import { negotiateChain, requestTunnel } from './one-chain.ts';
import type { Negotiated } from './one-chain.ts';
import type { Opened } from './hops.ts';
import { Progress, SILENCE_HINTS } from './progress.ts';
import type { Standby } from './standby.ts';

/** Speaks TLS to the destination over an open tunnel, if the caller wants it. */
export type Secure = (opened: Opened, chain: readonly SocksProxy[], progress: Progress) => Promise<void>;

/** What was tried for one tunnel. */
export interface Trial {
  readonly member: Member;
  readonly attempt: Attempt;
  /** When the attempt began, on the clock of the member. */
  readonly began: number;
  outcome: 'tunnel' | 'error' | 'unused';
  error?: unknown;
  /** Set when it is over. */
  durations?: Progress['durations'];
  negotiated?: Negotiated;
}

/** What the client adds to its attempts. */
interface ClientState {
  /** The attempts in progress. */
  readonly attempts: Set<Attempt>;
  readonly standby?: Standby | undefined;
}

export interface Found extends Opened {
  readonly chain: readonly SocksProxy[];
}

/**
 * @param trials gets an entry for each member that is tried
 * @throws what the last attempt failed with; its `errors` has the errors of all attempts
 */
export async function openAlternative(
  alternatives: Alternatives,
  destination: Destination,
  attempt: Attempt,
  secure: Secure,
  trials: Trial[],
  client: ClientState,
): Promise<Found> {
  if (attempt.existing) {
    throw invalidOption('socket is a connection to one proxy: give that proxy in place of a group');
  }
  const { members, stagger } = Alternatives.contentOf(alternatives);
  const [only, ...more] = members;
  if (only && more.length === 0) return openOnly(only, destination, attempt, secure, trials, client);
  const order = inOrder(members);
  const due = order.find((member, i) => i > 0 && member.startGreeting());
  if (due) void greet(due, stagger, attempt, client);
  return new Opening(order, stagger, destination, attempt, secure, trials, client).open();
}

/** One member alone is tried without a race, so that a group of one costs no more than its chain. */
async function openOnly(
  member: Member,
  destination: Destination,
  attempt: Attempt,
  secure: Secure,
  trials: Trial[],
  client: ClientState,
): Promise<Found> {
  const { chain } = member;
  const trial: Trial = { member, attempt, began: member.now(), outcome: 'error' };
  trials.push(trial);
  try {
    const negotiated = await negotiateChain(chain, destination, attempt, client.standby);
    // With `pipeline`, the proxy has sent nothing yet.
    if (negotiated.took === undefined) member.succeeded();
    const opened = await requestTunnel(negotiated, attempt, client.standby);
    member.succeeded();
    await secure(opened, chain, attempt.progress);
    trial.outcome = 'tunnel';
    return { connection: opened.connection, bound: opened.bound, chain };
  } catch (error) {
    trial.error = error;
    const isAbort = attempt.stopped && error === attempt.options.signal?.reason;
    if (!isAbort && blameOf(error) === 'proxy') member.failed(trial.began, error);
    else if (error instanceof SocksError && error.reply !== undefined) member.succeeded();
    throw error;
  }
}

/** Finds out, in the background, whether a member whose rest is over answers in time. */
async function greet(member: Member, stagger: number, by: Attempt, client: ClientState): Promise<void> {
  const began = member.now();
  const options = { ...by.options, signal: undefined, pipeline: false, timeout: stagger };
  const attempt = new Attempt(options, undefined, true).begin(client.attempts);
  try {
    // The destination is not needed, and negotiation does not depend on it.
    await negotiateChain(member.chain, { host: '0.0.0.0', port: 0 }, attempt);
    member.succeeded();
  } catch (error) {
    if (blameOf(error) === 'proxy') member.failed(began, error);
    else member.stopGreeting();
  }
  attempt.end();
  attempt.stop(new Error('the proxy was greeted'));
}

class Opening {
  readonly #order: readonly Member[];
  readonly #destination: Destination;
  readonly #attempt: Attempt;
  readonly #options: ConnectOptions;
  readonly #secure: Secure;
  readonly #trials: Trial[];
  readonly #standby: Standby | undefined;
  readonly #race: Race;
  /** The errors of the attempts that have failed, in the order of the failures. */
  readonly #errors: SocksError[] = [];
  /** The last of them, as it was thrown. */
  #last: unknown;
  #timer: NodeJS.Timeout | undefined;
  #over = false;
  #resolve!: (found: Found) => void;
  #reject!: (error: unknown) => void;

  constructor(
    order: readonly Member[],
    stagger: number,
    destination: Destination,
    attempt: Attempt,
    secure: Secure,
    trials: Trial[],
    client: ClientState,
  ) {
    this.#order = order;
    this.#destination = destination;
    this.#attempt = attempt;
    // A pipelined handshake sends the request before the proxy has answered, and a second request when no answer comes.
    this.#options = { ...attempt.options, pipeline: false };
    this.#secure = secure;
    this.#trials = trials;
    this.#standby = client.standby;
    this.#race = new Race(order.length, stagger, attempt.deadline);
  }

  async open(): Promise<Found> {
    const found = new Promise<Found>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#act(this.#race.start(performance.now()));
    });
    try {
      return await this.#attempt.race(found);
    } catch (error) {
      if (this.#attempt.stopped && error !== this.#attempt.options.signal?.reason) this.#stopped(error);
      throw error;
    } finally {
      this.#over = true;
      clearTimeout(this.#timer);
      for (const trial of this.#trials) {
        setDurations(trial);
        // The connection of the tunnel belongs to the whole attempt by now.
        trial.attempt.stop(new Error('another proxy was faster'));
      }
    }
  }

  #act(actions: readonly Action[]): void {
    if (this.#over) return;
    for (const action of actions) {
      if (action.type === 'fail') {
        this.#reject(withErrors(this.#last, [...this.#errors.slice(0, -1), this.#last]));
        return;
      }
      // #negotiate() adds the trial that the next line reads.
      if (action.type === 'begin') void this.#negotiate(action.member);
      const trial = at(this.#trials, action.member);
      if (action.type === 'request') void this.#request(action.member, trial);
      if (action.type === 'give up') this.#end(trial, timeoutOf(trial, 'its share of the time limit'));
    }
    // The error of the time limit names the oldest attempt.
    const [oldest] = this.#race.running;
    if (oldest !== undefined) this.#attempt.progress = at(this.#trials, oldest).attempt.progress;
    this.#setTimer();
  }

  #setTimer(): void {
    clearTimeout(this.#timer);
    const { wakeAt } = this.#race;
    const wait = wakeAt - performance.now();
    if (wait === Infinity) return;
    // Node runs timers before it looks at sockets, and a busy process has not looked at them for a while. The timer shows
    // the time too: the fake timers of a test runner can stop performance.now().
    const wake = (): void => this.#act(this.#race.wake(Math.max(performance.now(), wakeAt)));
    this.#timer = setTimeout(() => setImmediate(wake), Math.max(1, Math.ceil(wait)));
  }

  async #negotiate(index: number): Promise<void> {
    const member = at(this.#order, index);
    const attempt = this.#attempt.part(new Progress(this.#destination), this.#options);
    const trial: Trial = { member, attempt, began: member.now(), outcome: 'unused' };
    this.#trials.push(trial);
    try {
      trial.negotiated = await negotiateChain(member.chain, this.#destination, attempt, this.#standby);
      attempt.progress.enter('request');
      member.succeeded();
      this.#act(this.#race.negotiated(index, performance.now()));
    } catch (error) {
      this.#failed(index, trial, error);
    }
  }

  async #request(index: number, trial: Trial): Promise<void> {
    const { member, attempt, negotiated } = trial;
    try {
      // The proxy may have closed this connection while the request was sent on another one.
      const ready =
        negotiated && !negotiated.connection.ended
          ? negotiated
          : await negotiateChain(member.chain, this.#destination, attempt, this.#standby);
      const opened = await requestTunnel(ready, attempt, this.#standby);
      await this.#secure(opened, member.chain, attempt.progress);
      if (this.#over) return;
      this.#over = true;
      for (const slow of this.#race.overtakenBy(index)) {
        const { member: overtaken, began } = at(this.#trials, slow);
        overtaken.failed(began);
      }
      this.#race.granted();
      trial.outcome = 'tunnel';
      this.#attempt.progress = attempt.progress;
      this.#attempt.own(opened.connection);
      this.#resolve({ ...opened, chain: member.chain });
    } catch (error) {
      this.#failed(index, trial, error);
    }
  }

  #failed(index: number, trial: Trial, error: unknown): void {
    if (this.#over || this.#attempt.stopped || trial.error !== undefined) return;
    this.#end(trial, error);
    // The member cannot carry the destination. Nothing was sent, so others are tried as if it were not in the group.
    const unfit = error instanceof SocksError && error.code === 'ERR_SOCKS_INVALID_DESTINATION';
    this.#act(this.#race.failed(index, unfit ? 'proxy' : blameOf(error), performance.now()));
  }

  #end(trial: Trial, error: unknown): void {
    const { member, attempt, began } = trial;
    setDurations(trial);
    trial.outcome = 'error';
    trial.error = error;
    this.#last = error;
    // An error of TLS to the destination does not name the proxy.
    const named =
      error instanceof SocksError
        ? error
        : attempt.progress.error('ERR_SOCKS_PROXY_CLOSED', { cause: error });
    this.#errors.push(named);
    if (blameOf(error) === 'proxy') member.failed(began, error);
    attempt.stop(error);
  }

  /** The attempt was stopped: by its time limit, or because the client was closed. */
  #stopped(error: unknown): void {
    if (!(error instanceof SocksError)) return;
    const errors = [...this.#errors];
    if (error.code === 'ERR_SOCKS_TIMEOUT') {
      const now = performance.now();
      for (const [i, index] of this.#race.running.entries()) {
        const trial = at(this.#trials, index);
        // The error of the time limit is that of the oldest attempt already.
        const late = i === 0 ? error : timeoutOf(trial, error.detail);
        trial.error = late;
        trial.outcome = 'error';
        if (i > 0) errors.push(late);
        if (this.#race.isLate(index, now)) trial.member.failed(trial.began, late);
      }
    }
    withErrors(error, [...errors, error]);
  }
}

function timeoutOf({ attempt: { progress } }: Trial, detail: string | undefined): SocksError {
  return progress.error('ERR_SOCKS_TIMEOUT', { detail, hint: SILENCE_HINTS[progress.phase] });
}

function setDurations(trial: Trial): void {
  trial.attempt.progress.lap();
  trial.durations ??= { ...trial.attempt.progress.durations };
}

/**
 * Adds the errors of all attempts to the last one, if there are several. The property is not enumerable, because it
 * contains the error itself.
 */
function withErrors(error: unknown, errors: readonly unknown[]): unknown {
  if (errors.length > 1 && error instanceof Error) {
    Object.defineProperty(error, 'errors', { value: Object.freeze([...errors]), configurable: true });
  }
  return error;
}
