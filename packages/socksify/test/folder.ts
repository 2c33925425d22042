// A folder for the programs that the tests of one file run.

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';

export interface Folder {
  readonly path: string;
  /** Writes a file that can be executed, and returns its path. */
  readonly write: (name: string, source: string) => string;
}

/** Makes a new folder, and removes it after the tests of the file. Its name has spaces, as many names of users have. */
export function makeFolder(): Folder {
  const path = mkdtempSync(join(tmpdir(), 'socksify with space '));
  afterAll(() => rmSync(path, { recursive: true }));
  return {
    path,
    write(name, source) {
      const file = join(path, name);
      writeFileSync(file, source);
      chmodSync(file, 0o755);
      return file;
    },
  };
}
