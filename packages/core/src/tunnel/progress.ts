// Records what an attempt is doing, for the error that ends it, and how long each phase took.

import type { Destination } from '../destination.ts';
import type { SocksError, SocksErrorCode, SocksErrorDetails, SocksPhase } from '../errors.ts';
import { hopError } from '../protocol/step.ts';
import type { Hop } from '../protocol/step.ts';

export class Progress {
  phase: SocksPhase = 'input';
  /** The destination of the present hop, and its proxy if there is one yet. */
  hop: Partial<Hop>;
  /** Milliseconds of each phase, added up over all hops and addresses. */
  readonly durations: Partial<Record<SocksPhase, number>> = {};
  #since = performance.now();

  constructor(destination?: Destination) {
    this.hop = destination ? { destination } : {};
  }

  enter(phase: SocksPhase, hop: Partial<Hop> = this.hop): void {
    const now = performance.now();
    if (this.phase !== 'input')
      this.durations[this.phase] = (this.durations[this.phase] ?? 0) + now - this.#since;
    this.#since = now;
    this.phase = phase;
    this.hop = hop;
  }

  /** Makes an error that names the present phase, proxy and destination. */
  error(
    code: SocksErrorCode,
    details: Omit<SocksErrorDetails, 'phase' | 'proxy' | 'destination'> = {},
  ): SocksError {
    return hopError(this.hop, code, { ...details, phase: this.phase });
  }

  /** Brings the duration of the present phase up to date. */
  lap(): void {
    this.enter(this.phase);
  }
}

/** What it usually means when the proxy sends nothing in this phase. */
export const SILENCE_HINTS: Readonly<Partial<Record<SocksPhase, string>>> = {
  input: 'the selector did not answer',
  greeting:
    'a port that does not answer may want TLS (use socks5s://) or shadowsocks (use the port of ss-local)',
  'proxy-tls': 'a proxy without TLS does not answer: use socks5://',
};
