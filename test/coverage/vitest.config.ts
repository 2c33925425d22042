// Every suite in which code of packages/*/src runs in this Node. The packages are read from their sources, outside
// Vitest, so that the positions that V8 counts are those of the files.

import { mergeConfig } from 'vitest/config';
import suite from '../vitest.config.ts';

export default mergeConfig(suite, {
  test: {
    exclude: [
      '**/node_modules/**',
      // These try what is built and packed, or run other Nodes, or run for long with code that others run too.
      'test/{bench,ecosystem,recipes,runtimes}/**',
      'test/e2e/{docs,packed}.test.ts',
      'test/e2e/{lives,load}/**',
      // It starts many programs at once and limits their time, and a program that strips types takes longer to start.
      'test/e2e/exits.test.ts',
    ],
    // These evaluate the text of a built file, or load it twice.
    testNamePattern: /^(?!.*(?:context of node:vm|in a vm context|another copy of this package))/,
    setupFiles: ['test/coverage/setup.ts'],
    server: { deps: { external: [/\/packages\/[^/]+\/(?:src|dist)\//] } },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
