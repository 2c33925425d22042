// What ends with an attempt, and what ends it. The timers are in the hands of the tests.

import { Duplex } from 'node:stream';
import { rejection } from '@socksify/support';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { LazyContext } from '../src/route.ts';
import { Attempt } from '../src/tunnel/attempt.ts';
import { Connection } from '../src/tunnel/connection.ts';
import { Progress, SILENCE_HINTS } from '../src/tunnel/progress.ts';

interface Timer {
  readonly run: () => void;
  readonly milliseconds: number;
  keepsAlive: boolean;
}

/** The timers that are running, and what is to be done in the next turn. */
const clock = vi.hoisted(() => ({ now: 0, timers: new Set<Timer>(), immediates: [] as (() => void)[] }));

vi.mock('node:timers', () => ({
  setTimeout(run: () => void, milliseconds: number) {
    const timer = {
      run,
      milliseconds,
      keepsAlive: true,
      unref: () => void (timer.keepsAlive = false),
    };
    clock.timers.add(timer);
    return timer;
  },
  clearTimeout: (timer: Timer) => void clock.timers.delete(timer),
  setImmediate: (run: () => void) => void clock.immediates.push(run),
}));

beforeEach(() => {
  Object.assign(clock, { now: 1000, immediates: [] });
  clock.timers.clear();
  vi.spyOn(performance, 'now').mockImplementation(() => clock.now);
});
afterEach(() => void vi.restoreAllMocks());

/** Lets the only timer fire, so many milliseconds late. */
function fire(late = 0): void {
  const [timer] = clock.timers;
  if (!timer || clock.timers.size > 1) throw new Error(`${clock.timers.size} timers are running`);
  clock.timers.delete(timer);
  clock.now += timer.milliseconds + late;
  timer.run();
}

function turn(): void {
  for (const run of clock.immediates.splice(0)) run();
}

const limits = (): unknown[] => Array.from(clock.timers, ({ milliseconds }) => milliseconds);
const keptAlive = (): unknown[] => Array.from(clock.timers, ({ keepsAlive }) => keepsAlive);
const stream = () => new Duplex({ read() {}, write: (_data, _encoding, done) => done() });
const reasonOf = (attempt: Attempt): unknown => {
  try {
    attempt.throwIfStopped();
  } catch (reason) {
    return reason;
  }
  return undefined;
};

describe('the time limit', () => {
  test.each([
    ['30 seconds if none is given', {}, 30_000],
    ['the one that is given', { timeout: 400 }, 400],
  ])('is %s', (_, options, milliseconds) => {
    const attempt = new Attempt(options).begin();
    expect(limits()).toEqual([milliseconds]);
    expect(attempt.deadline).toBe(1000 + milliseconds);
    expect(keptAlive()).toEqual([true]);
  });

  test('of 0 is none', () => {
    expect(new Attempt({ timeout: 0 }).begin().deadline).toBe(Infinity);
    expect(limits()).toEqual([]);
  });

  test('does not keep the process alive for an attempt in the background', () => {
    new Attempt({}, undefined, true).begin();
    expect(keptAlive()).toEqual([false]);
    fire(21);
    expect(keptAlive()).toEqual([false]);
  });

  test.each([
    [{ timeout: 400 }, '400 ms'],
    [{}, '30000 ms'],
  ])('of %o stops the attempt one turn later, and says what a silent proxy means', (options, detail) => {
    const attempt = new Attempt(options).begin();
    attempt.progress.enter('greeting');
    fire();
    expect([attempt.stopped, limits()]).toEqual([false, []]);
    turn();
    expect(attempt.stopped).toBe(true);
    expect(reasonOf(attempt)).toMatchObject({
      code: 'ERR_SOCKS_TIMEOUT',
      phase: 'greeting',
      detail,
      hint: SILENCE_HINTS.greeting,
    });
  });

  test('stops nothing when the attempt is over before the next turn', () => {
    const attempt = new Attempt({}).begin();
    fire();
    attempt.end();
    turn();
    expect(attempt.stopped).toBe(false);
  });

  test('is not prolonged when the timer fires at most 20 ms late', () => {
    const attempt = new Attempt({}).begin();
    fire(20);
    expect(limits()).toEqual([]);
    turn();
    expect(attempt.stopped).toBe(true);
  });

  test('is prolonged once by the time that a busy process lost', () => {
    const attempt = new Attempt({ timeout: 400 }).begin();
    fire(21);
    expect(limits()).toEqual([21]);
    expect(keptAlive()).toEqual([true]);
    turn();
    expect(attempt.stopped).toBe(false);
    fire(100);
    expect(limits()).toEqual([]);
    turn();
    expect(attempt.stopped).toBe(true);
  });

  test('is at most doubled', () => {
    new Attempt({ timeout: 400 }).begin();
    fire(5000);
    expect(limits()).toEqual([400]);
  });

  test('has no timer left after the end, not even one that prolonged it', () => {
    const attempt = new Attempt({}).begin();
    attempt.end();
    expect(limits()).toEqual([]);
    const busy = new Attempt({}).begin();
    fire(21);
    busy.end();
    expect(limits()).toEqual([]);
  });
});

