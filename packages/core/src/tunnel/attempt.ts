// One attempt at a tunnel: its options, its time limit, its signal, and everything that has to end with it.

import { clearTimeout, setImmediate, setTimeout } from 'node:timers';
import { DEFAULT_TIMEOUT } from '../options.ts';
import type { ConnectOptions } from '../options.ts';
import type { LazyContext } from '../route.ts';
import { onAbort } from './abort.ts';
import { Connection } from './connection.ts';
import { Progress, SILENCE_HINTS } from './progress.ts';

/** Milliseconds. A timer that fires later than this shows that the process was busy. */
const BUSY = 20;

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
  readonly #stops = new Set<(reason: unknown) => void>();
  #forgetSignal: (() => void) | undefined;
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
    if (socket) this.existing = new Connection(socket).belongTo(this);
    if (signal?.aborted) this.stop(signal.reason);
    else if (signal) this.#forgetSignal = onAbort(signal, () => this.stop(signal.reason));
    if (timeout > 0) {
      this.deadline = performance.now() + timeout;
      this.#startTimer(timeout, timeout);
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

  /** Calls back when the attempt stops, at once if it has stopped; returns a function that removes the callback. */
  onStop(callback: (reason: unknown) => void): () => void {
    if (this.#reason) callback(this.#reason.value);
    else this.#stops.add(callback);
    return () => this.#stops.delete(callback);
  }

  /**
   * Settles as the promise does, or rejects with the reason of the attempt if the attempt stops first.
   *
   * @param context of the selector that gave the promise: its signal is aborted if the attempt stops first
   */
  race<T>(promise: PromiseLike<T>, context?: LazyContext): Promise<T> {
    return new Promise((resolve, reject) => {
      const forget = this.onStop((reason) => {
        context?.abort(reason);
        reject(reason);
      });
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
    this.onStop((reason) => part.stop(reason));
    return part;
  }

  /** The attempt is over: no timer and no listener stays behind. */
  end(): void {
    this.#over = true;
    this.#attempts?.delete(this);
    clearTimeout(this.#timer);
    this.#forgetSignal?.();
  }

  /** @param spare how many milliseconds a busy process gets back at most */
  #startTimer(milliseconds: number, spare: number): void {
    const due = performance.now() + milliseconds;
    this.#timer = setTimeout(() => {
      const late = performance.now() - due;
      // Node runs timers before it looks at sockets. When the process was too busy to look at its sockets in time, the
      // attempt gets the lost time back, once. Node always looks at the sockets once more before the attempt ends.
      if (late > BUSY && spare > 0) this.#startTimer(Math.min(late, spare), 0);
      else setImmediate(() => this.#timeIsUp());
    }, milliseconds);
    if (this.background) this.#timer.unref();
  }

  #timeIsUp(): void {
    if (this.#over) return;
    const { options, progress } = this;
    const detail = `${options.timeout ?? DEFAULT_TIMEOUT} ms`;
    this.stop(progress.error('ERR_SOCKS_TIMEOUT', { detail, hint: SILENCE_HINTS[progress.phase] }));
  }
}
