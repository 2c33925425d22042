// Random numbers that can be repeated: all of them come from one seed.

/** A generator of 32 bits (mulberry32), with the draws that these tests need. */
export function createRandom(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = Math.imul(state ^ (state >>> 15), state | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    /** An integer from `least` to `most`. */
    integer: (least, most) => least + Math.floor(next() * (most - least + 1)),
    chance: (probability) => next() < probability,
    /** One of the keys, with a probability in proportion to its weight. */
    weighted(weights) {
      const entries = Object.entries(weights);
      let at = next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
      return (entries.find(([, weight]) => (at -= weight) < 0) ?? entries.at(-1))[0];
    },
    oneOf: (list) => list[Math.floor(next() * list.length)],
    seed: () => Math.floor(next() * 2 ** 32),
  };
}
