// The bytes of the load: as many as wanted, no two chunks alike, so that one that is lost, doubled or out of place
// changes the hash.

import { randomBytes } from 'node:crypto';

const NOISE = randomBytes(64 * 1024);

export function* chunksOf(bytes, id) {
  let number = 0;
  for (let left = bytes; left > 0; left -= NOISE.length) {
    const chunk = Buffer.from(NOISE.subarray(0, Math.min(left, NOISE.length)));
    if (chunk.length >= 8) {
      chunk.writeUInt32BE(id, 0);
      chunk.writeUInt32BE(number++, 4);
    }
    yield chunk;
  }
}

/**
 * Writes the chunks as fast as their reader takes them.
 *
 * @param onChunk called with each chunk before it is written
 * @returns false when the stream was closed before the last chunk
 */
export async function writeChunks(stream, chunks, onChunk) {
  for (const chunk of chunks) {
    if (stream.destroyed) return false;
    onChunk(chunk);
    if (!stream.write(chunk)) await drained(stream);
  }
  return true;
}

/** Resolves when the stream takes more, or when it is closed. */
function drained(stream) {
  return new Promise((resolve) => {
    const wake = () => {
      stream.off('drain', wake).off('close', wake);
      resolve();
    };
    stream.on('drain', wake).on('close', wake);
  });
}
