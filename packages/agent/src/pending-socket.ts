// A stream for a tunnel that is still being opened, for callers of createConnection() that need one at once.

import { isIP } from 'node:net';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import type { Destination } from '@socksify/core';
import { withoutUndefined } from './request-options.ts';
import type { RequestOptions } from './request-options.ts';

type Done = (error?: Error | null) => void;

/** Emits `connect` and `timeout` as a socket does, and has those methods of a socket that http uses (below). */
export class PendingSocket extends Duplex {
  connecting = true;
  readonly #abort = new AbortController();
  readonly #opened: Promise<Socket>;
  #socket: Socket | undefined;

  /** @param open is given a signal that is aborted when this stream is destroyed */
  constructor(open: (signal: AbortSignal) => Promise<Socket>) {
    super({ allowHalfOpen: false });
    this.#opened = open(this.#abort.signal);
  }

  override _construct(done: Done): void {
    void this.#construct(done);
  }

  async #construct(done: Done): Promise<void> {
    let reason: Error | null = null;
    try {
      const socket = (this.#socket = await this.#opened);
      this.connecting = false;
      socket
        .on('data', (chunk: Buffer) => void (this.push(chunk) || socket.pause()))
        .on('end', () => this.push(null))
        .on('timeout', () => this.emit('timeout'))
        .on('error', (error) => this.destroy(error))
        .on('close', () => void (socket.readableEnded || this.destroy()));
      process.nextTick(() => this.destroyed || this.emit('connect'));
    } catch (error) {
      if (!this.destroyed) reason = error as Error;
    }
    done(reason);
  }

  override _read(): void {
    this.#socket?.resume();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: Done): void {
    this.#socket?.write(chunk, encoding, done);
  }

  override _final(done: Done): void {
    this.#socket?.end(done);
  }

  override _destroy(error: Error | null, done: Done): void {
    this.#socket?.destroy();
    done(error);
  }

  /** Aborts at once. Node calls `_destroy` only when `_construct` is done, which may take as long as the handshake. */
  override destroy(error?: Error): this {
    this.#abort.abort(error);
    return super.destroy(error);
  }

  async whenOpen(act: (socket: Socket) => unknown): Promise<void> {
    act(this.#socket ?? (await this.#opened));
  }

  address(): object {
    return this.#socket?.address() ?? {};
  }
}

for (const name of ['setTimeout', 'setNoDelay', 'setKeepAlive', 'ref', 'unref'] as const) {
  Object.defineProperty(PendingSocket.prototype, name, {
    value(this: PendingSocket, ...given: unknown[]): PendingSocket {
      this.whenOpen((socket) => Reflect.apply(socket[name], socket, given)).catch(() => {});
      return this;
    },
  });
}

/** TLS over the stream, which begins at once. */
export function secureStream(
  stream: PendingSocket,
  { host, port }: Destination,
  options: RequestOptions,
): TLSSocket {
  try {
    // An IP address is no SNI name (RFC 6066 section 3).
    return connect({
      servername: isIP(host) ? '' : host,
      ...withoutUndefined(options),
      port,
      socket: stream,
    });
  } catch (error) {
    stream.destroy();
    throw error;
  }
}
