// The small size of the load, in a process of its own. `pnpm run load` runs the full size.

import { fileURLToPath } from 'node:url';
import { runProgram } from '@socksify/support';
import { expect, test } from 'vitest';

test('a small load loses, hangs and leaks nothing', { timeout: 120_000 }, async () => {
  const script = fileURLToPath(new URL('load.js', import.meta.url));
  const { stdout, stderr } = await runProgram(process.execPath, ['--expose-gc', script]);
  console.log(stdout.trim());
  expect(stderr).toBe('');
  expect(stdout.trim().split('\n').at(-1)).toBe('0 lost bytes, 0 hangs, 0 leaked descriptors');
});

test('a small load on a bridge loses and leaks nothing', { timeout: 120_000 }, async () => {
  const script = fileURLToPath(new URL('bridge.js', import.meta.url));
  const { stdout, stderr } = await runProgram(process.execPath, [script]);
  console.log(stdout.trim());
  expect(stderr).toBe('');
  expect(stdout.trim().split('\n').at(-1)).toBe('0 failures');
});
