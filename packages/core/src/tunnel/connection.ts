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

type Begin<T> = (resolve: (value: T) => void, reject: (reason: unknown) => void) => (() => unknown) | void;

const ignore = (): void => {};

export class Connection {
  /** The outermost layer. Some are no `net.Socket`: methods that only a `net.Socket` has are called with `?.`. */
  stream: Socket;
  /** Why the connection has ended, if it has. */
  ended: { readonly reason: unknown } | undefined;
  /** The socket first, the outermost layer last. */
  readonly #layers: Socket[] = [];
  readonly #onEnd: ((reason: unknown) => void) | undefined;
  /** Rejects the present wait. There is one at most. */
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
    return (
      bytes ??
      this.wait((resolve) =>
        this.#listen(() => {
          const more = this.#read(count);
          if (more) resolve(more);
        }),
      )
    );
  }

  /** True as soon as there is a byte to read; false at the end of the stream. */
  hasMore(): Promise<boolean> {
    return this.wait((resolve) => {
      const look = (): void => {
        if (this.stream.readableLength > 0) resolve(true);
        else if (this.stream.readableEnded) resolve(false);
        else this.stream.read(0); // at the end of the stream, this causes the event 'end'
      };
      const stop = this.#listen(look);
      look();
      return stop;
    });
  }

  /**
   * Waits until `begin` resolves or rejects. `begin` may return a function that removes its listeners. Rejects with the
   * reason of the connection if the connection ends first.
   */
  wait<T>(begin: Begin<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.ended) return reject(this.ended.reason);
      let settled = false;
      let stop: (() => unknown) | void;
      const settle =
        <V>(finish: (value: V) => void) =>
        (value: V): void => {
          settled = true;
          this.#interrupt = undefined;
          stop?.();
          finish(value);
        };
      const fail = settle(reject);
      this.#interrupt = fail;
      stop = begin(settle(resolve), fail);
      if (settled) stop?.();
    });
  }

  /** Waits for an event of the outermost layer, such as `connect`. */
  opened(event: string): Promise<void> {
    return this.wait((resolve) => {
      this.stream.on(event, resolve);
      return () => this.stream.off(event, resolve);
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

  #listen(callback: () => void): () => void {
    this.stream.on('readable', callback).on('end', callback);
    return () => this.stream.off('readable', callback).off('end', callback);
  }
}
