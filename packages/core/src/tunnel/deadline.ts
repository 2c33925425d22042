// One deadline and one abort signal over all the steps of a tunnel. Knows when to stop, and what was going on.

import { setMaxListeners } from 'node:events';
import { printAddress } from '../destination.ts';
import { SocksError } from '../errors.ts';
import type { SocksErrorCode, SocksErrorDetails, SocksPhase } from '../errors.ts';
import type { Exchange } from '../protocol/step.ts';
import { printProxy } from '../proxy.ts';

/** What is being done just now, for the error that a stop makes, and how long each phase took. */
export class Progress {
  phase: SocksPhase = 'dial';
  proxy = '';
  destination = '';
  /** Milliseconds. A phase that is entered again, at the next hop or address, adds up. */
  readonly durations: Partial<Record<SocksPhase, number>> = {};
  #since = performance.now();

  enter(phase: SocksPhase, exchange?: Exchange): void {
    this.lap();
    this.phase = phase;
    if (!exchange) return;
    this.proxy = printProxy(exchange.proxy);
    this.destination = printAddress(exchange.target);
  }

  /** An error of what is being done. */
  failure(
    code: SocksErrorCode,
    details: Omit<SocksErrorDetails, 'phase' | 'proxy' | 'destination'> = {},
  ): SocksError {
    const { phase, proxy, destination } = this;
    return new SocksError(code, { ...details, phase, proxy, destination });
  }

  /** Brings the duration of the present phase up to date. */
  lap(): void {
    const now = performance.now();
    this.durations[this.phase] = (this.durations[this.phase] ?? 0) + now - this.#since;
    this.#since = now;
  }
}

type Begin<T> = (resolve: (value: T) => void, reject: (reason: unknown) => void) => () => void;

export class Deadline {
  readonly progress: Progress;
  /** Nobody waits: whatever is opened must not keep the process alive. */
  readonly background: boolean;
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #interrupts = new Set<(reason: unknown) => void>();
  #reason: { readonly value: unknown } | undefined;

  /** @param timeout milliseconds; 0 for none */
  constructor(
    timeout: number,
    signal?: AbortSignal,
    { background = false, progress = new Progress() }: { background?: boolean; progress?: Progress } = {},
  ) {
    this.progress = progress;
    this.background = background;
    this.#signal = signal;
    if (signal?.aborted) this.stop(signal.reason);
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
    // Node 20 takes eleven attempts with one signal for a leak. None is: end() takes its listener away.
    if (signal instanceof EventTarget) setMaxListeners(Number.POSITIVE_INFINITY, signal);
    if (timeout > 0) this.#timer = setTimeout(this.#onTimeout, timeout, timeout);
    if (background) this.#timer?.unref();
  }

  readonly #onAbort = (): void => this.stop(this.#signal?.reason);
  readonly #onTimeout = (timeout: number): void =>
    this.stop(this.progress.failure('ERR_SOCKS_TIMEOUT', { detail: `${timeout} ms` }));

  /** True once the deadline has passed, the signal has aborted, or the owner has closed. */
  get stopped(): boolean {
    return this.#reason !== undefined;
  }

  /** Ends the steps under way, and every later one, with this reason. */
  stop(reason: unknown): void {
    this.#reason ??= { value: reason };
    for (const interrupt of this.#interrupts) interrupt(this.#reason.value);
  }

  /** One of several attempts within this deadline: it can be stopped alone, and stops with the whole. */
  attempt(): Deadline {
    const attempt = new Deadline(0, undefined, { background: this.background, progress: this.progress });
    if (this.#reason) attempt.stop(this.#reason.value);
    this.#interrupts.add((reason) => attempt.stop(reason));
    return attempt;
  }

  /**
   * One step: `begin` starts it and returns what takes its listeners away again, however it ends.
   * Rejects at once when the deadline passes or the signal aborts.
   */
  step<T>(begin: Begin<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (this.#reason) {
        reject(this.#reason.value);
        return;
      }
      let cleanup: (() => void) | undefined;
      let settled = false;
      const settle = (): boolean => {
        if (settled) return false;
        settled = true;
        this.#interrupts.delete(fail);
        cleanup?.();
        return true;
      };
      const fail = (reason: unknown): void => {
        if (settle()) reject(reason);
      };
      this.#interrupts.add(fail);
      try {
        cleanup = begin((value) => {
          if (settle()) resolve(value);
        }, fail);
        if (settled) cleanup();
      } catch (error) {
        fail(error);
      }
    });
  }

  /** No timer and no listener stays behind. */
  end(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}
