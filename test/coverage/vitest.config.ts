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
    ],
    setupFiles: ['test/coverage/setup.ts'],
    server: { deps: { external: [/\/packages\/[^/]+\/(?:src|dist)\//] } },
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
