// The files of this folder, in the pool that POOL names.

import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    root: fileURLToPath(new URL('.', import.meta.url)),
    globals: true,
    pool: process.env.POOL,
    environment: 'node',
    reporters: 'json',
  },
});
