// A client that sends typed bytes and waits for an exact number of bytes. It does not know SOCKS.

import { once } from 'node:events';
import { connect } from 'node:net';
import type { NetConnectOpts, Socket } from 'node:net';
import { bytes } from './hex.ts';

export class RawClient {
  readonly stream: Socket;
  #received: Buffer = Buffer.alloc(0);

  constructor(stream: Socket) {
    this.stream = stream;
    stream.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      stream.emit('more');
    });
    stream.on('error', () => {});
  }

  send(hex: string): void {
    this.stream.write(bytes(hex));
  }

  /**
   * Waits for exactly so many bytes, and returns them in hex.
   * @throws Error with the bytes that came, when the other side ends before
   */
  async receive(length: number): Promise<string> {
    const hex = await this.receiveUpTo(length);
    if (hex.length < 2 * length) throw new Error(`only ${hex}`);
    return hex;
  }

  /** Waits for so many bytes, and returns them in hex; returns fewer, or none, when the other side ends before. */
  async receiveUpTo(length: number): Promise<string> {
    while (this.#received.length < length && !this.stream.closed && !this.stream.readableEnded) {
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.stream.off('more', wake).off('end', wake).off('close', wake);
          resolve();
        };
        this.stream.on('more', wake).on('end', wake).on('close', wake);
      });
    }
    const first = this.#received.subarray(0, length);
    this.#received = this.#received.subarray(length);
    return first.toString('hex');
  }

  /** Waits for the FIN of the other side, and returns all bytes before it in hex. */
  async rest(): Promise<string> {
    if (!this.stream.readableEnded) await once(this.stream, 'end');
    const all = this.#received;
    this.#received = Buffer.alloc(0);
    return all.toString('hex');
  }
}

/** @param address a port of 127.0.0.1, or the options of a connection */
export async function dialRaw(address: number | NetConnectOpts): Promise<RawClient> {
  const options = typeof address === 'number' ? { port: address, host: '127.0.0.1' } : address;
  const socket = connect({ noDelay: true, allowHalfOpen: true, ...options });
  await once(socket, 'connect');
  return new RawClient(socket);
}
