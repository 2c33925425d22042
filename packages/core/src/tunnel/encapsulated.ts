// A socket behind an authentication method that wraps everything (RFC 1961): frames on the inside, plain bytes outside.

import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import type { Encapsulation } from '../protocol/method.ts';
import type { Steps } from '../protocol/step.ts';

/** Not a `net.Socket`, but with those of its methods that pools and TLS call. */
export class EncapsulatedSocket extends Duplex {
  readonly #inner: Duplex;
  readonly #encapsulation: Encapsulation;
  #frame: Steps<Uint8Array> | undefined;
  #wanted = 0;
  #waiting = false;

  constructor(inner: Duplex, encapsulation: Encapsulation) {
    super();
    this.#inner = inner;
    this.#encapsulation = encapsulation;
    inner.on('readable', () => this.#pump());
    inner.on('end', () => {
      if (this.#frame === undefined) this.push(null);
      else this.destroy(new Error('the connection ended inside a frame'));
    });
    inner.on('timeout', () => this.emit('timeout'));
    inner.on('error', (error) => this.destroy(error));
    inner.on('close', () => this.destroy());
  }

  override _read(): void {
    this.#pump();
  }

  override _write(chunk: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    const send = (frames: Uint8Array): void => {
      this.#inner.write(frames, done);
    };
    const sealed = this.#encapsulation.seal(chunk);
    if (sealed instanceof Promise) sealed.then(send, done);
    else send(sealed);
  }

  override _final(done: () => void): void {
    this.#inner.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#inner.destroy();
    done(error);
  }

  /** Reads frames for as long as there are whole ones, and somebody wants them. */
  #pump(input: Uint8Array = new Uint8Array()): void {
    try {
      while (!this.#waiting && !this.destroyed) {
        if (this.#wanted > 0) {
          const bytes = this.#inner.read(this.#wanted) as Buffer | null;
          if (bytes === null) return;
          if (bytes.length < this.#wanted) throw new Error('the connection ended inside a frame');
          [input, this.#wanted] = [bytes, 0];
        }
        // A frame that has not begun is no frame: the end of the connection is in order there.
        if (this.#frame === undefined && this.#inner.readableLength === 0) return;
        this.#frame ??= this.#encapsulation.open();
        const step = this.#frame.next(input);
        if (step.done) {
          this.#frame = undefined;
          if (step.value.length > 0 && !this.push(step.value)) return;
        } else if ('read' in step.value) this.#wanted = step.value.read;
        else if ('write' in step.value) this.#inner.write(step.value.write);
        else this.#wait(step.value.wait);
      }
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  #wait(promise: Promise<unknown>): void {
    this.#waiting = true;
    promise.then(
      () => {
        this.#waiting = false;
        this.#pump();
      },
      (error: unknown) => this.destroy(error as Error),
    );
  }

  setNoDelay(on?: boolean): this {
    return this.#tell((socket) => socket.setNoDelay(on));
  }
  setKeepAlive(on?: boolean, delay?: number): this {
    return this.#tell((socket) => socket.setKeepAlive(on, delay));
  }
  setTimeout(timeout: number, callback?: () => void): this {
    if (callback) this.once('timeout', callback);
    return this.#tell((socket) => socket.setTimeout(timeout));
  }
  ref(): this {
    return this.#tell((socket) => socket.ref());
  }
  unref(): this {
    return this.#tell((socket) => socket.unref());
  }

  #tell(what: (socket: Socket) => void): this {
    if ('setNoDelay' in this.#inner) what(this.#inner as Socket);
    return this;
  }
}
