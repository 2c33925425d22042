// A destination on both families of the loopback, which sends back what it is sent.

import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

export interface Origin {
  readonly port: number;
  readonly close: () => Promise<void>;
}

export function startEcho(): Promise<Origin> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket));
    socket.pipe(socket);
  });
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      for (const socket of sockets) socket.destroy();
    });
  return new Promise((resolve, reject) => {
    server.once('error', reject).listen(0, '::', () => {
      resolve({ port: (server.address() as AddressInfo).port, close });
    });
  });
}
