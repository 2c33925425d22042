// A stream for a tunnel that is still being opened, for callers of createConnection() that need one at once.

import { Duplex } from 'node:stream';
import type { Socket } from 'node:net';

/** Has the methods of a socket that http uses, and emits `connect` and `timeout` as one does. */
export class PendingSocket extends Duplex {
  connecting = true;
  readonly #abort = new AbortController();
  readonly #open: (signal: AbortSignal) => Promise<Socket>;
  readonly #early: ((socket: Socket) => void)[] = [];
  #socket: Socket | undefined;

  /** @param open is called once, and its signal aborted when this stream is destroyed */
  constructor(open: (signal: AbortSignal) => Promise<Socket>) {
    super({ allowHalfOpen: false });
    this.#open = open;
  }

  override _construct(done: (error?: Error | null) => void): void {
    void this.#connect(done);
  }

  async #connect(done: (error?: Error | null) => void): Promise<void> {
    let failure: Error | null = null;
    try {
      this.#follow(await this.#open(this.#abort.signal));
      process.nextTick(() => this.destroyed || this.emit('connect'));
    } catch (error) {
      if (!this.destroyed) failure = error as Error;
    }
    this.connecting = false;
    done(failure);
  }

  #follow(socket: Socket): void {
    this.#socket = socket;
    this.connecting = false;
    socket
      .on('data', (chunk: Buffer) => void (this.push(chunk) || socket.pause()))
      .on('end', () => this.push(null))
      .on('timeout', () => this.emit('timeout'))
      .on('error', (error) => this.destroy(error))
      .on('close', () => void (socket.readableEnded || this.destroy()));
    for (const act of this.#early.splice(0)) act(socket);
  }

  override _read(): void {
    this.#socket?.resume();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#socket?.write(chunk, encoding, done);
  }

  override _final(done: () => void): void {
    this.#socket?.end(done);
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket?.destroy();
    done(error);
  }

  /** The stream itself is destroyed when the attempt has ended: Node waits for `_construct`. */
  override destroy(error?: Error): this {
    this.#abort.abort(error);
    return super.destroy(error);
  }

  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', () => this.destroy());
  }

  address(): object {
    return this.#socket?.address() ?? {};
  }

  setTimeout(milliseconds: number, callback?: () => void): this {
    if (callback && milliseconds) this.once('timeout', callback);
    else if (callback) this.off('timeout', callback);
    return this.#apply((socket) => socket.setTimeout(milliseconds));
  }

  setNoDelay(noDelay?: boolean): this {
    return this.#apply((socket) => socket.setNoDelay(noDelay));
  }

  setKeepAlive(enable?: boolean, initialDelay?: number): this {
    return this.#apply((socket) => socket.setKeepAlive(enable, initialDelay));
  }

  ref(): this {
    return this.#apply((socket) => socket.ref());
  }

  unref(): this {
    return this.#apply((socket) => socket.unref());
  }

  #apply(act: (socket: Socket) => void): this {
    if (this.#socket) act(this.#socket);
    else this.#early.push(act);
    return this;
  }
}
