// Every property, for a second or two, and the command that checks the properties for longer.

import { fileURLToPath } from 'node:url';
import { PROPERTIES } from '@socksify/fuzz';
import { runProgram } from '@socksify/support';
import fc from 'fast-check';
import { expect, test } from 'vitest';

// An unhandled rejection or exception fails the test too.
test.each(PROPERTIES)('$name', async ({ check, ends, runs }) => {
  await fc.assert(check, { numRuns: runs });
  // The generators have produced every kind of end.
  for (const [end, times] of Object.entries(ends)) expect([end, times > 20]).toEqual([end, true]);
});

const fuzz = fileURLToPath(new URL('../dist/fuzz.js', import.meta.url));
const run = (...options: string[]) => runProgram(process.execPath, [fuzz, ...options]);

test('the command prints its seed first, and what it has run last', async () => {
  const { stdout } = await run('--minutes', '0', '--seed', '42', '--only', 'NO_PROXY');
  expect(stdout).toMatch(
    /^seed 42\n +250 {2}NO_PROXY means what its table says \(bypassed \d+, proxied \d+\)\nnothing found\n$/,
  );
});

test('the command finds the same with the same seed', async () => {
  const options = ['--minutes', '0', '--seed', '7', '--only', 'any text'];
  expect((await run(...options)).stdout).toBe((await run(...options)).stdout);
});

test('the command refuses options that are not valid', async () => {
  expect(await run('--minutes', 'x')).toMatchObject({ status: 2 });
  expect(await run('--only', 'no such property')).toMatchObject({ status: 2 });
});
