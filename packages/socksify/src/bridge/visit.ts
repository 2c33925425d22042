// One request of a client while it is in progress: for the log, and for the drain at the end.

import type { Socket } from 'node:net';
import { printEntry } from './log.ts';

export class Visit {
  /** How it ended, for the log. */
  result = 'closed by the client';
  readonly #protocol: string;
  readonly #destination: string | undefined;
  readonly #began: number = performance.now();
  readonly #onEnd: (line: string) => void;
  #tunnel: Socket | undefined;
  #ended = false;

  /** @param onEnd called once, with a line for the log */
  constructor(protocol: string, destination: string | undefined, onEnd: (line: string) => void) {
    this.#protocol = protocol;
    this.#destination = destination;
    this.#onEnd = onEnd;
  }

  /** The log has the bytes of this tunnel as those of the request. */
  count(tunnel: Socket): void {
    this.#tunnel = tunnel;
  }

  /** The tunnel is open; the visit ends with the client's connection. */
  carry(client: Socket, tunnel: Socket): void {
    this.count(tunnel);
    this.result = 'open';
    if (client.closed) this.end();
    else client.once('close', () => this.end());
  }

  end(result: string = this.result): void {
    if (this.#ended) return;
    this.#ended = true;
    const { bytesWritten = 0, bytesRead = 0 } = this.#tunnel ?? {};
    this.#onEnd(
      printEntry({
        protocol: this.#protocol,
        destination: this.#destination,
        result,
        bytesUp: bytesWritten,
        bytesDown: bytesRead,
        milliseconds: performance.now() - this.#began,
      }),
    );
  }
}
