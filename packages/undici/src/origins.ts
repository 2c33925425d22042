// The origins in use. Each has Agents of its own, which go when nothing is left of it: no request, no handshake, no
// connection. Knows who waits for whom; nothing of SOCKS.
//
// Why so: undici 5 and 6 and the Agents inside Node 20 and 22 keep the pool of every origin for ever, and what an Agent
// keeps cannot be taken from it without its private symbols. But an Agent can be dropped, and with nothing in it,
// closing it breaks nothing. What is in it is counted here by sockets and requests, which every generation has alike.

import type { Socket } from 'node:net';
import type { AgentLike } from './agent.ts';

type Build = (h2: boolean, origin: Origin) => AgentLike;

export class Origins {
  readonly #origins = new Map<string, Origin>();
  readonly #build: Build;
  readonly #max: number;
  readonly #keep: boolean;

  /**
   * @param max how many there can be at a time
   * @param keep never let one go
   */
  constructor(build: Build, max: number, keep: boolean) {
    this.#build = build;
    this.#max = max;
    this.#keep = keep;
  }

  /**
   * To be entered in the same turn, since until then nothing holds a new one.
   *
   * @returns undefined when there are too many
   */
  get(given: string | URL | undefined): Origin | undefined {
    // Most callers have the normal form already, and parsing a URL is dear.
    let origin = typeof given === 'string' ? this.#origins.get(given) : undefined;
    if (origin) return origin;
    const name = normalOrigin(given);
    origin = this.#origins.get(name);
    if (origin || this.#origins.size >= this.#max) return origin;
    origin = new Origin(this.#build, () => !this.#keep && this.#origins.delete(name));
    this.#origins.set(name, origin);
    return origin;
  }

  agents(): AgentLike[] {
    return [...this.#origins.values()].flatMap((origin) => origin.agents());
  }
}

export interface Attempt {
  readonly signal: AbortSignal;
  /** To be called when the attempt is over; with its socket if there is one. */
  end(socket?: Socket): void;
}

export class Origin {
  /** Requests, handshakes and sockets. */
  #held = 0;
  /** Requests without a response. */
  #waiting = 0;
  readonly #attempts = new Set<AbortController>();
  readonly #agents = new Map<boolean, AgentLike>();
  readonly #build: Build;
  readonly #forget: () => boolean;
  #gone = false;

  /** @param forget called when nothing is left of it; true: it is gone */
  constructor(build: Build, forget: () => boolean) {
    this.#build = build;
    this.#forget = forget;
  }

  agent(h2: boolean): AgentLike {
    let agent = this.#agents.get(h2);
    if (!agent) this.#agents.set(h2, (agent = this.#build(h2, this)));
    return agent;
  }

  agents(): AgentLike[] {
    return [...this.#agents.values()];
  }

  /** A request begins. */
  enter(): void {
    this.#held++;
    this.#waiting++;
  }

  /** No connection has to be made for a request any more. */
  answered(aborted: boolean): void {
    this.#waiting--;
    if (!aborted || this.#waiting > 0) return;
    for (const attempt of this.#attempts) attempt.abort(nobodyWaits());
  }

  /**
   * A handshake begins. undici tells its connector nothing about aborts, so the signal is how one reaches the proxy's
   * socket. undici also begins one for a request that was aborted in its queue: that ends here.
   */
  attempt(): Attempt {
    this.#held++;
    const controller = new AbortController();
    if (this.#waiting === 0) controller.abort(nobodyWaits());
    this.#attempts.add(controller);
    return {
      signal: controller.signal,
      end: (socket) => {
        this.#attempts.delete(controller);
        if (socket && !socket.closed) socket.once('close', () => this.leave());
        else this.leave();
      },
    };
  }

  /** A request, a handshake or a socket is over. */
  // In a turn of its own: whoever comes here is in the middle of undici, which may yet send the request once more.
  leave(): void {
    this.#held--;
    if (this.#held > 0) return;
    setImmediate(() => {
      if (this.#held > 0 || this.#gone) return;
      this.#gone = this.#forget();
      if (!this.#gone) return;
      for (const agent of this.agents()) agent.close().catch(() => {});
    });
  }
}

/** Empty for what is no URL: undici refuses that itself. */
function normalOrigin(origin: string | URL | undefined): string {
  if (origin instanceof URL) return origin.origin;
  return origin !== undefined && URL.canParse(origin) ? new URL(origin).origin : '';
}

function nobodyWaits(): Error {
  return new DOMException('no request waits for this connection any more', 'AbortError');
}
