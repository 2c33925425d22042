// A port that one peer may connect to, for a client that waits for it. It parses no SOCKS, and
// the caller decides which peer is right.

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { canonical } from './address.ts';
import type { Bound } from './address.ts';

/** A peer is awaited here, and nobody else. */
export interface Awaiting {
  readonly bound: Bound;
  /** Resolves with the first that comes. @throws Error with code `ETIMEDOUT`; another when the client is gone */
  readonly peer: Promise<Socket>;
}

export interface AwaitOptions {
  readonly client: Socket;
  /** Milliseconds until the peer has to be there. */
  readonly timeout: number;
  /** Told of the listener, which closes when a peer came, when nobody did in time, and when the client goes. */
  readonly onListener: (listener: Server) => void;
}

/** The address at which the client reached this machine. A client of a Unix socket is on it. */
export function addressReached({ localAddress = '127.0.0.1' }: Socket): string {
  return canonical(localAddress);
}

/** Listens at the address at which the client reached this machine, never at all of them. */
export async function awaitPeer({ client, timeout, onListener }: AwaitOptions): Promise<Awaiting> {
  const listener = createServer({ allowHalfOpen: true, noDelay: true });
  listener.listen(0, addressReached(client));
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
    // A client that ends its side after it sent data for the peer is waited for; one that has nothing to say and
    // ends its side has gone. Its end is seen only by reading, and reading null takes nothing.
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
