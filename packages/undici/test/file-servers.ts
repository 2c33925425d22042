// Servers that all tests of a file share.

import { afterAll, beforeAll } from 'vitest';

/**
 * Starts the servers before the tests of the file, and closes them after the tests. The properties of the object that
 * it returns exist as soon as a test or a later `beforeAll()` runs.
 */
export function startForFile<Servers extends Record<string, AsyncDisposable>>(
  starts: { readonly [Name in keyof Servers]: () => Promise<Servers[Name]> },
): Servers {
  const servers = {} as Servers;
  beforeAll(async () => {
    const started = Object.keys(starts).map(async (name: keyof Servers) => {
      servers[name] = await starts[name]();
    });
    await Promise.all(started);
  });
  afterAll(async () => {
    await Promise.all(Object.values(servers).map((server) => server[Symbol.asyncDispose]()));
  });
  return servers;
}
