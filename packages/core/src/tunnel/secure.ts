// TLS to the destination over a tunnel, and the sessions that shorten it the next time. Errors pass through as Node
// gives them. Knows no pools: whose session may serve whom is decided by who names it.

import { isIP } from 'node:net';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { Target } from '../protocol/step.ts';
import type { Deadline } from './deadline.ts';

/** The options of `tls.connect`, and one for pools. */
export interface SecureOptions extends ConnectionOptions {
  /** Sees the socket before its handshake, for events that come early, such as `keylog` and `session`. */
  onSocket?: (socket: TLSSocket) => void;
}

/** Resolves once the handshake is done and the certificate has been checked. */
export async function secure(
  socket: Socket | Duplex,
  { host, port }: Target,
  { onSocket, ...options }: SecureOptions,
  deadline: Deadline,
): Promise<TLSSocket> {
  const secured = connect({
    host,
    port,
    // An IP address is no SNI name (RFC 6066 section 3).
    ...(isIP(host) === 0 && { servername: host.replace(/\.$/, '') }),
    ...options,
    socket,
  });
  try {
    return await deadline.step<TLSSocket>((resolve, reject) => {
      const onSecure = (): void => resolve(secured);
      const onClose = (): void => reject(disconnected({ host, port }));
      secured.on('secureConnect', onSecure).on('error', reject).on('close', onClose);
      onSocket?.(secured);
      return () => secured.off('secureConnect', onSecure).off('error', reject).off('close', onClose);
    });
  } catch (error) {
    abandon(secured);
    throw error;
  }
}

/** Node's own words, for a transport that closes and tells TLS nothing. */
function disconnected(target: Target): Error {
  const message = 'Client network socket disconnected before secure TLS connection was established';
  return Object.assign(new Error(message), { code: 'ECONNRESET', ...target });
}

/**
 * TLS sessions for resumption, as `https.Agent` keeps them: the newest one for each key, so many keys at most.
 * Nothing but the key keeps destinations, proxies, credentials and TLS options apart.
 *
 * @example
 * const session = sessions.get(key);
 * const onSocket = (socket) => sessions.watch(key, socket);
 * await connect(proxy, destination, { tls: { ...(session && { session }), onSocket } });
 */
export class SessionCache {
  readonly #sessions = new Map<string, Buffer>();
  readonly #max: number;

  /** @param max keys at most; default 100; 0 turns resumption off */
  constructor(max = 100) {
    this.#max = max;
  }

  get(key: string): Buffer | undefined {
    return this.#sessions.get(key);
  }

  /** Keeps what this socket, still before its handshake, will be given; drops it when the socket fails. */
  watch(key: string, socket: TLSSocket): void {
    if (this.#max === 0) return;
    socket.on('session', (session) => this.#set(key, session));
    socket.once('close', (failed) => {
      if (failed) this.#sessions.delete(key);
    });
  }

  #set(key: string, session: Buffer): void {
    this.#sessions.delete(key);
    this.#sessions.set(key, session);
    if (this.#sessions.size <= this.#max) return;
    const [oldest] = this.#sessions.keys();
    if (oldest !== undefined) this.#sessions.delete(oldest);
  }
}

/** Destroys a stream whose errors interest nobody any more. */
export function abandon(stream: Duplex): void {
  stream.on('error', () => {}).destroy();
}
