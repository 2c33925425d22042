// A request between a consumer and an Agent of undici 5, 6 or 7, which speak the legacy callbacks.

import type { Duplex } from 'node:stream';
import { Exchange } from './exchange.ts';
import { toPairs } from './headers.ts';
import type { LegacyHandler, RawHeaders } from './undici-shapes.ts';

/**
 * Between a legacy consumer and a legacy Agent. What the consumer throws is passed to the Agent, which then calls
 * onError.
 */
export class LegacyExchange extends Exchange<LegacyHandler> implements LegacyHandler {
  protected tellStart(): void {
    this.consumer.onConnect?.((reason) => this.abort(reason), undefined);
  }

  protected tellError(error: Error): void {
    this.consumer.onError?.(error);
  }

  onConnect(abort: (reason?: Error) => void): void {
    this.connected({ abort });
  }

  onUpgrade(status: number, headers: RawHeaders | null, socket: Duplex): unknown {
    return this.upgraded(() => this.consumer.onUpgrade?.(status, toPairs(headers ?? []), socket));
  }

  onHeaders(status: number, headers: RawHeaders, resume: () => void, statusText: string): unknown {
    if (this.over) return true;
    if (status >= 200) this.pool?.answered(this);
    return this.consumer.onHeaders?.(status, toPairs(headers), resume, statusText);
  }

  onData(chunk: Buffer): unknown {
    return this.over || this.consumer.onData?.(chunk);
  }

  onComplete(trailers: RawHeaders | null): void {
    if (this.over) return;
    this.consumer.onComplete?.(toPairs(trailers ?? []));
    if (!this.over) this.end();
  }

  onError(error: Error): void {
    this.fail(error);
  }
}
