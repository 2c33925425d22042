// A server whose connections are served by a function of the test, byte by byte, for peers that no list of steps can
// describe: the reference server has `startScript()` for those.

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { listen, stopListening } from './port.ts';

export interface RawServer {
  readonly port: number;
  /** Connections that are open now. */
  readonly open: ReadonlySet<Socket>;
  /** How many connections there have been. */
  readonly accepted: number;
  /** Resolves when there have been so many connections. */
  readonly reached: (count: number) => Promise<void>;
  /** Resolves when no connection is open. */
  readonly idle: () => Promise<void>;
  /** As the URL of a SOCKS5 proxy. */
  readonly url: string;
  readonly close: () => Promise<void>;
}

/** Waits for so many bytes, and returns them in hex. */
export type Read = (count: number) => Promise<string>;

/** @param serve is called for each connection; `index` counts them from 0 */
export async function startRawServer(
  serve: (socket: Socket, read: Read, index: number) => unknown,
): Promise<RawServer> {
  const open = new Set<Socket>();
  let accepted = 0;
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    open.add(socket);
    const index = accepted++;
    socket
      .on('error', () => {})
      .on('close', () => {
        open.delete(socket);
        server.emit('closed');
      });
    const read: Read = async (length) => {
      for (;;) {
        const chunk = socket.read(length) as Buffer | null;
        if (chunk) return chunk.toString('hex');
        await once(socket, 'readable');
      }
    };
    const served = async (): Promise<void> => {
      await serve(socket, read, index);
      socket.resume();
    };
    socket.on('end', () => socket.end());
    void served().catch(() => socket.destroy());
  });
  const port = await listen(server);
  return {
    port,
    open,
    get accepted() {
      return accepted;
    },
    async reached(count) {
      for (let now = accepted; now < count; now = accepted) await once(server, 'connection');
    },
    async idle() {
      while (open.size > 0) await once(server, 'closed');
    },
    url: `socks5://127.0.0.1:${port}`,
    close: () => stopListening(server, open),
  };
}
