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
