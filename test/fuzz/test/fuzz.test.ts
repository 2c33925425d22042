// Every property, for a second or two, and the command that goes on for longer. Rules 1, 4, 5 and 9 to 23.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { PROPERTIES } from '@socksify/fuzz';
import fc from 'fast-check';
import { expect, test } from 'vitest';

// An unhandled rejection or exception fails the test too.
test.each(PROPERTIES)('$name', async ({ check, ends, runs }) => {
  await fc.assert(check, { numRuns: runs });
  // No kind of end was left out by the generators.
  for (const [end, times] of Object.entries(ends)) expect([end, times > 20]).toEqual([end, true]);
});

const fuzz = fileURLToPath(new URL('../dist/fuzz.js', import.meta.url));
const run = (...options: string[]) => promisify(execFile)(process.execPath, [fuzz, ...options]);

test('the command prints its seed first and what it ran last', async () => {
  const { stdout } = await run('--minutes', '0', '--seed', '42', '--only', 'NO_PROXY');
  expect(stdout).toMatch(
    /^seed 42\n +250 {2}NO_PROXY means what its table says \(bypassed \d+, proxied \d+\)\nnothing found\n$/,
  );
});

test('the command finds the same with the same seed', async () => {
  const options = ['--minutes', '0', '--seed', '7', '--only', 'any text'];
  expect((await run(...options)).stdout).toBe((await run(...options)).stdout);
});

test('the command refuses options that mean nothing', async () => {
  await expect(run('--minutes', 'x')).rejects.toMatchObject({ code: 2 });
  await expect(run('--only', 'no such property')).rejects.toMatchObject({ code: 2 });
});
