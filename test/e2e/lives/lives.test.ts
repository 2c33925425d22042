// Some seconds of random lives, in a process of their own; and the judge of outcomes, on outcomes that are right or wrong.

import { fileURLToPath } from 'node:url';
import { runProgram } from '@socksify/support';
import { describe, expect, test } from 'vitest';

const lives = fileURLToPath(new URL('lives.js', import.meta.url));
const run = (...options: string[]) => runProgram(process.execPath, [lives, ...options]);

test('every request has its own outcome, and nothing is left open', { timeout: 120_000 }, async () => {
  const { stdout, stderr } = await run('--minutes', '0.1');
  console.log(stdout.trim());
  expect(stderr).toBe('');
  expect(stdout).toMatch(
    /^seed \d+\n\d+ lives, \d+ requests, [1-9]\d* answers, [1-9]\d* errors, .*\nnothing found\n$/,
  );
});

test('the command refuses options that are not valid', async () => {
  expect(await run('--minutes', 'x')).toMatchObject({ status: 2 });
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
    ['an error after the end of its client', { ...request, lifeEnded: () => true }, failed('UND_ERR_CLOSED')],
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
    ['an answer for which no selector was called', { ...request, chosen: [] }, { answer }, 'never called'],
    ['a selector that was called twice', { ...request, chosen: [{}, {}] }, { answer }, 'called 2 times'],
    ['an answer although the proxy refuses', refused, { answer }, 'refusing was chosen'],
    ['an answer of a site that resets', { ...request, behaviour: 'reset' }, { answer }, 'would reset'],
    ['a broken connection without a cause', request, failed('ECONNRESET'), 'no reason'],
    ['a time limit that had not passed', request, failed('ERR_SOCKS_TIMEOUT'), 'no reason'],
    ['an abort that nobody caused', request, failed('ABORT_ERR'), 'no reason'],
    ['the error of another route', refused, failed('ERR_SOCKS_AUTH_FAILED'), 'no reason'],
    ['events that came twice', { ...request, aborted: true }, failed('TWICE'), 'TWICE'],
  ])('rejects %s', (_, of, outcome, why) => {
    expect(judge(of, outcome)).toContain(why);
  });
});
