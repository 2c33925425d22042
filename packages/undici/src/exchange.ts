// One request between its consumer and an Agent. The consumer is told of the start at once, and not when there is a
// connection, so that it can abort while a selector or a handshake is at work.

import { undiciError } from './errors.ts';
import { HandlerOver } from './handlers.ts';
import type { Pool } from './pools.ts';
import type { Controller, Handler, ProgressHandler } from './undici-shapes.ts';

/** What is the same in both generations: the states of the request, its abort, and its pool. */
export abstract class Exchange<H extends ProgressHandler = ProgressHandler> extends HandlerOver<H> {
  /** The handler for the Agent, which must see only callbacks of its own generation. */
  forAgent: Handler = this;
  /** Why the consumer has aborted the request, if it has. */
  reason: Error | null = null;
  /** The consumer has been told the end, and is not called any more. */
  over = false;
  /** Called when the request is over before a pool has it, with its error. */
  onUnrouted: ((error: unknown) => void) | undefined;
  /** The pool that the request has entered; the pool sets it. */
  pool: Pool | undefined;
  /** Set once there is a connection. */
  protected agent: Pick<Controller, 'abort'> | undefined;

  protected abstract tellStart(): void;
  protected abstract tellError(error: Error): void;

  /**
   * Tells the consumer that the request starts. True: the consumer has not aborted it, so that it has to be dispatched.
   */
  start(): boolean {
    try {
      this.tellStart();
    } catch (error) {
      this.fail(error);
    }
    return !this.over;
  }

  /** Tells the consumer that the request has failed. */
  fail(error: unknown): void {
    if (this.over) return;
    this.end(error);
    this.tellError(error as Error);
  }

  /** For the consumer. */
  abort(reason?: Error): void {
    if (this.reason || this.over) return;
    // As undici does for every falsy reason. Its consumers take a falsy error for a success.
    this.reason = reason || undiciError('ABORTED');
    if (this.agent) this.agent.abort(this.reason);
    else this.fail(this.reason);
  }

  /** There is a connection. Called again when the request is sent once more on another one. */
  protected connected(agent: Pick<Controller, 'abort'>): void {
    // This throws in place of an abort: after an abort, undici would close the new connection, and the requests behind
    // this one would have to dial again.
    if (this.over) throw this.reason ?? new Error('the request is over');
    this.agent = agent;
    this.pool?.connected(this);
  }

  /** @param tell gives the socket to the consumer */
  protected upgraded(tell: () => unknown): unknown {
    this.pool?.answered(this);
    try {
      const result = tell();
      // From now on the socket, which belongs to the consumer, holds the pool open in place of the request.
      if (!this.over) this.end();
      return result;
    } catch (error) {
      // undici 5 and the first releases of 6 then destroy the socket, and call no error callback.
      this.fail(error);
      throw error;
    }
  }

  protected end(error?: unknown): void {
    this.over = true;
    if (this.pool) this.pool.leave(this);
    else this.onUnrouted?.(error);
  }
}
