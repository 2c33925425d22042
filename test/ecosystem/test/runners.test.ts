// Jest and Vitest run tests in realms of their own (vm contexts, with a DOM or without), where globals are not those that
// Node's own modules see. Agent and dispatcher have to work there, and the global dispatcher has to reach fetch.

import { join } from 'node:path';
import { expect, test } from 'vitest';
import { here, run, startStage } from './stage.ts';

const REALM = here('../programs/realm');
const VITEST = here('../../../node_modules/vitest/vitest.mjs');

interface Results {
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly { readonly failureMessages: readonly string[] }[];
  }[];
}

/** Runs these files of the folder; all tests in them have to pass. */
async function expectPassed(
  runner: (files: readonly string[], env: Record<string, string>) => Promise<string>,
  files: readonly string[],
): Promise<void> {
  await using stage = await startStage();
  // A runner whose tests fail ends with 1, and says why in what it prints.
  const output = await runner(files, { PROXY: stage.proxy, SITE: stage.http }).catch(
    (error: { stdout?: string; stderr?: string }) => error.stdout || `${error.stderr}`,
  );
  const { testResults } = JSON.parse(output) as Results;
  const tests = testResults.flatMap(({ message, assertionResults }) =>
    assertionResults.length > 0 ? assertionResults.map((each) => each.failureMessages.join('\n')) : message,
  );
  expect(tests, 'why each test failed').toEqual(Array.from({ length: 2 * files.length }, () => ''));
  stage.expectProxied(...Array.from({ length: 2 * files.length }, () => 'http' as const));
}

const vitest = (pool: string, files: readonly string[], env: Record<string, string>): Promise<string> =>
  run(process.execPath, [VITEST, 'run', '--config', join(REALM, 'vitest.config.js'), ...files], {
    ...env,
    POOL: pool,
    VITEST: '',
  });

test.each(['forks', 'threads'])('agent and dispatcher work in the %s of Vitest', async (pool) => {
  await expectPassed((...args) => vitest(pool, ...args), ['agent.test.js', 'fetch.test.js']);
});