describe('the signal', () => {
  function watched() {
    const controller = new AbortController();
    const { signal } = controller;
    const added = vi.spyOn(signal, 'addEventListener');
    const removed = vi.spyOn(signal, 'removeEventListener');
    return { controller, signal, added, removed };
  }

  test('stops all its attempts with its reason, by one listener', () => {
    const { controller, signal, added } = watched();
    const attempts = [1, 2, 3].map(() => new Attempt({ signal }).begin());
    expect(added).toHaveBeenCalledExactlyOnceWith('abort', expect.any(Function));
    const reason = new RangeError('enough');
    controller.abort(reason);
    expect(attempts.map(reasonOf)).toEqual([reason, reason, reason]);
  });

  test('that has aborted stops an attempt when it begins', () => {
    const { controller, signal, added } = watched();
    controller.abort(null);
    const attempt = new Attempt({ signal }).begin();
    expect(attempt.stopped).toBe(true);
    expect(reasonOf(attempt)).toBe(null);
    expect(added).not.toHaveBeenCalled();
    attempt.end();
  });

  test('does not stop an attempt that is over', () => {
    const { controller, signal } = watched();
    const [first, second] = [new Attempt({ signal }).begin(), new Attempt({ signal }).begin()];
    first.end();
    controller.abort(new Error('enough'));
    expect([first.stopped, second.stopped]).toEqual([false, true]);
  });

  test('loses its listener at the end of the last attempt, and gets another one for the next', () => {
    const { controller, signal, added, removed } = watched();
    const [first, second] = [new Attempt({ signal }).begin(), new Attempt({ signal }).begin()];
    first.end();
    first.end();
    expect(removed).not.toHaveBeenCalled();
    second.end();
    expect(removed).toHaveBeenCalledExactlyOnceWith('abort', added.mock.calls[0]?.[1]);
    const third = new Attempt({ signal }).begin();
    expect(added).toHaveBeenCalledTimes(2);
    controller.abort(new Error('enough'));
    expect([first.stopped, second.stopped, third.stopped]).toEqual([false, false, true]);
  });
});

