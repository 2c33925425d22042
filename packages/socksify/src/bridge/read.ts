// Exact reads from a socket, and the steps of a handshake carried out on it. Further bytes stay in the socket.

import type { Duplex } from 'node:stream';

/** The client closed its side, or the connection, in the middle of a message. */
export class Ended extends Error {}

const NOTHING: Uint8Array = new Uint8Array();

/** @throws Ended */
export function readExactly(stream: Duplex, count: number): Uint8Array | Promise<Uint8Array> {
  if (count === 0) return NOTHING;
  return read(stream, count) ?? waitFor(stream, count);
}

/** At the end of the stream, read() gives what is left, however little. */
function read(stream: Duplex, count: number): Uint8Array | undefined {
  if (stream.destroyed) throw new Ended();
  const bytes: Buffer | null = stream.read(count);
  if (bytes?.length === count) return bytes;
  if (bytes || stream.readableEnded) throw new Ended();
  return undefined;
}

function waitFor(stream: Duplex, count: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const look = (): void => {
      try {
        const bytes = read(stream, count);
        if (bytes === undefined) return;
        stop();
        resolve(bytes);
      } catch (error) {
        stop();
        reject(error);
      }
    };
    const stop = (): void => void stream.off('readable', look).off('end', look).off('close', look);
    stream.on('readable', look).on('end', look).on('close', look);
  });
}

/**
 * Carries out the steps of a handshake, also of one that core makes: `wait` waits for a promise.
 *
 * @throws Ended; what the steps throw
 */
export async function drive<Result>(
  stream: Duplex,
  steps: Generator<
    { readonly write: Uint8Array } | { readonly read: number } | { readonly wait: Promise<unknown> },
    Result,
    Uint8Array
  >,
): Promise<Result> {
  let step = steps.next(NOTHING);
  while (!step.done) {
    const { value } = step;
    if ('write' in value) {
      stream.write(value.write);
      step = steps.next(NOTHING);
    } else if ('read' in value) {
      const bytes = readExactly(stream, value.read);
      step = steps.next(bytes instanceof Promise ? await bytes : bytes);
    } else {
      await value.wait;
      step = steps.next(NOTHING);
    }
  }
  return step.value;
}
