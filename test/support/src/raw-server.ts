// A server whose connections are served by a function of the test, byte by byte, for peers that no list of steps can
// describe: the reference server has `startScript()` for those.

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { listen } from './port.ts';

export interface RawServer {
  readonly port: number;
  /** Connections that are open now. */
  readonly open: ReadonlySet<Socket>;
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
  let count = 0;
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket)).on('error', () => {});
    const read: Read = async (length) => {
      for (;;) {
        const chunk = socket.read(length) as Buffer | null;
        if (chunk) return chunk.toString('hex');
        await once(socket, 'readable');
      }
    };
    const served = async (): Promise<void> => {
      await serve(socket, read, count++);
      socket.resume();
    };
    socket.on('end', () => socket.end());
    void served().catch(() => socket.destroy());
  });
  const port = await listen(server);
  const close = async (): Promise<void> => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of open) socket.destroy();
    await closed;
  };
  return { port, open, url: `socks5://127.0.0.1:${port}`, close };
}
