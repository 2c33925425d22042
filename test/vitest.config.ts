// One configuration for every suite; which of them run is decided by run.js.

import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: fileURLToPath(new URL('..', import.meta.url)),
    include: ['packages/*/test/**/*.test.ts', 'test/*/**/*.test.ts', 'examples/**/*.test.ts'],
    pool: 'forks',
    // setup.ts fails the test that leaves an error behind which nobody catches.
    execArgv: ['--unhandled-rejections=strict'],
    setupFiles: ['test/uncaught/setup.ts'],
    maxConcurrency: 24,
    testTimeout: 15_000,
    hookTimeout: 30_000,
  },
});
