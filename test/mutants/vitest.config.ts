// The tests that Stryker runs against each mutant: those of one part, named by the variable MUTANTS. Packages are read
// from their sources, in which the mutants are.

import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { PARTS } from './parts.ts';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const source = (name: string): string => here(`../../packages/${name}/src/index.ts`);
const part = PARTS[process.env['MUTANTS'] ?? ''];

export default defineConfig({
  resolve: {
    alias: [{ find: /^@socksify\/(core|agent|undici|env)$/, replacement: source('$1') }],
  },
  test: {
    root: here('../..'),
    include: [...(part?.tests ?? [])],
    // Vite makes one module of what these load twice.
    testNamePattern: /^(?!.*another copy of this package)/,
    execArgv: ['--unhandled-rejections=strict'],
    setupFiles: ['test/uncaught/setup.ts'],
    maxConcurrency: 24,
    testTimeout: 15_000,
    hookTimeout: 30_000,
  },
});
