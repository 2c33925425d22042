// A connection in memory, with both its ends.

import { Duplex } from 'node:stream';
import { piecesOf } from './bytes.ts';

/** One end of a connection. What is written comes out of the other in pieces, each in a turn of its own. */
export class End extends Duplex {
  other: End | undefined;
  readonly #cuts: readonly number[];

  constructor(at: readonly number[]) {
    super();
    this.#cuts = at;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    void (async () => {
      for (const piece of piecesOf(chunk, this.#cuts)) {
        this.other?.push(piece);
        await new Promise(setImmediate);
      }
      done();
    })();
  }
}

/** Two ends that are joined; the bytes of each direction are cut at these places. */
export function join(
  there: readonly number[] = [],
  back: readonly number[] = [],
): [client: End, server: End] {
  const [client, server] = [new End(there), new End(back)];
  [client.other, server.other] = [server, client];
  return [client, server];
}
