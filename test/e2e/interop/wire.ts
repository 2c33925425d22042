// Bytes typed by hand over a bare socket: hex in, hex out. Knows nothing of SOCKS.

import { once } from 'node:events';
import { connect as connectTcp } from 'node:net';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { RunningServer } from './server.ts';

export interface Wire {
  /** Sends hex, spaces allowed, in one segment. */
  readonly send: (hex: string) => void;
  /** The next `size` bytes as hex; fewer, or none, when the other side ends before. */
  readonly read: (size: number) => Promise<string>;
  readonly close: () => void;
}

export async function dial({ host, port, path, tls }: RunningServer): Promise<Wire> {
  const socket: Socket = tls
    ? connectTls({ host, port, ...tls })
    : connectTcp(path === undefined ? { host, port } : { path });
  await once(socket, tls ? 'secureConnect' : 'connect');
  // An error is for whoever reads; the connection may be reset while nobody does.
  socket.on('error', () => undefined);
  const chunks = socket.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer, undefined>;
  let input = Buffer.alloc(0);
  return {
    send: (hex) => void socket.write(Buffer.from(hex.replaceAll(' ', ''), 'hex')),
    read: async (size) => {
      while (input.length < size) {
        const chunk = await chunks.next();
        if (chunk.done) break;
        input = Buffer.concat([input, chunk.value]);
      }
      const bytes = input.subarray(0, size);
      input = input.subarray(size);
      return bytes.toString('hex');
    },
    close: () => void socket.destroy(),
  };
}
