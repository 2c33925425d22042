// The traffic between a client and its tunnel. Node's pipe() does the work, in native buffers and with back-pressure.

import type { Duplex } from 'node:stream';
import { fieldOf } from '../unknown.ts';

/** How long a client may take to close its side after its last answer. */
const LINGER = 500;

/**
 * Joins the two streams until both directions are done. Each direction ends by itself; when one side fails, the other is
 * reset.
 */
export function join(client: Duplex, tunnel: Duplex): void {
  joinOneWay(client, tunnel);
  joinOneWay(tunnel, client);
}

function joinOneWay(from: Duplex, to: Duplex): void {
  if (from.destroyed) {
    reset(to);
    return;
  }
  from.pipe(to);
  from.once('close', () => {
    if (from.errored || !from.readableEnded || !from.writableFinished) reset(to);
  });
}

/**
 * Closes a TCP socket by a reset, at once. `resetAndDestroy()` would first wait until the peer has read everything, and a
 * `destroy()` during that wait leaves the socket open for ever: libuv refuses to reset a socket while it sends the FIN.
 * TLS and Unix sockets have no reset.
 */
export function reset(stream: Duplex): void {
  if (stream.destroyed) return;
  const isTcp = fieldOf(stream, 'remoteFamily') !== undefined && !fieldOf(stream, 'encrypted');
  const sendsFin = stream.writableEnded && !stream.writableFinished;
  // Node's own resetAndDestroy() sets this field.
  if (isTcp && !sendsFin) Object.assign(stream, { resetAndClosing: true });
  stream.destroy();
}

/**
 * Sends a last answer and the end. What the client still sends is read and dropped: to close a socket with unread bytes
 * resets it, and the reset can overtake the answer.
 */
export function dismiss(client: Duplex, answer: Uint8Array | string): void {
  if (client.destroyed) return;
  const timer = setTimeout(() => client.destroy(), LINGER);
  client.once('close', () => clearTimeout(timer)).resume();
  if (answer.length > 0) client.write(answer);
  client.end();
}
