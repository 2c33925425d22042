// A TCP relay that makes a distant peer out of a near one, so that a test can count round trips. No back-pressure.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

export interface RelayOptions {
  /** The port on 127.0.0.1 that everything goes to. */
  readonly to: number;
  /** Milliseconds that everything takes, each way: a round trip takes twice as long. */
  readonly delay: number;
}

export interface Relay {
  readonly port: number;
  /** How many connections were accepted so far. */
  readonly accepted: number;
  /** Destroys every connection; resolves when all are closed. */
  close(): Promise<void>;
}

/**
 * Starts a relay on a free port of 127.0.0.1. It accepts at once: a dial takes no round trip here, each question
 * that waits for its answer takes one.
 * @example
 * const relay = await startRelay({ to: server.port, delay: 50 });
 */
export async function startRelay({ to, delay }: RelayOptions): Promise<Relay> {
  const sockets = new Set<Socket>();
  let accepted = 0;
  const listener = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    accepted++;
    const far = connect({ host: '127.0.0.1', port: to, allowHalfOpen: true, noDelay: true });
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on('error', () => {}).once('close', () => sockets.delete(socket));
    }
    forward(near, far, delay);
    forward(far, near, delay);
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as AddressInfo;
  return {
    port,
    get accepted() {
      return accepted;
    },
    async close() {
      const stopped = listener.listening ? once(listener, 'close') : undefined;
      listener.close();
      for (const socket of sockets) socket.destroy();
      await stopped;
    },
  };
}

// Timers of one length fire in the order in which they were set: the bytes, and the end behind them, keep theirs.
function forward(from: Socket, to: Socket, delay: number): void {
  const later = (action: () => void): void => {
    setTimeout(() => {
      if (!to.destroyed) action();
    }, delay);
  };
  from.on('data', (chunk) => later(() => to.write(chunk)));
  from.once('end', () => later(() => to.end()));
  from.once('close', () => later(() => (from.readableEnded ? to.end() : to.resetAndDestroy())));
}
