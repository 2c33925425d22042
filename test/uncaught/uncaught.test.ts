// Every suite runs under a check for uncaught errors. This test shows on a fixture, in a Vitest of its own, that the
// check can fail.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

interface Report {
  readonly testResults: readonly {
    readonly assertionResults: readonly {
      readonly title: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/** Vitest ends with an exit code other than 0, as it has to here. */
function runFixture(): Promise<string> {
  const args = [here('../../node_modules/vitest/vitest.mjs'), 'run', '--config', here('fixture.config.ts')];
  return new Promise((resolve) => {
    execFile(process.execPath, [...args, '--reporter=json'], (_error, stdout) => resolve(stdout));
  });
}

test('an error that nobody catches fails the test that caused it', { timeout: 60_000 }, async () => {
  const stdout = await runFixture();
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'))) as Report;
  const results = report.testResults.flatMap(({ assertionResults }) => assertionResults);
  const failure = (text: string): unknown => ['failed', expect.stringContaining(text)];
  expect(
    Object.fromEntries(results.map(({ title, status, failureMessages: [why] }) => [title, [status, why]])),
  ).toEqual({
    'leaves nothing behind': ['passed', undefined],
    'leaves a rejection behind': failure('nobody waits for me'),
    'has a rejection that is handled too late': failure('handled too late'),
    'leaves a timer behind that throws': failure('thrown by a timer'),
    'leaves a socket behind that fails without a listener': failure('ECONNRESET'),
    'rejects with undefined': failure('undefined'),
    'leaves nothing behind either': ['passed', undefined],
  });
});
