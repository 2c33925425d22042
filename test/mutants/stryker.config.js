// One run of Stryker, over the part that the variable MUTANTS names. mutants.js starts it.

import { PARTS } from './parts.ts';

const name = process.env.MUTANTS ?? '';
const part = PARTS[name];

/** @type {import('@stryker-mutator/api/core').PartialStrykerOptions} */
export default {
  packageManager: 'pnpm',
  plugins: [import.meta.resolve('@stryker-mutator/vitest-runner')],
  testRunner: 'vitest',
  vitest: { configFile: 'test/mutants/vitest.config.ts', related: false },
  mutate: part.files,
  ignorePatterns: ['test/bench', 'test/ecosystem', 'test/mutants/reports', 'test/recipes', 'test/runtimes'],
  // Not in test/, where other runs of Vitest would find the tests in it.
  tempDirName: '.mutants',
  // A second run tries only what has changed since the first.
  incremental: true,
  incrementalFile: `test/mutants/reports/${name}.incremental.json`,
  reporters: ['json', 'progress-append-only'],
  jsonReporter: { fileName: `test/mutants/reports/${name}.json` },
  concurrency: 1,
  // Beyond the time that the tests of the mutant take without it. A mutant that never ends costs this much.
  timeoutMS: 5000,
  timeoutFactor: 2,
  allowConsoleColors: false,
};
