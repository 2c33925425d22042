// Jest and Vitest run tests in realms of their own (vm contexts, with a DOM or without), whose globals are not those of
// Node's own modules. Agent and dispatcher have to work there, and the global dispatcher has to apply to fetch.

import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { runProgram } from '@socksify/support';
import type { Ended } from '@socksify/support';
import { expect, test } from 'vitest';
import { here, startProxiedSite } from './proxied-site.ts';

const REALM = here('../programs/realm');
const require = createRequire(import.meta.url);
const JEST = require.resolve('jest/bin/jest');
const PLUGIN = dirname(require.resolve('@babel/plugin-transform-modules-commonjs/package.json'));
const FLAGS = ['--ci', '--json', '--runInBand', '--runTestsByPath'];
const [MAJOR = 0, MINOR = 0] = process.versions.node.split('.').map(Number);
const LOADS_ES_MODULES = MAJOR > 24 || (MAJOR === 24 && MINOR >= 9);
const VITEST = here('../../../node_modules/vitest/vitest.mjs');

interface Results {
  readonly testResults: readonly {
    readonly message: string;
    readonly assertionResults: readonly { readonly failureMessages: readonly string[] }[];
  }[];
}

/** Runs these files of the folder; all tests in them have to pass. */
async function expectPassed(
  runner: (files: readonly string[], env: Record<string, string>) => Promise<Ended>,
  files: readonly string[],
): Promise<void> {
  await using site = await startProxiedSite();
  // A runner whose tests fail ends with 1, and says why in what it prints.
  const { stdout, stderr } = await runner(files, { PROXY: site.proxy, SITE: site.http });
  const output = stdout || stderr;
  if (!output.startsWith('{')) throw new Error(`the runner itself failed: ${output}`);
  const { testResults } = JSON.parse(output) as Results;
  const tests = testResults.flatMap(({ message, assertionResults }) =>
    assertionResults.length > 0 ? assertionResults.map((each) => each.failureMessages.join('\n')) : message,
  );
  expect(tests, 'why each test failed').toEqual(Array.from({ length: 2 * files.length }, () => ''));
  site.expectProxied(...Array.from({ length: 2 * files.length }, () => 'http' as const));
}

async function jest(
  environment: string,
  files: readonly string[],
  env: Record<string, string>,
): Promise<Ended> {
  const cache = mkdtempSync(join(tmpdir(), 'socksify-jest-'));
  const config = JSON.stringify({
    rootDir: REALM,
    testEnvironment: environment,
    transform: {},
    cacheDirectory: cache,
    watchman: false,
  });
  const options = ['--experimental-vm-modules', '--no-warnings', JEST, '--config', config];
  const paths = files.map((file) => join(REALM, file));
  try {
    return await runProgram(process.execPath, [...options, ...FLAGS, ...paths], {
      env: { ...process.env, ...env },
    });
  } finally {
    rmSync(cache, { recursive: true, force: true });
  }
}

const vitest = (pool: string, files: readonly string[], env: Record<string, string>): Promise<Ended> =>
  runProgram(process.execPath, [VITEST, 'run', '--config', join(REALM, 'vitest.config.js'), ...files], {
    env: { ...process.env, ...env, NO_COLOR: '1', POOL: pool, VITEST: '' },
  });

test.each(['forks', 'threads', 'vmForks', 'vmThreads'])(
  'agent and dispatcher work in the %s of Vitest',
  async (pool) => {
    await expectPassed((...args) => vitest(pool, ...args), ['agent.test.js', 'fetch.test.js']);
  },
);

test('agent and dispatcher work in the node environment of Jest', async () => {
  await expectPassed((...args) => jest('node', ...args), ['agent.test.js', 'fetch.test.js']);
});

// Before Node 24.9 Jest has no means to load an ES module in a realm synchronously. The guide says what to do then.
test.runIf(LOADS_ES_MODULES)('a test in CommonJS for Jest loads the packages by require()', async () => {
  await expectPassed((...args) => jest('node', ...args), ['require.test.cjs']);
});

test('agent and dispatcher work in the jsdom environment of Jest, which has no fetch', async () => {
  await expectPassed((...args) => jest('jsdom', ...args), ['agent.test.js']);
});

/** A project that has the packages as npm installs them, and the two files that the guide shows. */
function makeBabelProject(): string {
  const project = mkdtempSync(join(tmpdir(), 'socksify-babel-jest-'));
  const modules = join(project, 'node_modules');
  // Copies, because Jest follows links, and compiles everything outside of node_modules.
  for (const name of ['agent', 'core', 'undici'])
    for (const part of ['dist', 'package.json']) {
      const copy = join(modules, '@socksify', name, part);
      cpSync(here(`../../../packages/${name}/${part}`), copy, { recursive: true });
    }
  const base = here('../../../packages/agent/node_modules/agent-base');
  cpSync(base, join(modules, 'agent-base'), { recursive: true, dereference: true });
  mkdirSync(join(modules, '@babel'));
  symlinkSync(PLUGIN, join(modules, '@babel/plugin-transform-modules-commonjs'));
  for (const file of ['agent.test.js', 'fetch.test.js', 'require.test.cjs'])
    cpSync(join(REALM, file), join(project, file));

  const guide = readFileSync(here('../../../docs/guide.md'), 'utf8');
  const files = [...guide.matchAll(/, as (\w+\.config\.json) -->\n```json\n([^`]*)```/g)];
  expect(files.map(([, name]) => name)).toEqual(['babel.config.json', 'jest.config.json']);
  for (const [, name = '', content = ''] of files) writeFileSync(join(project, name), content);
  return project;
}

test('babel-jest compiles the packages with the files that the guide shows, without a flag of Node', async () => {
  const project = makeBabelProject();
  const options = [JEST, '--cacheDirectory', join(project, 'cache'), '--no-watchman', ...FLAGS];
  const run = (files: readonly string[], env: Record<string, string>): Promise<Ended> =>
    runProgram(process.execPath, [...options, ...files], { cwd: project, env: { ...process.env, ...env } });
  try {
    await expectPassed(run, ['agent.test.js', 'fetch.test.js', 'require.test.cjs']);
  } finally {
    rmSync(project, { recursive: true, force: true });
  }
}, 60_000);
