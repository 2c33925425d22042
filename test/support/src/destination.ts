// Destinations that speak plain TCP, the echo server among them.

import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { listen, portHex, stopListening } from './port.ts';

export interface TcpDestination {
  readonly server: Server;
  readonly port: number;
  /** The port in hex, as it stands in a request. */
  readonly hex: string;
  /** Destroys the connections that are open, and stops listening. */
  readonly close: () => Promise<void>;
}

/** Starts a server that keeps its side of a connection open until the listener ends it. */
export async function startDestination(
  listener: (socket: Socket) => void,
  host: string = '127.0.0.1',
): Promise<TcpDestination> {
  const open = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.on('error', () => {}).once('close', () => open.delete(socket));
    listener(socket);
  });
  const port = await listen(server, host);
  const close = async (): Promise<void> => {
    if (server.listening) await stopListening(server, open);
  };
  return { server, port, hex: portHex(port), close };
}

/** Starts a server that sends back what it receives. By default it listens on both families of the loopback. */
export function startEcho(host: string = '::'): Promise<TcpDestination> {
  return startDestination((socket) => socket.pipe(socket), host);
}
