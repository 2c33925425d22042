// TLS sessions for resumption. Sessions are shared by key alone: the caller chooses keys so that only compatible
// connections share one.

import type { TLSSocket } from 'node:tls';

/**
 * Keeps TLS sessions as `https.Agent` does: the newest one for each key, for a limited number of keys. Sessions are
 * kept apart by the key alone, so the key has to tell destinations, proxies, credentials and TLS options apart.
 */
export class SessionCache {
  readonly #sessions = new Map<string, Buffer>();
  readonly #max: number;

  /** @param max keys at most; default 100; 0 turns resumption off */
  constructor(max = 100) {
    this.#max = max;
  }

  /** The newest session of this key. */
  get(key: string): Buffer | undefined {
    return this.#sessions.get(key);
  }

  /**
   * Keeps the sessions that this socket receives. Call it before the handshake. When the handshake fails, the session
   * under this key is dropped. When the connection ends later, the session is kept.
   */
  watch(key: string, socket: TLSSocket): void {
    const drop = (): void => void this.#sessions.delete(key);
    socket.once('error', drop).once('close', drop);
    socket.once('secureConnect', () => socket.off('error', drop).off('close', drop));
    socket.on('session', (session) => {
      this.#sessions.delete(key);
      this.#sessions.set(key, session);
      const [oldest = key] = this.#sessions.keys();
      if (this.#sessions.size > this.#max) this.#sessions.delete(oldest);
    });
  }
}
