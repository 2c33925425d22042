// Another realm (Jest, vitest's vmThreads), and a fetch that is not Node's.

import { fileURLToPath } from 'node:url';
import { outputOf } from '@socksify/support';
import { beforeAll, expect, test } from 'vitest';
import { undicis } from './combinations.ts';
import { startForFile } from './file-servers.ts';
import { startSite } from './site.ts';
import { startProxy } from './recorded-proxy.ts';

const on = startForFile({ proxy: startProxy, http: () => startSite() });
let url: string;
beforeAll(() => {
  url = `http://127.0.0.1:${on.http.port}/`;
});

const run = async (args: readonly string[]): Promise<string> => {
  on.proxy.requests.length = 0;
  return (await outputOf(process.execPath, ['--no-warnings', ...args])).trim();
};
const inRealm = (code: string): Promise<string> =>
  run([
    '--experimental-vm-modules',
    fileURLToPath(new URL('other-realm.js', import.meta.url)),
    on.proxy.url,
    url,
    code,
  ]);
const inMain = (code: string): Promise<string> =>
  run([
    '--input-type=module',
    '--eval',
    `import { setGlobalDispatcher, SocksDispatcher } from '${new URL('../dist/index.js', import.meta.url).href}';
    const [proxy, url] = ['${on.proxy.url}', '${url}'];
    ${code}`,
  ]);
const proxied = (): string[] => [`127.0.0.1:${on.http.port}`];

test('in a vm context, a dispatcher can be made and used', async () => {
  const code = `const dispatcher = new SocksDispatcher(proxy);
    console.log(await (await fetch(url, { dispatcher })).text());
    await dispatcher.close();`;
  expect(await inRealm(code)).toBe('hello');
  expect(on.proxy.requests).toEqual(proxied());
});

test('in a vm context, setGlobalDispatcher applies to the fetch of Node until it is undone', async () => {
  const code = `const dispatcher = new SocksDispatcher(async () => proxy);
    const undo = setGlobalDispatcher(dispatcher);
    console.log(await (await fetch(url)).text());
    undo();
    console.log(await (await fetch(url)).text());
    await dispatcher.close();`;
  expect(await inRealm(code)).toBe('hello\nhello');
  expect(on.proxy.requests).toEqual(proxied());
});

test('in a vm context with a fetch of its own, setGlobalDispatcher throws', async () => {
  const code = `globalThis.fetch = async () => 'direct';
    try { setGlobalDispatcher(new SocksDispatcher(proxy)); } catch (error) { console.log(error.code); }`;
  expect(await inRealm(code)).toBe('ERR_INVALID_STATE');
});

test('in a vm context without a fetch, setGlobalDispatcher applies to the fetch of Node all the same', async () => {
  const code = `const { fetch: ofNode } = globalThis;
    delete globalThis.fetch;
    setGlobalDispatcher(new SocksDispatcher(proxy));
    console.log(await (await ofNode(url)).text());`;
  expect(await inRealm(code)).toBe('hello');
  expect(on.proxy.requests).toEqual(proxied());
});

test.each([
  ['a polyfill', 'globalThis.fetch = async (input) => new Response(String(input));'],
  ['a function that throws', 'globalThis.fetch = () => { throw new Error("not here"); };'],
  ['a mock that was loaded when undici was', 'await fetch("data:,"); globalThis.fetch = () => undefined;'],
  ['another Headers', 'globalThis.Headers = class Headers {};'],
  ['another Headers, after undici', 'void new Headers(); globalThis.Headers = class Headers extends Map {};'],
  ['another Response', 'globalThis.Response = class Response {};'],
])('setGlobalDispatcher throws where fetch has been replaced: %s', async (_, replace) => {
  const code = `${replace}
    const symbols = () => Object.getOwnPropertySymbols(globalThis).map((symbol) => globalThis[symbol]);
    const dispatcher = new SocksDispatcher(proxy);
    try { setGlobalDispatcher(dispatcher); console.log('no error'); }
    catch (error) { console.log(error.code, symbols().includes(dispatcher)); }`;
  expect(await inMain(code)).toBe('ERR_INVALID_STATE false');
});

test.each<[string, string]>([
  ['a wrapper', 'const own = fetch; globalThis.fetch = (...args) => own(...args);'],
  [
    'an instrumentation that makes a Request first',
    'const own = fetch; globalThis.fetch = async (...args) => own(new Request(...args));',
  ],
  ...[...undicis.keys()]
    .map((name) => import.meta.resolve(name.replace(' ', '')))
    .map((undici, i): [string, string] => [
      `the fetch of an installed undici, case ${i}`,
      `Object.assign(globalThis, await import('${undici}').then(({ fetch, Headers, Request, Response }) =>
          ({ fetch, Headers, Request, Response })));`,
    ]),
])('setGlobalDispatcher accepts a fetch that calls a fetch of undici: %s', async (_, replace) => {
  const code = `${replace}
    setGlobalDispatcher(new SocksDispatcher(proxy));
    console.log(await (await fetch(url)).text());
    process.exit();`;
  expect(await inMain(code)).toBe('hello');
  expect(on.proxy.requests).toEqual(proxied());
});

test('setGlobalDispatcher sends nothing and calls nothing of the program', async () => {
  let requests = 0;
  on.http.server.on('request', () => requests++);
  const code = `const { subscribe } = await import('node:diagnostics_channel');
    let published = 0;
    for (const name of ['create', 'error', 'headers']) subscribe('undici:request:' + name, () => published++);
    setGlobalDispatcher(new SocksDispatcher(() => { throw new Error('called'); }));
    // The look at the global fetch is a fetch of a data URL: when a later one has ended, that one has too.
    await (await fetch('data:,')).text();
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
    console.log(published);`;
  expect([await inMain(code), requests]).toEqual(['0', 0]);
});

test('undoing works in any order, and puts back what was there at first', async () => {
  const code = `
    const symbols = [1, 2].map((n) => Symbol.for('undici.globalDispatcher.' + n));
    const now = () => symbols.map((symbol) => globalThis[symbol]);
    const orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    void new Headers();
    setGlobalDispatcher(new SocksDispatcher(proxy))();
    const before = now();
    for (const order of orders) {
      const dispatchers = [0, 1, 2].map(() => new SocksDispatcher(proxy));
      const undos = dispatchers.map((dispatcher) => setGlobalDispatcher(dispatcher));
      const left = new Set([0, 1, 2]);
      for (const i of order) {
        undos[i]();
        undos[i]();
        left.delete(i);
        const expected = left.size > 0 ? dispatchers[Math.max(...left)] : undefined;
        const right = now().every((found, n) => found === (expected ?? before[n]));
        if (!right) console.log('wrong after', order, i);
      }
    }
    console.log('done');`;
  expect(await inMain(code)).toBe('done');
});
