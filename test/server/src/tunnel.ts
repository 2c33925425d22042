// Dials the destination, and joins the connection with that of the client. Its callers speak SOCKS.

import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/** The outgoing side of a request. */
export interface DialOptions {
  readonly addresses: readonly string[];
  readonly port: number;
  /** The address to dial from, if not any. */
  readonly localAddress?: string;
  /** Milliseconds for all addresses together. */
  readonly timeout: number;
  /** The dialling stops when this socket closes. */
  readonly client: Socket;
  /** Called with each socket, whether it connects or not. */
  readonly onSocket: (socket: Socket) => void;
}

/** Connects to the first address that answers. @throws the error of the last one */
export async function dial(options: DialOptions): Promise<Socket> {
  const { addresses, timeout, client, onSocket, ...where } = options;
  let attempt: Socket | undefined;
  let stopped: Error | undefined;
  const stop = (reason: Error): void => {
    stopped = reason;
    attempt?.destroy(reason);
  };
  const onClose = (): void => stop(new Error('the client left'));
  const timer = setTimeout(() => {
    stop(Object.assign(new Error(`no answer in ${timeout} ms`), { code: 'ETIMEDOUT' }));
  }, timeout);
  client.on('close', onClose);
  if (client.destroyed) onClose();
  try {
    let failure: unknown = new Error('no address');
    for (const host of addresses) {
      if (stopped) break;
      attempt = connect({ host, ...where, allowHalfOpen: true, noDelay: true });
      onSocket(attempt);
      try {
        await connected(attempt);
        return attempt;
      } catch (error) {
        failure = error;
      }
    }
    throw stopped ?? failure;
  } finally {
    clearTimeout(timer);
    client.off('close', onClose);
  }
}

function connected(socket: Socket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once('connect', resolve).once('error', reject);
  });
}

/** Counts the bytes of each direction as they arrive. */
export interface Traffic {
  bytesUp: number;
  bytesDown: number;
}

/**
 * Joins the two sockets until both directions have ended. Each direction ends by itself. When one side fails, the other
 * is reset. Both sockets need `allowHalfOpen` and an `error` listener.
 */
export function splice(client: Socket, remote: Socket, traffic: Traffic): void {
  if (client.destroyed || remote.destroyed) {
    reset(client);
    reset(remote);
    return;
  }
  client.on('data', (chunk: Buffer) => (traffic.bytesUp += chunk.length));
  remote.on('data', (chunk: Buffer) => (traffic.bytesDown += chunk.length));
  join(client, remote);
  join(remote, client);
}

function join(from: Socket, to: Socket): void {
  from.pipe(to);
  from.once('close', () => {
    if (from.errored || !from.readableEnded || !from.writableFinished) reset(to);
  });
}

/**
 * Closes a TCP socket by a reset, at once. TLS and Unix sockets have no reset: there it is an end without close_notify, or
 * just an end.
 *
 * Node's `resetAndDestroy()` first sends what was written, and a FIN behind it. libuv refuses to reset a socket while it
 * sends the FIN, and the socket then stays open for ever.
 */
export function reset(socket: Socket): void {
  if (socket.destroyed) return;
  const isTcp = !(socket instanceof TLSSocket) && socket.remoteFamily !== undefined;
  const sendsFin = socket.writableEnded && !socket.writableFinished;
  // Node's own resetAndDestroy() sets this field.
  if (isTcp && !sendsFin) Object.assign(socket, { resetAndClosing: true });
  socket.destroy();
}

/** How long a client that was refused may take to close its side. Its answer and the FIN were sent at once. */
const LINGER = 500;

/**
 * Sends a last answer, and the FIN with it. What the client still sends is read and dropped: closing with bytes unread
 * would be a reset, and a reset can overtake the answer.
 */
export function dismiss(client: Socket, answer: Uint8Array): void {
  const timer = setTimeout(() => client.destroy(), LINGER);
  client.once('close', () => clearTimeout(timer)).resume();
  if (answer.length > 0) client.write(answer);
  client.end();
}
