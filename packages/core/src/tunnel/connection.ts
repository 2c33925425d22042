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

const NOTHING: Uint8Array = new Uint8Array();

/** Made once, because Node reads the stack for each new error. */
const HANDED_OVER = { reason: new Error('the connection was handed over') };

export const READ_EVENTS: readonly string[] = ['readable', 'end'];

export class Connection {
  /** The outermost layer. It need not be a `net.Socket`: methods that only a `net.Socket` has are called with `?.`. */
  stream: Socket;
  /** The attempt of which the connection is a part. */
  owner: Attempt | undefined;
  /** Why the connection has ended, if it has. */
  ended: { readonly reason: unknown } | undefined;
  /** Bytes that have come since the last message was sent. */
  received = 0;
  /** The socket first, the outermost layer last. */
  readonly #layers: Socket[] = [];
  readonly #onEnd: ((reason: unknown) => void) | undefined;
  /** The present wait. There is one at most. When it is over, its functions have no effect. */
  #events: readonly string[] = [];
  #count = 0;
  #resolve: ((bytes: Uint8Array) => void) | undefined;
  #reject: ((reason: unknown) => void) | undefined;

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

  /** Idempotent. The present wait and all later ones reject with the first reason. */
  readonly destroy = (reason: unknown): void => {
    if (this.ended) return;
    this.ended = { reason };
    this.received += this.stream.readableLength;
    for (const layer of this.#layers.toReversed()) if (!layer.destroyed) layer.destroy();
    this.interrupt(reason);
    this.#onEnd?.(reason);
  };

  readonly #onClose = (): void => this.destroy(new StreamClosed());

  /**
   * Removes the listeners of this class from the outermost layer, so that it can be handed over. From then on `destroy()`
   * has no effect. False if the connection has ended.
   */
  release(): boolean {
    const { stream } = this;
    if (stream.destroyed) this.destroy(stream.errored ?? new StreamClosed());
    if (this.ended) return false;
    this.ended = HANDED_OVER;
    stream.off('error', this.destroy).off('close', this.#onClose);
    return true;
  }

  /** Sets whether the connection keeps the process alive. A standby connection does not. */
  keepAlive(yes: boolean): void {
    for (const layer of this.#layers) layer[yes ? 'ref' : 'unref']?.();
  }

  /**
   * So many bytes, if all of them have come; further bytes stay in the stream. The connection ends if the stream has ended
   * before so many bytes.
   */
  read(count: number): Uint8Array | undefined {
    if (this.ended) return undefined;
    if (count === 0) return NOTHING;
    const bytes: Buffer | null = this.stream.read(count);
    this.received += bytes?.length ?? 0;
    if (bytes?.length === count) return bytes;
    // At the end of the stream, read() gives what is left, however little.
    if (bytes || this.stream.readableEnded) this.destroy(new StreamClosed());
    return undefined;
  }

  /** True as soon as there is a byte to read; false at the end of the stream. */
  async hasMore(): Promise<boolean> {
    while (this.stream.readableLength === 0) {
      if (this.stream.readableEnded) return false;
      this.stream.read(0); // at the end of the stream, this causes the event 'end'
      await this.until(READ_EVENTS);
    }
    return true;
  }

  /**
   * Waits for the next of these events of the outermost layer, or for the one at which `count` bytes can be read. Rejects
   * with the reason of the connection if the connection ends first.
   */
  until(events: readonly string[], count = 0): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      if (this.ended) return reject(this.ended.reason);
      this.#events = events;
      this.#count = count;
      this.#resolve = resolve;
      this.#reject = reject;
      for (const event of events) this.stream.on(event, this.#wake);
    });
  }

  readonly #wake = (): void => {
    const bytes = this.read(this.#count);
    if (!bytes) return;
    // First, because Node needs a tick to see that nobody listens for 'readable' any more.
    for (const event of this.#events) this.stream.off(event, this.#wake);
    this.#resolve?.(bytes);
  };

  /** Settles as the promise does, or rejects with the reason of the connection if the connection ends first. */
  race<T>(promise: PromiseLike<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.ended) return reject(this.ended.reason);
      this.#reject = reject;
      // oxlint-disable-next-line promise/prefer-await-to-then -- two outcomes, one promise
      promise.then(resolve, reject);
    });
  }

  /** Rejects the present wait, and leaves the connection open. */
  interrupt(reason: unknown): void {
    for (const event of this.#events) this.stream.off(event, this.#wake);
    this.#reject?.(reason);
  }
}
