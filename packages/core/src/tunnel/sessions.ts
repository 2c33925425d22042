// TLS sessions for resumption. Sessions are shared by key alone: the caller chooses keys so that only compatible
// connections share one.

import type { TLSSocket } from 'node:tls';

/**
 * TLS sessions, as `https.Agent` keeps them: the newest one for each key, so many keys at most. Nothing but the key
 * keeps destinations, proxies, credentials and TLS options apart.
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

  /**
   * Keeps the sessions that this socket, still before its handshake, will be given. The session under this key is
   * dropped when the handshake fails; not when the connection ends later, however it ends.
   */
  watch(key: string, socket: TLSSocket): void {
    if (this.#max === 0) return;
    const drop = (): void => void this.#sessions.delete(key);
    socket.once('error', drop).once('close', drop);
    socket.once('secureConnect', () => socket.off('error', drop).off('close', drop));
    socket.on('session', (session) => this.#set(key, session));
  }

  #set(key: string, session: Buffer): void {
    this.#sessions.delete(key);
    this.#sessions.set(key, session);
    if (this.#sessions.size <= this.#max) return;
    const [oldest] = this.#sessions.keys();
    if (oldest !== undefined) this.#sessions.delete(oldest);
  }
}
