// What an attempt records of its phases.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { Progress, SILENCE_HINTS } from '../src/tunnel/progress.ts';

let now = 0;
beforeEach(() => {
  now = 1000;
  vi.spyOn(performance, 'now').mockImplementation(() => now);
});
afterEach(() => void vi.restoreAllMocks());

const destination = { host: 'origin.test', port: 80 };

describe('the duration of a phase', () => {
  test('is added up over all times in which the attempt was in it', () => {
    const progress = new Progress(destination);
    progress.enter('dial');
    now += 5;
    progress.enter('greeting');
    now += 7;
    progress.enter('dial');
    now += 11;
    progress.enter('request');
    expect(progress.durations).toEqual({ dial: 16, greeting: 7 });
  });

  test('leaves out the time before the first phase', () => {
    const progress = new Progress(destination);
    now += 100;
    progress.enter('dial');
    now += 2;
    progress.lap();
    expect(progress.durations).toEqual({ dial: 2 });
  });

  test('is brought up to date without an end of the phase', () => {
    const progress = new Progress(destination);
    progress.enter('dial');
    now += 3;
    progress.lap();
    expect(progress).toMatchObject({ phase: 'dial', hop: { destination }, durations: { dial: 3 } });
    now += 4;
    progress.lap();
    expect(progress.durations).toEqual({ dial: 7 });
  });
});

test('an error names the present phase and destination, and keeps its details', () => {
  const progress = new Progress(destination);
  progress.enter('greeting');
  const error = progress.error('ERR_SOCKS_PROXY_CLOSED', { detail: 'two bytes' });
  expect(error).toMatchObject({
    code: 'ERR_SOCKS_PROXY_CLOSED',
    phase: 'greeting',
    destination: 'origin.test:80',
  });
  expect(error.message).toContain('two bytes');
});

test('an error without a destination names none', () => {
  expect(new Progress().error('ERR_SOCKS_TIMEOUT').destination).toBe('');
});

test('a proxy that sends nothing may be one with TLS, or one without it when TLS was begun', () => {
  expect(SILENCE_HINTS.greeting).toContain('socks5s://');
  expect(SILENCE_HINTS['proxy-tls']).toContain('socks5://');
});
