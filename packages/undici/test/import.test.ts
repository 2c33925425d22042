// In a process of its own: what importing the built package changes, and how Node's Agent is found.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { undicis } from './cells.ts';

const index = new URL('../dist/index.js', import.meta.url).href;
const run = async (code: string, env: Record<string, string> = {}): Promise<string> => {
  const args = ['--input-type=module', '--no-warnings', '--eval', code];
  const { stdout } = await promisify(execFile)(process.execPath, args, { env: { PATH: '', ...env } });
  return stdout.trim();
};
const KEYS = `Object.getOwnPropertySymbols(globalThis).map(String).filter((name) => name.includes('undici')).length`;

test('importing changes nothing global', async () => {
  expect(await run(`await import('${index}'); console.log(${KEYS})`)).toBe('0');
});

test.each(
  [...undicis.keys()].flatMap((name) =>
    ['before', 'after'].map((order) => [name, order, import.meta.resolve(name.replace(' ', ''))] as const),
  ),
)('setGlobalDispatcher reaches every fetch, with %s imported %s it', async (_, order, undici) => {
  const steps = [
    `const { fetch: npmFetch } = await import('${undici}');`,
    `const { setGlobalDispatcher, SocksDispatcher } = await import('${index}');
    const undo = setGlobalDispatcher(new SocksDispatcher('socks5://127.0.0.1:1'));`,
  ];
  // Both ports refuse: what comes by the proxy says so, what goes directly would have another error.
  const code = `${(order === 'before' ? steps : steps.toReversed()).join('\n')}
    const code = (fetch) => fetch('http://127.0.0.1:3/').catch((error) => error.cause.code);
    const set = [await code(fetch), await code(npmFetch)];
    undo();
    console.log(...set, await code(fetch), await code(npmFetch));`;
  const through = 'ERR_SOCKS_PROXY_UNREACHABLE';
  expect(await run(code)).toBe(`${through} ${through} ECONNREFUSED ECONNREFUSED`);
});

test('works from require()', async () => {
  const code = `import { createRequire } from 'node:module';
    console.log(typeof createRequire(import.meta.url)('${new URL(index).pathname}').SocksDispatcher)`;
  expect(await run(code)).toBe('function');
});

test("finds Node's Agent behind the environment agent of Node itself", async () => {
  const code = `const { SocksDispatcher } = await import('${index}');
    console.log(new SocksDispatcher('socks5://127.0.0.1:1').closed)`;
  expect(await run(code, { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: 'http://127.0.0.1:1' })).toBe('false');
});

test('says what to do when the global dispatcher has no Agent in it', async () => {
  const code = `void globalThis.Headers;
    for (const version of [1, 2]) globalThis[Symbol.for('undici.globalDispatcher.' + version)] = { dispatch() {} };
    const { SocksDispatcher } = await import('${index}');
    try { new SocksDispatcher('socks5://127.0.0.1:1') } catch (error) { console.log(error.code, error.message) }`;
  expect(await run(code)).toMatch(/^ERR_INVALID_STATE .*\{ Agent \}/);
});
