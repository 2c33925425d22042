// Counts the requests for connections of one chain, and says how many connections to hold for the next ones. Time is an
// argument.

/** Milliseconds. Requests that are further apart than this belong to different bursts. */
const BURST_GAP = 4000;
/**
 * Milliseconds in which requests are counted. Half the age that a standby connection gets: if as many requests come in
 * the next seconds as came in these, each connection is used before it is too old.
 */
const COUNTED = 2000;

export class Demand {
  /** How many connections to hold: the largest number of requests in {@link COUNTED}, in the last seconds. */
  wanted = 0;
  readonly #limit: number;
  /** When the wanted number was last needed. */
  #neededAt = 0;
  /** When the requests of the last seconds came, the oldest first: as many as can be wanted. */
  readonly #recent: number[] = [];
  #latest: number = -Infinity;
  /** How many requests the present burst has. */
  #burst = 0;

  /** @param limit the largest number that is wanted */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** A connection is requested. `now` is in milliseconds. */
  add(now: number): void {
    const isFirst = now - this.#latest > BURST_GAP;
    this.#latest = now;
    const recent = this.#recent;
    recent.push(now);
    while (recent.length > this.#limit || now - (recent[0] ?? now) > COUNTED) recent.shift();
    if (isFirst) {
      // The first request of a burst expects a burst like the last one. The first of all expects a second request.
      this.wanted = this.#burst === 1 ? 0 : Math.max(1, this.wanted);
      this.#burst = 0;
      this.#neededAt = now;
    } else if (recent.length >= this.wanted || now - this.#neededAt > BURST_GAP) {
      this.wanted = recent.length;
      this.#neededAt = now;
    }
    this.#burst++;
  }
}
