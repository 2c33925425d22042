// The configuration of the suite, for the fixture of uncaught.test.ts alone.

import { mergeConfig } from 'vitest/config';
import config from '../vitest.config.ts';

export default mergeConfig(
  { ...config, test: { ...config.test, include: [] } },
  { test: { include: ['test/uncaught/fixture.ts'] } },
);
