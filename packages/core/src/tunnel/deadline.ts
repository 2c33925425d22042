// One deadline and one abort signal over all the steps of a tunnel. Knows when to stop, and what was going on.

import { SocksError } from '../errors.ts';
import type { SocksPhase } from '../errors.ts';

/** What is being done just now, for the error that a stop makes. */
export interface Progress {
  phase: SocksPhase;
  proxy: string;
  destination: string;
}

type Begin<T> = (resolve: (value: T) => void, reject: (reason: unknown) => void) => () => void;

export class Deadline {
  readonly progress: Progress = { phase: 'dial', proxy: '', destination: '' };
  readonly #timer: NodeJS.Timeout | undefined;
  readonly #signal: AbortSignal | undefined;
  #interrupt: ((reason: unknown) => void) | undefined;
  #reason: { readonly value: unknown } | undefined;

  /** @param timeout milliseconds; 0 for none */
  constructor(timeout: number, signal: AbortSignal | undefined) {
    this.#signal = signal;
    if (signal?.aborted) this.stop(signal.reason);
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
    if (timeout > 0) this.#timer = setTimeout(this.#onTimeout, timeout, timeout);
  }

  readonly #onAbort = (): void => this.stop(this.#signal?.reason);
  readonly #onTimeout = (timeout: number): void =>
    this.stop(new SocksError('ERR_SOCKS_TIMEOUT', { ...this.progress, detail: `${timeout} ms` }));

  /** True once the deadline has passed, the signal has aborted, or the owner has closed. */
  get stopped(): boolean {
    return this.#reason !== undefined;
  }

  /** Ends the step under way, and every later one, with this reason. */
  stop(reason: unknown): void {
    this.#reason ??= { value: reason };
    this.#interrupt?.(this.#reason.value);
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
        this.#interrupt = undefined;
        cleanup?.();
        return true;
      };
      const fail = (reason: unknown): void => {
        if (settle()) reject(reason);
      };
      this.#interrupt = fail;
      cleanup = begin((value) => {
        if (settle()) resolve(value);
      }, fail);
      if (settled) cleanup();
    });
  }

  /** No timer and no listener stays behind. */
  end(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}