describe('an attempt', () => {
  test('is among the attempts in progress until its end', () => {
    const attempts = new Set<Attempt>();
    const attempt = new Attempt({}).begin(attempts);
    expect([...attempts]).toEqual([attempt]);
    attempt.end();
    expect(attempts.size).toBe(0);
  });

  test('has not stopped before it is stopped', () => {
    const attempt = new Attempt({}).begin();
    expect([attempt.stopped, attempt.existing]).toEqual([false, undefined]);
    attempt.throwIfStopped();
  });

  test('owns the socket that was handed in', () => {
    const socket = stream();
    const attempt = new Attempt({ socket }).begin();
    expect(attempt.existing).toMatchObject({ stream: socket, owner: attempt });
    const reason = new Error('enough');
    attempt.stop(reason);
    expect(socket.destroyed).toBe(true);
    expect(attempt.existing?.ended?.reason).toBe(reason);
  });

  test('closes the socket that was handed in when its signal has aborted', () => {
    const socket = stream();
    new Attempt({ socket, signal: AbortSignal.abort() }).begin();
    expect(socket.destroyed).toBe(true);
  });

  test('keeps the first reason, and ends with it all that is added later', () => {
    const attempt = new Attempt({});
    const reason = new Error('enough');
    attempt.stop(reason);
    attempt.stop(new Error('later'));
    expect(reasonOf(attempt)).toBe(reason);
    const connection = attempt.own(new Connection(stream()));
    expect(connection.ended?.reason).toBe(reason);
  });

  test('gives a connection to another attempt, which alone can end it then', () => {
    const [first, second] = [new Attempt({}), new Attempt({})];
    const connection = new Connection(stream());
    expect(first.own(connection)).toBe(connection);
    expect(connection.owner).toBe(first);
    second.own(connection);
    expect(connection.owner).toBe(second);
    first.stop(new Error('first'));
    expect(connection.ended).toBeUndefined();
    const reason = new Error('second');
    second.stop(reason);
    expect(connection.ended?.reason).toBe(reason);
  });
});

describe('a race of an attempt with a promise', () => {
  test('settles as the promise does', async () => {
    const attempt = new Attempt({});
    const reason = new Error('no');
    expect(await attempt.race(Promise.resolve(5))).toBe(5);
    expect(await rejection(attempt.race(Promise.reject(reason)))).toBe(reason);
    expect(attempt.stopped).toBe(false);
  });

  test('rejects when the attempt stops, and aborts the signal of the selector', async () => {
    const attempt = new Attempt({});
    const context = new LazyContext();
    const reason = new Error('enough');
    const failed = Promise.all([
      rejection(attempt.race(new Promise(() => {}), context)),
      rejection(attempt.race(new Promise(() => {}))),
    ]);
    attempt.stop(reason);
    expect(await failed).toEqual([reason, reason]);
    expect(context.signal.reason).toBe(reason);
  });

  test('rejects at once when the attempt has stopped', async () => {
    const attempt = new Attempt({});
    const context = new LazyContext();
    const reason = new Error('enough');
    attempt.stop(reason);
    expect(await rejection(attempt.race(Promise.resolve(5), context))).toBe(reason);
    expect(context.signal.reason).toBe(reason);
  });

  test.each([
    ['resolved', () => Promise.resolve(5)],
    ['rejected', () => Promise.reject(new Error('no'))],
  ])(
    'that is over leaves the signal of the selector alone when the attempt stops: %s',
    async (_, settled) => {
      const attempt = new Attempt({});
      const context = new LazyContext();
      // The caller may stop the attempt as soon as it has the result.
      const stop = (): void => attempt.stop(new Error('enough'));
      await attempt.race<number>(settled(), context).then(stop, stop);
      expect(attempt.stopped).toBe(true);
      expect(context.signal.aborted).toBe(false);
    },
  );
});

describe('a part of an attempt', () => {
  test('has the options, the progress and the socket of the whole', () => {
    const options = { socket: stream() };
    const whole = new Attempt(options, new Progress(), true).begin();
    const part = whole.part();
    expect(part.options).toBe(options);
    expect(part.progress).toBe(whole.progress);
    expect(part.existing).toBe(whole.existing);
    expect(part.background).toBe(true);
    expect(limits()).toHaveLength(1);
  });

  test('can have a progress and options of its own', () => {
    const [progress, options] = [new Progress(), { timeout: 5 }];
    const part = new Attempt({}).part(progress, options);
    expect(part).toMatchObject({ progress, options, background: false });
    expect(part.progress).toBe(progress);
    expect(part.options).toBe(options);
  });

  test('stops with the whole, and with its reason', () => {
    const whole = new Attempt({});
    const part = whole.part();
    const reason = new Error('enough');
    whole.stop(reason);
    expect(reasonOf(part)).toBe(reason);
    expect(reasonOf(whole.part())).toBe(reason);
  });

  test('can be stopped alone', () => {
    const whole = new Attempt({});
    const [part, other] = [whole.part(), whole.part()];
    part.stop(new Error('enough'));
    expect([whole.stopped, part.stopped, other.stopped]).toEqual([false, true, false]);
  });
});
