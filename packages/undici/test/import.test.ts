// In a process of its own: what importing the built package changes, and how Node's Agent is found.

import { outputOf } from '@socksify/support';
import { describe, expect, test } from 'vitest';
import { undicis } from './combinations.ts';

const index = new URL('../dist/index.js', import.meta.url).href;
const run = async (code: string, env: Record<string, string> = {}): Promise<string> => {
  const args = ['--input-type=module', '--no-warnings', '--eval', code];
  return (await outputOf(process.execPath, args, { env: { PATH: '', ...env } })).trim();
};
const KEYS = `Object.getOwnPropertySymbols(globalThis).map(String).filter((name) => name.includes('undici')).length`;

test('importing the package changes nothing global', async () => {
  expect(await run(`await import('${index}'); console.log(${KEYS})`)).toBe('0');
});

test.each(
  [...undicis.keys()].flatMap((name) =>
    ['before', 'after'].map((order) => [name, order, import.meta.resolve(name.replace(' ', ''))] as const),
  ),
)('setGlobalDispatcher applies to every fetch, with %s imported %s it', async (_, order, undici) => {
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

test('require() loads the package', async () => {
  const code = `import { createRequire } from 'node:module';
    console.log(typeof createRequire(import.meta.url)('${new URL(index).pathname}').SocksDispatcher)`;
  expect(await run(code)).toBe('function');
});

test("SocksDispatcher finds Node's Agent behind the environment agent of Node itself", async () => {
  const code = `const { SocksDispatcher } = await import('${index}');
    console.log(new SocksDispatcher('socks5://127.0.0.1:1').closed)`;
  expect(await run(code, { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: 'http://127.0.0.1:1' })).toBe('false');
});

test('SocksDispatcher says what to do when the global dispatcher has no Agent in it', async () => {
  const code = `void globalThis.Headers;
    for (const version of [1, 2]) globalThis[Symbol.for('undici.globalDispatcher.' + version)] = { dispatch() {} };
    const { SocksDispatcher } = await import('${index}');
    try { new SocksDispatcher('socks5://127.0.0.1:1') } catch (error) { console.log(error.code, error.message) }`;
  expect(await run(code)).toMatch(/^ERR_INVALID_STATE .*\{ Agent \}/);
});

describe('the Agent that a dispatcher without { Agent } is built on', () => {
  const whose = `const { SocksDispatcher } = await import('${index}');
    try { new SocksDispatcher('socks5://127.0.0.1:1').dispatch({}, null) } catch ({ stack }) {
      console.log(stack.includes('node:internal/deps/undici') ? 'of Node' : stack);
    }`;
  const copies = [...undicis.keys()].map(
    (name) => [name, import.meta.resolve(name.replace(' ', ''))] as const,
  );

  // undici 7 loads Node's undici itself, as soon as its own Agent is in the place: see below.
  const early = copies.filter(([name]) => name !== 'undici 7');

  test.each(early)('is the one inside Node, though %s was loaded first', async (_, undici) => {
    expect(await run(`await import('${undici}'); ${whose}`)).toBe('of Node');
  });

  test.each(early)('leaves the dispatcher of %s in its place', async (_, undici) => {
    const code = `const { getGlobalDispatcher } = await import('${undici}');
      const before = getGlobalDispatcher();
      ${whose}
      console.log(getGlobalDispatcher() === before);`;
    expect(await run(code)).toBe('of Node\ntrue');
  });

  test('is found though Headers has been replaced', async () => {
    expect(await run(`globalThis.Headers = class {}; ${whose}`)).toBe('of Node');
  });

  test('is found though somebody prepares stack traces, or wants none', async () => {
    expect(
      await run(`Error.stackTraceLimit = 0; ${whose.replace('try {', 'Error.stackTraceLimit = 9; try {')}`),
    ).toBe('of Node');
  });

  test.each(copies)('is that of %s when the Agent of Node cannot be found any more', async (_, undici) => {
    // Node's undici was loaded while another one was in its place, so its Agent cannot be found.
    const code = `await import('${undici}');
      void new Headers();
      const { SocksDispatcher } = await import('${index}');
      const dispatcher = new SocksDispatcher('socks5://127.0.0.1:1');
      console.log(await fetch('http://127.0.0.1:3/', { dispatcher }).catch((error) => error.cause.code));`;
    expect(await run(code)).toBe('ERR_SOCKS_PROXY_UNREACHABLE');
  });
});

test('constructing publishes nothing, and calls no function of the caller', async () => {
  const code = `const { subscribe } = await import('node:diagnostics_channel');
    const seen = [];
    const names = ['request:create', 'request:bodySent', 'request:headers', 'request:trailers', 'request:error',
      'client:beforeConnect', 'client:connected', 'client:connectError', 'client:sendHeaders'];
    for (const name of names) subscribe('undici:' + name, () => seen.push(name));
    const { SocksDispatcher } = await import('${index}');
    const call = () => seen.push('called');
    const interceptors = { Agent: [(dispatch) => (call(), dispatch)], Client: [(dispatch) => (call(), dispatch)] };
    for (const options of [{}, { maxRedirections: 3 }, { interceptors }, { factory: call }, { connections: 2 }]) {
      const dispatcher = new SocksDispatcher('socks5://127.0.0.1:1', options);
      await (options.factory ? dispatcher.close() : dispatcher.destroy());
    }
    // What is published comes in the turns in which the Agents are destroyed.
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
    console.log(seen.join() || 'nothing');`;
  expect(await run(code)).toBe('nothing');
});

test('a request publishes once, and says how it ended', async () => {
  const code = `const { subscribe } = await import('node:diagnostics_channel');
    const seen = [];
    for (const name of ['create', 'error']) subscribe('undici:request:' + name, ({ request }) => seen.push(name + request.path));
    const { SocksDispatcher } = await import('${index}');
    const dispatcher = new SocksDispatcher('socks5://127.0.0.1:1');
    await fetch('http://127.0.0.1:3/page', { dispatcher }).catch(() => {});
    console.log(seen.join());`;
  expect(await run(code)).toBe('create/page,error/page');
});
