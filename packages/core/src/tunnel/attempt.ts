// One attempt at a tunnel: its options, its time limit, its signal, and everything that has to end with it.

import { clearTimeout, setImmediate, setTimeout } from 'node:timers';
import { DEFAULT_TIMEOUT } from '../options.ts';
import type { ConnectOptions } from '../options.ts';
import type { LazyContext } from '../route.ts';
import { Connection } from './connection.ts';
import { Progress, SILENCE_HINTS } from './progress.ts';

/** Milliseconds. A timer that fires later than this shows that the process was busy. */
const BUSY = 20;

/**
 * The attempts that each signal can end. They share one listener: with one for each attempt, Node would warn of a leak at
 * the eleventh.
 */
const attemptsOf = new WeakMap<
  AbortSignal,
  { readonly attempts: Set<Attempt>; readonly listener: () => void }
>();

export class Attempt {
  readonly options: ConnectOptions;
  /** No caller waits for the result, so nothing that is opened may keep the process alive. */
  readonly background: boolean;
  /** What the attempt is doing, for its timeout error. With several parts, the progress of one of them. */
  progress: Progress;
  /** When the time limit ends the attempt, on the clock of `performance.now()`. Infinity: never. */
  deadline: number = Infinity;
  /** The connection to the first proxy, if the caller handed one in. */
  existing: Connection | undefined;
  /** What has to end with the attempt. */
  readonly #stops = new Set<(reason: unknown) => void>();
  #timer: NodeJS.Timeout | undefined;
  #reason: { readonly value: unknown } | undefined;
  #over = false;
  /** The attempts in progress, of which this is one. */
  #attempts: Set<Attempt> | undefined;

  constructor(options: ConnectOptions, progress: Progress = new Progress(), background = false) {
    this.options = options;
    this.background = background;
    this.progress = progress;
  }

  /** Starts the time limit, listens to the signal, and takes over the socket that was handed in. */
  begin(attempts?: Set<Attempt>): this {
    this.#attempts = attempts?.add(this);
    const { signal, socket, timeout = DEFAULT_TIMEOUT } = this.options;
    if (socket) this.existing = this.own(new Connection(socket));
    if (signal?.aborted) this.stop(signal.reason);
    else if (signal) {
      const shared = attemptsOf.get(signal);
      if (shared) shared.attempts.add(this);
      else {
        const all = new Set<Attempt>([this]);
        const listener = (): void => {
          for (const attempt of all) attempt.stop(signal.reason);
        };
        signal.addEventListener('abort', listener);
        attemptsOf.set(signal, { attempts: all, listener });
      }
    }
    if (timeout > 0) {
      this.deadline = performance.now() + timeout;
      this.#timer = setTimeout(() => this.#timeIsUp(timeout), timeout);
      if (this.background) this.#timer.unref();
    }
    return this;
  }

  /** True once the time limit has passed, the signal has aborted, or the owner has closed. */
  get stopped(): boolean {
    return this.#reason !== undefined;
  }

  throwIfStopped(): void {
    if (this.#reason) throw this.#reason.value;
  }

  /** Ends all that belongs to the attempt, and all that is added to it later, with this reason. */
  stop(reason: unknown): void {
    this.#reason ??= { value: reason };
    for (const stop of this.#stops) stop(this.#reason.value);
  }

  /** Makes the connection part of this attempt alone: it is destroyed when the attempt stops. */
  own(connection: Connection): Connection {
    if (connection.owner) connection.owner.#stops.delete(connection.destroy);
    connection.owner = this;
    if (this.#reason) connection.destroy(this.#reason.value);
    else this.#stops.add(connection.destroy);
    return connection;
  }

  /**
   * Settles as the promise does, or rejects with the reason of the attempt if the attempt stops first.
   *
   * @param context of the selector that gave the promise: its signal is aborted if the attempt stops first
   */
  race<T>(promise: PromiseLike<T>, context?: LazyContext): Promise<T> {
    return new Promise((resolve, reject) => {
      const stop = (reason: unknown): void => {
        context?.abort(reason);
        reject(reason);
      };
      const forget = (): void => void this.#stops.delete(stop);
      if (this.#reason) stop(this.#reason.value);
      else this.#stops.add(stop);
      // First, because the caller may stop the attempt as soon as it has the result.
      // oxlint-disable-next-line promise/prefer-await-to-then -- two outcomes, one promise
      promise.then(forget, forget);
      promise.then(resolve, reject);
    });
  }

  /** A part of this attempt, which can be stopped alone and stops with the whole. */
  part(progress: Progress = this.progress, options: ConnectOptions = this.options): Attempt {
    const part = new Attempt(options, progress, this.background);
    part.existing = this.existing;
    if (this.#reason) part.stop(this.#reason.value);
    this.#stops.add((reason) => part.stop(reason));
    return part;
  }

  /** The attempt is over: no timer and no listener stays behind. */
  end(): void {
    this.#over = true;
    this.#attempts?.delete(this);
    clearTimeout(this.#timer);
    const { signal } = this.options;
    const shared = signal && attemptsOf.get(signal);
    if (!shared?.attempts.delete(this) || shared.attempts.size > 0) return;
    signal?.removeEventListener('abort', shared.listener);
    attemptsOf.delete(signal as AbortSignal);
  }

  /** @param spare how many milliseconds a busy process gets back at most */
  #timeIsUp(spare: number): void {
    const late = performance.now() - this.deadline;
    // Node runs timers before it looks at sockets. When the process was too busy to look at its sockets in time, the
    // attempt gets the lost time back, once. Node always looks at the sockets once more before the attempt ends.
    if (late > BUSY && spare > 0) {
      this.#timer = setTimeout(() => this.#timeIsUp(0), Math.min(late, spare));
      if (this.background) this.#timer.unref();
      return;
    }
    setImmediate(() => {
      if (this.#over) return;
      const { options, progress } = this;
      const detail = `${options.timeout ?? DEFAULT_TIMEOUT} ms`;
      this.stop(progress.error('ERR_SOCKS_TIMEOUT', { detail, hint: SILENCE_HINTS[progress.phase] }));
    });
  }
}
