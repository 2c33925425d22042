// Which origins have requests without a response yet, and which handshakes go on for them. undici tells a connector
// nothing about aborts, so this is how an abort reaches the proxy's socket.

interface Origin {
  requests: number;
  readonly attempts: Set<AbortController>;
}

export interface Attempt {
  readonly signal: AbortSignal;
  /** To be called when the attempt is over, either way. */
  end(): void;
}

export class Waiting {
  readonly #origins = new Map<string, Origin>();

  /** A request waits for its response. The result is called once: when it no longer does. */
  enter(name: string): (aborted: boolean) => void {
    const origin = this.#origin(name);
    origin.requests++;
    return (aborted) => {
      origin.requests--;
      if (aborted && origin.requests === 0) {
        for (const attempt of origin.attempts) attempt.abort(nobodyWaits());
      }
      this.#forget(name, origin);
    };
  }

  /** A handshake begins. undici also begins one for a request that was aborted in its queue: that ends here. */
  attempt(name: string): Attempt {
    const origin = this.#origin(name);
    const controller = new AbortController();
    if (origin.requests === 0) controller.abort(nobodyWaits());
    origin.attempts.add(controller);
    return {
      signal: controller.signal,
      end: () => {
        origin.attempts.delete(controller);
        this.#forget(name, origin);
      },
    };
  }

  #origin(name: string): Origin {
    let origin = this.#origins.get(name);
    if (!origin) this.#origins.set(name, (origin = { requests: 0, attempts: new Set() }));
    return origin;
  }

  #forget(name: string, { requests, attempts }: Origin): void {
    if (requests === 0 && attempts.size === 0) this.#origins.delete(name);
  }
}

function nobodyWaits(): Error {
  return new DOMException('no request waits for this connection any more', 'AbortError');
}
