// A stream of plain bytes over a connection of frames, for an authentication method that wraps everything (RFC 1961).

import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { Encapsulation } from '../protocol/method.ts';
import { Connection, StreamClosed } from './connection.ts';
import { drive } from './drive.ts';

/** Not a `net.Socket`, but it has those methods of one that pools and TLS call. */
export class EncapsulatedSocket extends Duplex {
  readonly #inner: Connection;
  readonly #encapsulation: Encapsulation;
  /** Set while the buffer of this stream is full. Calling it continues with the next frame. */
  #resume: (() => void) | undefined;
  #reading = false;

  constructor(inner: Duplex, encapsulation: Encapsulation) {
    // As in the socket below: if that one ends itself when its peer ends, this stream must not stay half open.
    super({ allowHalfOpen: inner.allowHalfOpen });
    this.#encapsulation = encapsulation;
    this.#inner = new Connection(inner, (reason) => {
      // After the end of the stream below, its last frames are still to be read here.
      if (!inner.readableEnded) this.destroy(toError(reason));
    });
    inner.on('timeout', () => this.emit('timeout'));
  }

  override _read(): void {
    if (!this.#reading) void this.#readFrames();
    this.#resume?.();
    this.#resume = undefined;
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    void this.#send(chunk, done);
  }

  override _final(done: (error?: Error | null) => void): void {
    const { stream } = this.#inner;
    // A stream that was destroyed before it was ended never calls back.
    if (stream.destroyed) done();
    else stream.end(() => done());
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#inner.destroy(error);
    done(error);
  }

  async #readFrames(): Promise<void> {
    this.#reading = true;
    try {
      while (await this.#inner.hasMore()) {
        const data = bytesOf(await drive(this.#encapsulation.open(), this.#inner), 'open');
        if (!this.push(data)) await new Promise<void>((resolve) => (this.#resume = resolve));
      }
      this.push(null);
    } catch (reason) {
      this.destroy(toError(reason));
    }
  }

  async #send(data: Uint8Array, done: (error?: Error | null) => void): Promise<void> {
    let frames: Uint8Array;
    try {
      frames = bytesOf(await this.#encapsulation.seal(data), 'seal');
    } catch (reason) {
      return done(toError(reason));
    }
    this.#inner.stream.write(frames, done);
  }

  setNoDelay(on?: boolean): this {
    return this.#tell((socket) => socket.setNoDelay?.(on));
  }
  setKeepAlive(on?: boolean, delay?: number): this {
    return this.#tell((socket) => socket.setKeepAlive?.(on, delay));
  }
  setTimeout(timeout: number, callback?: () => void): this {
    if (callback) this.once('timeout', callback);
    return this.#tell((socket) => socket.setTimeout?.(timeout));
  }
  ref(): this {
    return this.#tell((socket) => socket.ref?.());
  }
  unref(): this {
    return this.#tell((socket) => socket.unref?.());
  }

  #tell(what: (socket: Partial<Socket>) => void): this {
    what(this.#inner.stream);
    return this;
  }
}

/** What a function of the encapsulation gave. A stream takes null for its end. */
function bytesOf(given: Uint8Array, name: keyof Encapsulation): Uint8Array {
  if (!ArrayBuffer.isView(given)) throw new TypeError(`${name}() gives a Uint8Array`);
  return given;
}

function toError(reason: unknown): Error {
  if (reason instanceof StreamClosed) return new Error('the connection ended inside a frame');
  return reason instanceof Error ? reason : new Error(String(reason), { cause: reason });
}
