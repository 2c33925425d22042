// Some seconds of the lives, in a process of their own; and the judge that decides what is wrong, on outcomes that are.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';

const lives = fileURLToPath(new URL('lives.js', import.meta.url));
const run = (...options: string[]) => promisify(execFile)(process.execPath, [lives, ...options]);

test('every request has its own outcome, and nothing is left open', { timeout: 120_000 }, async () => {
  const { stdout, stderr } = await run('--minutes', '0.1');
  console.log(stdout.trim());
  expect(stderr).toBe('');
  expect(stdout).toMatch(
    /^seed \d+\n\d+ lives, \d+ requests, [1-9]\d* answers, [1-9]\d* errors, .*\nnothing found\n$/,
  );
});

test('options that mean nothing are refused', async () => {
  await expect(run('--minutes', 'x')).rejects.toMatchObject({ code: 2 });
});

describe('the judge', async () => {
  const { judge } = (await import(new URL('judge.js', import.meta.url).href)) as {
    judge: (request: object, outcome: object) => string | undefined;
  };
  const body = Buffer.from('hello');
  const headers = { 'x-id': 'r1', 'x-path': '/answer?id=r1', 'x-through': 'open' };
  const request = {
    id: 'r1',
    path: '/answer?id=r1',
    behaviour: 'answer',
    body,
    chosen: [{ name: 'open' }],
    aborted: false,
    cancelled: false,
    isImpatient: false,
    lifeEnded: () => false,
    disturbed: () => false,
  };
  const answer = { status: 200, headers, body };
  const failed = (code: string): object => ({ error: Object.assign(new Error('e'), { code }) });
  const refused = { ...request, chosen: [{ name: 'refusing', fails: 'ERR_SOCKS_NOT_ALLOWED' }] };

  test.each<[string, object, object, object?]>([
    ['its own answer', request, { answer }],
    ['the error of its route', refused, failed('ERR_SOCKS_NOT_ALLOWED')],
    ['a broken connection, by its site', { ...request, behaviour: 'reset' }, failed('ECONNRESET')],
    ['an abort', { ...request, aborted: true }, failed('ABORT_ERR')],
    [
      'an error behind the end of its client',
      { ...request, lifeEnded: () => true },
      failed('UND_ERR_CLOSED'),
    ],
  ])('accepts %s', (_, of, outcome) => {
    expect(judge(of, outcome)).toBeUndefined();
  });

  test.each<[string, object, object, string]>([
    [
      "another's answer",
      request,
      { answer: { ...answer, headers: { ...headers, 'x-id': 'r2' } } },
      'the answer to',
    ],
    ["another's body", request, { answer: { ...answer, body: Buffer.from('other') } }, 'its body'],
    ['half a body', request, { answer: { ...answer, body: body.subarray(0, 2) } }, 'its body'],
    [
      'another route',
      request,
      { answer: { ...answer, headers: { ...headers, 'x-through': 'direct' } } },
      'came through direct',
    ],
    ['an answer for which no selector was asked', { ...request, chosen: [] }, { answer }, 'never asked'],
    ['a selector that was asked twice', { ...request, chosen: [{}, {}] }, { answer }, 'asked 2 times'],
    ['an answer past a proxy that refuses', refused, { answer }, 'refusing was chosen'],
    ['an answer of a site that resets', { ...request, behaviour: 'reset' }, { answer }, 'would reset'],
    ['a broken connection that nobody broke', request, failed('ECONNRESET'), 'no reason'],
    ['a time limit that was long', request, failed('ERR_SOCKS_TIMEOUT'), 'no reason'],
    ['an abort that nobody asked for', request, failed('ABORT_ERR'), 'no reason'],
    ['the error of another route', refused, failed('ERR_SOCKS_AUTH_FAILED'), 'no reason'],
    ['events that came twice', { ...request, aborted: true }, failed('TWICE'), 'TWICE'],
  ])('rejects %s', (_, of, outcome, why) => {
    expect(judge(of, outcome)).toContain(why);
  });
});
