// Listens for the one peer that a client waits for. The caller decides which peer is right, and speaks SOCKS.

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { canonical } from './address.ts';
import type { Bound } from './address.ts';

/** The port at which the peer is awaited. */
export interface Awaiting {
  readonly bound: Bound;
  /** Resolves with the first that comes. @throws Error with code `ETIMEDOUT`; another when the client is gone */
  readonly peer: Promise<Socket>;
}

export interface AwaitOptions {
  readonly client: Socket;
  /** Milliseconds within which the peer has to connect. */
  readonly timeout: number;
  /** Called with the listener. It closes when the peer has connected, after the time limit, and with the client. */
  readonly onListener: (listener: Server) => void;
}

/** The address of this machine to which the client connected; the loopback for a client of a Unix socket. */
export function localAddressOf({ localAddress = '127.0.0.1' }: Socket): string {
  return canonical(localAddress);
}

/** Listens at the address to which the client connected, never at all addresses. */
export async function awaitPeer({ client, timeout, onListener }: AwaitOptions): Promise<Awaiting> {
  const listener = createServer({ allowHalfOpen: true, noDelay: true });
  listener.listen(0, localAddressOf(client));
  await once(listener, 'listening');
  onListener(listener);
  const { address: host, port } = listener.address() as AddressInfo;
  return { bound: { host, port }, peer: firstOf(listener, client, timeout) };
}

function firstOf(listener: Server, client: Socket, timeout: number): Promise<Socket> {
  return new Promise<Socket>((resolve, reject) => {
    const settle = (outcome: () => void): void => {
      clearTimeout(timer);
      client.off('readable', peek).off('end', onGone).off('close', onGone);
      listener.off('connection', onConnection).on('connection', (other: Socket) => other.destroy());
      listener.close();
      outcome();
    };
    const fail = (error: Error): void => settle(() => reject(error));
    const onConnection = (peer: Socket): void => settle(() => resolve(peer));
    const onGone = (): void => fail(new Error('the client left'));
    // A client that sent data for the peer may have ended its side. A client that ended its side without data has
    // left. Node reports the end only to a reader, so this reads; without data, read() returns null.
    const peek = (): void => {
      if (client.readableLength === 0) client.read();
    };
    const timer = setTimeout(() => {
      fail(Object.assign(new Error(`no peer in ${timeout} ms`), { code: 'ETIMEDOUT' }));
    }, timeout);
    listener.once('connection', onConnection);
    client.on('readable', peek).on('end', onGone).on('close', onGone);
    if (client.destroyed || client.readableEnded) onGone();
    else peek();
  });
}
