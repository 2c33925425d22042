// Which members of a group are tried, and when: scripted members and a clock of the test's own.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Blame } from '../src/blame.ts';
import { AT_ONCE, Race } from '../src/group/race.ts';
import type { Action } from '../src/group/race.ts';

/** `after`: milliseconds until the answer; Infinity: silence. */
interface Answer {
  readonly after: number;
  readonly result: 'success' | Blame;
}

interface Script {
  readonly negotiation: Answer;
  readonly request: Answer;
}

interface Outcome {
  readonly end: 'tunnel' | 'failure' | 'deadline';
  readonly time: number;
  /** The member that gave the tunnel. */
  readonly winner?: number;
  readonly began: readonly number[];
  readonly requested: readonly number[];
  readonly failed: ReadonlyMap<number, Blame>;
  readonly givenUp: readonly number[];
  /** At the end. */
  readonly running: readonly number[];
  readonly requesting: readonly number[];
  readonly ready: readonly number[];
}

/** Throws if this does not hold. `expect` would be slow for so many. */
function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
}

/** Plays a race. `shuffle` decides which of the events of one millisecond comes first, and how late a timer is. */
function play(
  scripts: readonly Script[],
  stagger: number,
  deadline: number,
  shuffle: () => number = () => 0,
): Outcome {
  const race = new Race(scripts.length, stagger, deadline);
  const events: { time: number; rank: number; happen: () => Action[] }[] = [];
  const began: number[] = [];
  const requested: number[] = [];
  const givenUp: number[] = [];
  const failed = new Map<number, Blame>();
  const [requesting, ready] = [new Set<number>(), new Set<number>()];
  let [now, end, winner]: [number, Outcome['end'] | undefined, number | undefined] = [
    0,
    undefined,
    undefined,
  ];
  const at = (time: number, happen: () => Action[]): void => {
    if (time < Infinity) events.push({ time, rank: shuffle(), happen });
  };
  const fail = (member: number, blame: Blame): Action[] => {
    if (givenUp.includes(member)) return [];
    failed.set(member, blame);
    requesting.delete(member);
    return race.failed(member, blame, now);
  };
  const obey = (actions: readonly Action[]): void => {
    for (const action of actions) {
      if (action.type === 'fail') {
        end = 'failure';
        return;
      }
      const { type, member } = action;
      const script = scripts[member] as Script;
      if (type === 'begin') {
        must(member === began.length, 'members begin in order');
        began.push(now);
        at(now + script.negotiation.after, () => {
          const { result } = script.negotiation;
          if (result !== 'success') return fail(member, result);
          if (!givenUp.includes(member)) ready.add(member);
          return race.negotiated(member, now);
        });
      } else if (type === 'request') {
        must(ready.delete(member), 'a request follows a negotiation');
        requesting.add(member);
        requested.push(member);
        at(now + script.request.after, () => {
          if (givenUp.includes(member)) return [];
          if (script.request.result !== 'success') return fail(member, script.request.result);
          winner = member;
          end = 'tunnel';
          race.granted();
          return [];
        });
      } else {
        givenUp.push(member);
        requesting.delete(member);
      }
    }
    must(race.running.length <= AT_ONCE, 'eight at a time');
    must(requesting.size <= 1, 'one request at a time');
  };
  obey(race.start(0));
  while (!end) {
    const wakeAt = race.wakeAt + shuffle();
    events.sort((one, other) => one.time - other.time || one.rank - other.rank);
    const next = events[0];
    const time = Math.min(next?.time ?? Infinity, wakeAt);
    if (time >= deadline) {
      now = deadline;
      end = 'deadline';
    } else if (next && next.time <= wakeAt) {
      now = Math.max(now, next.time);
      events.shift();
      obey(next.happen());
    } else {
      now = Math.max(now, wakeAt);
      obey(race.wake(now));
    }
  }
  return {
    end,
    time: now,
    ...(winner !== undefined && { winner }),
    began,
    requested,
    failed,
    givenUp,
    running: race.running,
    requesting: [...requesting],
    ready: [...ready],
  };
}

const answers = (slowest: number): fc.Arbitrary<Answer> =>
  fc.record({
    after: fc.oneof(
      { weight: 5, arbitrary: fc.integer({ min: 0, max: slowest }) },
      { weight: 1, arbitrary: fc.constant(Infinity) },
    ),
    result: fc.oneof(
      { weight: 4, arbitrary: fc.constant('success' as const) },
      { weight: 4, arbitrary: fc.constant('proxy' as const) },
      { weight: 2, arbitrary: fc.constantFrom<Blame>('unclear', 'destination', 'none') },
    ),
  });

const scripts = fc.array(fc.record({ negotiation: answers(4000), request: answers(4000) }), {
  minLength: 1,
  maxLength: 20,
});

