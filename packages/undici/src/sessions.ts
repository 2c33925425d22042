// TLS sessions by destination, held strongly and bounded: undici's own weak cache loses them at the next collection.

import type { TLSSocket } from 'node:tls';

export class SessionCache {
  readonly #sessions = new Map<string, Buffer>();
  readonly #max: number;

  /** @param max sessions at most; 0 turns resumption off */
  constructor(max: number) {
    this.#max = max;
  }

  get(key: string): Buffer | undefined {
    return this.#sessions.get(key);
  }

  /** Keeps what this socket offers for the next connection to the same place. */
  watch(key: string, socket: TLSSocket): void {
    if (this.#max === 0) return;
    socket.on('session', (session) => this.#set(key, session));
    // Before TLS 1.3 the session is part of the handshake, and its event has passed.
    const session = socket.getProtocol() === 'TLSv1.3' ? undefined : socket.getSession();
    if (session) this.#set(key, session);
  }

  #set(key: string, session: Buffer): void {
    this.#sessions.delete(key);
    this.#sessions.set(key, session);
    if (this.#sessions.size <= this.#max) return;
    const [oldest] = this.#sessions.keys();
    if (oldest !== undefined) this.#sessions.delete(oldest);
  }
}
