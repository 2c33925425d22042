// types.test-d.ts under the types of every Node: RequestInit's `dispatcher` comes from another undici in each.

import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { runProgram } from '@socksify/support';
import { afterAll, expect, test } from 'vitest';

const file = (specifier: string): string => fileURLToPath(import.meta.resolve(specifier));
const tsc = join(dirname(file('typescript/package.json')), 'bin/tsc');
const scratch = realpathSync(mkdtempSync(join(tmpdir(), 'types-')));
afterAll(() => rmSync(scratch, { recursive: true }));

test.each([20, 22, 24])('the declarations fit @types/node %s', { timeout: 60_000 }, async (version) => {
  const types = dirname(file(`types-node${version}/package.json`));
  const folder = join(scratch, String(version));
  // Under its own name, so that it is also what `/// <reference types="node" />` in a declaration finds.
  mkdirSync(join(folder, 'roots'), { recursive: true });
  symlinkSync(types, join(folder, 'roots/node'));
  const config = {
    extends: file('./tsconfig.json'),
    compilerOptions: { typeRoots: [join(folder, 'roots')], types: ['node'], incremental: false },
    files: [file('./types.test-d.ts')],
    include: [],
    references: [],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
  const { stdout } = await runProgram(process.execPath, [tsc, '-p', folder, '--listFiles']);
  expect(stdout).not.toContain('error TS');
  const roots = stdout.split('\n').filter((path) => /@types[/+]node.*[\\/]globals\.d\.[cm]?ts$/.test(path));
  expect(roots).toEqual([join(realpathSync(types), 'globals.d.ts')]);
});