describe('for any members and any order of events', () => {
  const ends = { tunnel: 0, failure: 0, deadline: 0 };
  test('a race ends with a tunnel, or for a reason that its members have given', () => {
    fc.assert(
      fc.property(
        scripts,
        fc.integer({ min: 1, max: 2000 }),
        fc.integer({ min: 1, max: 10_000 }),
        fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 20 }),
        (members, stagger, deadline, shuffles) => {
          let turn = 0;
          const shuffle = (): number => shuffles[turn++ % shuffles.length] ?? 0;
          const outcome = play(members, stagger, deadline, shuffle);
          const { end, began, failed, givenUp, running, requested, requesting, ready } = outcome;
          ends[end]++;
          // Every member that has begun is accounted for: it has failed, was given up, or is still there to be closed.
          const known = [...failed.keys(), ...givenUp, ...running];
          must(
            known.length === began.length && new Set(known).size === began.length,
            'each member is accounted for',
          );
          const silent = givenUp.filter((member) => requested.includes(member));
          const unclear = [...failed.values()].filter((blame) => blame === 'unclear').length + silent.length;
          if (end === 'tunnel') must(running.includes(outcome.winner ?? -1), 'the winner runs to the end');
          if (end === 'failure') {
            const stops = [...failed.values()].some((blame) => blame === 'destination' || blame === 'none');
            const all = began.length === members.length && running.length === 0;
            must(stops || unclear === 2 || all, 'a failure has a reason');
          } else {
            must(unclear < 2, 'two unclear answers are the end');
            must(ready.length === 0 || requesting.length === 1, 'a connection waits only for a request');
          }
        },
      ),
      { numRuns: 2000 },
    );
    for (const [end, times] of Object.entries(ends)) expect([end, times > 50]).toEqual([end, true]);
  });

  test('one member that answers within its share of the time limit is enough, whatever the proxies before it do', () => {
    const bad = fc.record({
      negotiation: answers(60_000).filter(({ result }) => result === 'success' || result === 'proxy'),
      request: fc.record({
        after: fc.integer({ min: 0, max: 10 }),
        result: fc.constant<Blame>('proxy'),
      }),
    });
    const property = fc.property(
      fc.array(bad, { maxLength: 7 }),
      fc.array(bad, { maxLength: 30 }),
      fc.integer({ min: 1, max: 30_000 }),
      fc.integer({ min: 0, max: 99 }),
      (before, after, stagger, percent) => {
        const count = before.length + 1 + after.length;
        const deadline = 200 * count;
        const good: Script = {
          negotiation: { after: percent, result: 'success' },
          request: { after: 10, result: 'success' },
        };
        const outcome = play([...before, good, ...after], stagger, deadline);
        must(outcome.winner === before.length, 'the good member gives the tunnel');
      },
    );
    expect(() => fc.assert(property, { numRuns: 2000 })).not.toThrow();
  });

  test('a silent destination gets half of the time limit through one member, and the rest through a second one', () => {
    const silent: Script = {
      negotiation: { after: 10, result: 'success' },
      request: { after: Infinity, result: 'success' },
    };
    const outcome = play([silent, silent, silent], 1000, 10_000);
    expect(outcome).toMatchObject({ end: 'deadline', requested: [0, 1], givenUp: [0], began: [0, 5005] });
  });
});

const ok = (after: number): Answer => ({ after, result: 'success' });
const SILENT: Answer = { after: Infinity, result: 'success' };
const member = (negotiation: Answer, request: Answer = ok(1)): Script => ({ negotiation, request });

test('the next member begins when the stagger is over, and a failure does not wait for it', () => {
  const outcome = play([member(SILENT), member({ after: 5, result: 'proxy' }), member(ok(5))], 1000, 30_000);
  expect(outcome).toMatchObject({ began: [0, 1000, 1005], end: 'tunnel', winner: 2, time: 1011 });
});

test('no member begins while a request is in progress', () => {
  const outcome = play([member(ok(1), ok(4000)), member(ok(1))], 10, 30_000);
  expect(outcome).toMatchObject({ began: [0], winner: 0 });
});

test('a member that has negotiated beside the request is requested next, before another one begins', () => {
  const refusing = member(ok(1500), { after: 100, result: 'unclear' });
  const outcome = play([member(ok(1520)), refusing, member(ok(1))], 0.5, 30_000);
  expect(outcome.requested.slice(0, 2)).toEqual([2]);
  const two = play([member(ok(1520)), { ...refusing, negotiation: ok(500) }, member(ok(1))], 1000, 30_000);
  expect(two).toMatchObject({ began: [0, 1000], requested: [1, 0], winner: 0 });
});

test.each([
  ['destination', 1],
  ['none', 1],
  ['unclear', 2],
  ['proxy', 4],
] as const)('a refusal that blames %s is the answer of %i of 4 members', (blame, requested) => {
  const outcome = play(
    Array.from({ length: 4 }, () => member(ok(1), { after: 1, result: blame })),
    1000,
    30_000,
  );
  expect(outcome.requested).toHaveLength(requested);
  expect(outcome.end).toBe('failure');
});

test('eight silent members are tried at a time, all of them before the time limit ends', () => {
  const silent = Array.from({ length: 45 }, () => member(SILENT));
  const outcome = play([...silent, member(ok(5))], 1000, 10_000);
  expect(outcome).toMatchObject({ end: 'tunnel', winner: 45 });
  expect(outcome.givenUp).toEqual(Array.from({ length: 38 }, (_, i) => i));
  expect(outcome.time).toBeLessThan(10_000);
});

test('without a deadline the stagger alone counts, and a request has no time limit', () => {
  const outcome = play([member(SILENT), member(ok(5), ok(10 ** 9))], 1000, Infinity);
  expect(outcome).toMatchObject({ began: [0, 1000], end: 'tunnel', time: 1005 + 10 ** 9 });
});

test('a member is late when the next one could begin, and overtaken by those that begin later', () => {
  const race = new Race(3, 1000, Infinity);
  race.start(0);
  expect([race.isLate(0, 999), race.isLate(0, 1000)]).toEqual([false, true]);
  race.wake(1000);
  race.negotiated(1, 1001);
  expect(race.overtakenBy(1)).toEqual([0]);
  expect(race.overtakenBy(0)).toEqual([]);
  const quick = new Race(3, 1000, Infinity);
  quick.start(0);
  quick.wake(1000);
  quick.failed(0, 'proxy', 1001);
  quick.negotiated(2, 1005);
  expect(quick.overtakenBy(2)).toEqual([]);
});
