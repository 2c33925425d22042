// How many standby connections are wanted, for requests that come at given times.

import { describe, expect, test } from 'vitest';
import { Demand } from '../src/tunnel/demand.ts';

/** What is wanted after each of these requests, which come at these milliseconds. */
function wantedAfter(times: readonly number[], limit = 10): number[] {
  const demand = new Demand(limit);
  return times.map((time) => {
    demand.add(time);
    return demand.wanted;
  });
}

const every = (period: number, count: number, from = 0): number[] =>
  Array.from({ length: count }, (_, i) => from + i * period);

describe('the number of standby connections that are wanted', () => {
  test('is one after the first request, so that the second one finds a connection', () => {
    expect(wantedAfter([0])).toEqual([1]);
  });

  test('is 0 before any request', () => {
    expect(new Demand(10).wanted).toBe(0);
  });

  test('is as many as requests that came at once', () => {
    expect(wantedAfter([0, 0, 0, 0])).toEqual([1, 2, 3, 4]);
  });

  test('is at most the limit', () => {
    expect(wantedAfter(every(0, 100), 3).at(-1)).toBe(3);
    expect(wantedAfter(every(1, 100), 3).at(-1)).toBe(3);
  });

  test.each([
    [100, 10],
    [500, 5],
    [1500, 2],
    [2500, 1],
    [4000, 1],
  ])(
    'with a request each %d ms is %d, so that each connection is used before it is 4 s old',
    (period, wanted) => {
      expect(wantedAfter(every(period, 50)).at(-1)).toBe(wanted);
      expect(wanted * period).toBeLessThanOrEqual(4000);
    },
  );

  test('is 0 for requests that come one by one, so that no connection is opened for nothing', () => {
    expect(wantedAfter(every(5000, 4))).toEqual([1, 0, 0, 0]);
  });

  test('grows again when more requests come', () => {
    expect(wantedAfter([0, 5000, 5100, 5200])).toEqual([1, 0, 2, 3]);
  });

  test('stays for four seconds after a burst, and then follows the requests', () => {
    const burst = every(0, 6);
    const after = wantedAfter([...burst, ...every(1000, 9, 1000)]);
    expect(after.slice(burst.length)).toEqual([7, 8, 8, 8, 8, 8, 3, 3, 3]);
  });

  test('stays for four seconds after the last time that as many requests came', () => {
    expect(wantedAfter([0, 0, 3000, 3000, 5500])).toEqual([1, 2, 2, 2, 2]);
    expect(wantedAfter([0, 0, 3000, 5500])).toEqual([1, 2, 2, 1]);
  });

  test('is that of the last burst from the first request of a burst on', () => {
    expect(wantedAfter([0, 0, 0, 10_000])).toEqual([1, 2, 3, 3]);
    expect(wantedAfter([0, 10, 20, 10_000, 10_010, 10_020])).toEqual([1, 2, 3, 3, 3, 3]);
  });

  test('is forgotten after a burst of one request', () => {
    expect(wantedAfter([0, 0, 0, 10_000, 20_000, 30_000])).toEqual([1, 2, 3, 3, 0, 0]);
  });
});
