// Carries out protocol steps on a stream: exact reads, so that what a client sent ahead stays in the stream.

import type { Duplex } from 'node:stream';
import type { Steps } from './negotiate.ts';

const NOTHING: Uint8Array = new Uint8Array();

/** The stream ended before the message did. */
export class Incomplete extends Error {
  override readonly name: string = 'Incomplete';
}

/**
 * Carries out `steps` until they return their result.
 * @throws whatever the steps throw; {@link Incomplete} when the stream ends or is destroyed in progress
 */
export async function converse<Result>(stream: Duplex, steps: Steps<Result>): Promise<Result> {
  let step = steps.next(NOTHING);
  while (step.done !== true) {
    let input = NOTHING;
    if ('write' in step.value) stream.write(step.value.write);
    else input = await readExactly(stream, step.value.read);
    step = steps.next(input);
  }
  return step.value;
}

function readExactly(stream: Duplex, length: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const attempt = (): void => {
      const bytes = stream.destroyed ? null : (stream.read(length) as Buffer | null);
      if (bytes === null) {
        if (stream.destroyed || stream.readableEnded) fail();
        return;
      }
      // After the end of the stream, read() returns what is left, even if that is less.
      if (bytes.length < length) return fail();
      detach();
      resolve(bytes);
    };
    const fail = (): void => {
      detach();
      reject(new Incomplete(`the client closed where ${length} bytes were expected`));
    };
    const detach = (): void => {
      stream.off('readable', attempt).off('end', fail).off('close', fail);
    };
    stream.on('readable', attempt).on('end', fail).on('close', fail);
    attempt();
  });
}
