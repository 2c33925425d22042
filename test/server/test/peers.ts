// The two ends of a conversation with the server: a client that types bytes, and origins to be reached.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, NetConnectOpts, Server, Socket } from 'node:net';

/** A client that sends hex and waits for exact numbers of bytes. */
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
    this.stream.write(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
  }

  /** Exactly so many bytes, in hex. */
  async receive(length: number): Promise<string> {
    while (this.#received.length < length) {
      if (this.stream.closed || this.stream.readableEnded)
        throw new Error(`only ${this.#received.toString('hex')}`);
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          this.stream.off('more', wake).off('end', wake).off('close', wake);
          resolve();
        };
        this.stream.on('more', wake).on('end', wake).on('close', wake);
      });
    }
    const bytes = this.#received.subarray(0, length);
    this.#received = this.#received.subarray(length);
    return bytes.toString('hex');
  }

  /** Everything up to the server's FIN, in hex. */
  async rest(): Promise<string> {
    if (!this.stream.readableEnded) await once(this.stream, 'end');
    const bytes = this.#received;
    this.#received = Buffer.alloc(0);
    return bytes.toString('hex');
  }
}

export async function dialRaw(to: number | NetConnectOpts): Promise<RawClient> {
  const where = typeof to === 'number' ? { port: to, host: '127.0.0.1' } : to;
  const socket = connect({ noDelay: true, allowHalfOpen: true, ...where });
  await once(socket, 'connect');
  return new RawClient(socket);
}

export interface Origin {
  readonly server: Server;
  readonly port: number;
  /** The port in hex, for a request. */
  readonly hex: string;
}

export async function startOrigin(
  listener: (socket: Socket) => void,
  host: string = '127.0.0.1',
): Promise<Origin> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    listener(socket);
  });
  server.listen(0, host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return { server, port, hex: portHex(port) };
}

export function portHex(port: number): string {
  return port.toString(16).padStart(4, '0');
}

/** A port on which nobody listens. */
export async function unusedPort(): Promise<number> {
  const { server, port } = await startOrigin(() => {});
  server.close();
  await once(server, 'close');
  return port;
}

/** A promise with its resolve outside, for listeners. */
export function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  const parts: { resolve?: (value: T) => void } = {};
  const promise = new Promise<T>((resolve) => {
    parts.resolve = resolve;
  });
  return { promise, resolve: (value) => parts.resolve?.(value) };
}
