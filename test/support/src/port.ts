// Ports: that of a server that begins or stops to listen, and one on which nobody listens.

import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

/** Lets the server listen on a free port of the host, and returns the port. */
export async function listen(server: Server, host: string = '127.0.0.1'): Promise<number> {
  await once(server.listen(0, host), 'listening');
  return (server.address() as AddressInfo).port;
}

/** Destroys the connections of the server, and stops listening. */
export async function stopListening(server: Server, connections: Iterable<Socket>): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  for (const socket of connections) socket.destroy();
  await closed;
}

/** The port in hex, as it stands in a request. */
export function portHex(port: number): string {
  return port.toString(16).padStart(4, '0');
}

/**
 * A port on which nobody listens, on both families of the loopback. It lies below the ports that the system gives to
 * outgoing connections: a connection to a closed port that leaves from the same port is connected to itself.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(10_000, 32_768);
    if (await isFree(port)) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer().once('error', () => resolve(false));
    server.listen(port, '::', () => server.close(() => resolve(true)));
  });
}
