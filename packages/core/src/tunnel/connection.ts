// A connection with one owner: the TCP or Unix socket and all layers over it (TLS, an encapsulation). It gives exact
// reads, and is the one place that listens for errors and destroys.

import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Attempt } from './attempt.ts';

/** The stream ended or closed, and no error said why. */
export class StreamClosed extends Error {
  override readonly message = 'the connection was closed';
  readonly code = 'ECONNRESET';
}

const ignore = (): void => {};

const READ_EVENTS = ['readable', 'end'] as const;

export class Connection {
  /** The outermost layer. It need not be a `net.Socket`: methods that only a `net.Socket` has are called with `?.`. */
  stream: Socket;
  /** Why the connection has ended, if it has. */
  ended: { readonly reason: unknown } | undefined;
  /** The socket first, the outermost layer last. */
  readonly #layers: Socket[] = [];
  readonly #onEnd: ((reason: unknown) => void) | undefined;
  /** Rejects the present wait. There is one at most. When it is over, a call has no effect. */
  #interrupt: ((reason: unknown) => void) | undefined;
  #leaveAttempt: (() => void) | undefined;
  /** Bytes that have come since the last `write()`. */
  received = 0;

  /** @param onEnd called once, when the connection has failed, was closed or was destroyed */
  constructor(stream: Duplex, onEnd?: (reason: unknown) => void) {
    this.#onEnd = onEnd;
    this.stream = this.wrap(stream);
  }

  /** Puts a layer over the present one. */
  wrap(layer: Duplex): Socket {
    const stream = layer as Socket;
    // The layer above reports why the layer below ended. An empty listener stays on the layer below, so that its error
    // is never uncaught.
    this.#layers.at(-1)?.on('error', ignore).off('error', this.destroy).off('close', this.#onClose);
    this.#layers.push(stream);
    this.stream = stream;
    stream.on('error', this.destroy).on('close', this.#onClose);
    if (stream.destroyed) this.destroy(stream.errored ?? new StreamClosed());
    return stream;
  }

  /** Makes the connection part of this attempt alone: it is destroyed when the attempt stops. */
  belongTo(attempt: Attempt): this {
    this.#leaveAttempt?.();
    this.#leaveAttempt = attempt.onStop(this.destroy);
    return this;
  }

  /** Idempotent. The present wait and all later ones reject with the first reason. */
  readonly destroy = (reason: unknown): void => {
    if (this.ended) return;
    this.ended = { reason };
    this.received += this.stream.readableLength;
    for (const layer of this.#layers.toReversed()) if (!layer.destroyed) layer.destroy();
    this.#interrupt?.(reason);
    this.#onEnd?.(reason);
  };

  readonly #onClose = (): void => this.destroy(new StreamClosed());

  /**
   * Hands over the outermost layer, without the listeners of this class.
   *
   * @throws the reason, if the connection has ended meanwhile
   */
  release(): Socket {
    if (this.stream.destroyed) this.destroy(this.stream.errored ?? new StreamClosed());
    if (this.ended) throw this.ended.reason;
    this.#leaveAttempt?.();
    return this.stream.off('error', this.destroy).off('close', this.#onClose);
  }

  /** Sets whether the connection keeps the process alive. A standby connection does not. */
  keepAlive(yes: boolean): void {
    for (const layer of this.#layers) layer[yes ? 'ref' : 'unref']?.();
  }

  write(bytes: Uint8Array): void {
    this.received = 0;
    this.stream.write(bytes);
  }

  /**
   * Reads so many bytes, without a promise if they have come already. Further bytes stay in the stream. Rejects if the
   * connection ends first.
   */
  readExactly(count: number): Uint8Array | Promise<Uint8Array> {
    const bytes = this.ended ? undefined : this.#read(count);
    return bytes ?? this.until(READ_EVENTS, () => this.#read(count));
  }

  /** True as soon as there is a byte to read; false at the end of the stream. */
  hasMore(): boolean | Promise<boolean> {
    const look = (): boolean | undefined => {
      if (this.stream.readableLength > 0) return true;
      if (this.stream.readableEnded) return false;
      this.stream.read(0); // at the end of the stream, this causes the event 'end'
      return undefined;
    };
    return look() ?? this.until(READ_EVENTS, look);
  }

  /**
   * Calls `look` at each of these events of the outermost layer, until it returns a value; without `look`, waits for the
   * first event. Rejects with the reason of the connection if the connection ends first.
   */
  until<T = true>(events: readonly string[], look?: () => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.ended) return reject(this.ended.reason);
      const { stream } = this;
      const listener = (): void => {
        const found = look ? look() : (true as T);
        if (found === undefined) return;
        for (const event of events) stream.off(event, listener);
        resolve(found);
      };
      this.#interrupt = (reason) => {
        for (const event of events) stream.off(event, listener);
        reject(reason);
      };
      for (const event of events) stream.on(event, listener);
    });
  }

  /** Settles as the promise does, or rejects with the reason of the connection if the connection ends first. */
  race<T>(promise: PromiseLike<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.ended) return reject(this.ended.reason);
      this.#interrupt = reject;
      // oxlint-disable-next-line promise/prefer-await-to-then -- two outcomes, one promise
      promise.then(resolve, reject);
    });
  }

  /** Rejects the present wait, and leaves the connection open. */
  interrupt(): void {
    this.#interrupt?.(new Error('interrupted'));
  }

  #read(count: number): Uint8Array | undefined {
    if (count === 0) return new Uint8Array();
    const bytes: Buffer | null = this.stream.read(count);
    this.received += bytes?.length ?? 0;
    if (bytes?.length === count) return bytes;
    // At the end of the stream, read() gives what is left, however little.
    if (bytes || this.stream.readableEnded) this.destroy(new StreamClosed());
    return undefined;
  }
}
