// Set-ups in which a SOCKS proxy was configured and requests nevertheless were direct, with status 200. Here each is
// sent through the proxy, or ends with an error that names the variable.

import { afterAll, beforeAll, expect, test } from 'vitest';
import { startNetwork } from './network.ts';
import type { Network } from './network.ts';
import { COMMAND, execute, results, run } from './run-program.ts';

let network: Network;
beforeAll(async () => {
  network = await startNetwork();
});
afterAll(() => network.close());

const [major = 0] = process.versions.node.split('.').map(Number);

/** Through the proxy, with no connection to the site but the proxy's. */
async function expectProxied(
  source: string,
  names: readonly string[],
  env: Record<string, string | undefined> = {},
): Promise<void> {
  const before = network.direct();
  const found = results(await run(network, `${source}\nprocess.exit();`, env));
  expect(found).toEqual(Object.fromEntries(names.map((name) => [name, 'hello'])));
  expect(network.direct()).toBe(before);
}
const FETCH = `await attempt('fetch', async () => (await fetch(http1)).text());`;

test('fetch is proxied after undici 6 has set a global dispatcher, which newer Nodes do not read', () =>
  expectProxied(
    `import { Agent, setGlobalDispatcher, fetch as own } from 'undici6';
     setGlobalDispatcher(new Agent());
     await attempt('own', async () => (await own(http1)).text());
     ${FETCH}`,
    ['own', 'fetch'],
  ));

test('fetch is proxied after a program has set a dispatcher under the symbol of another undici', () =>
  expectProxied(
    `import { Agent } from 'undici7';
     globalThis[Symbol.for('undici.globalDispatcher.2')] = new Agent();
     ${FETCH}`,
    ['fetch'],
  ));

test('http.get is proxied by a SOCKS URL in HTTP_PROXY', () =>
  expectProxied(
    `import http from 'node:http';
     await attempt('http', () => new Promise((resolve, reject) => http.get(http1, resolve).on('error', reject)).then(read));`,
    ['http'],
    { SOCKS_PROXY: undefined, HTTP_PROXY: network.url },
  ));

test('fetch is proxied by ALL_PROXY', () =>
  expectProxied(FETCH, ['fetch'], { SOCKS_PROXY: undefined, ALL_PROXY: network.url }));

// undici 8 needs Node 22.
const UNDICI_8 = `import { request } from 'undici8';
  await attempt('undici', async () => (await request(http1)).body.text());`;
test(`${major >= 22 ? 'an undici 8 that is imported' : 'fetch'} is proxied with NODE_USE_ENV_PROXY set`, () =>
  expectProxied(major >= 22 ? UNDICI_8 + FETCH : FETCH, major >= 22 ? ['undici', 'fetch'] : ['fetch'], {
    NODE_USE_ENV_PROXY: '1',
  }));

test('fetch is proxied when it gets an agent, which it ignores', () =>
  expectProxied(
    `import http from 'node:http';
     await attempt('fetch', async () => (await fetch(http1, { agent: new http.Agent() })).text());`,
    ['fetch'],
  ));

test('a value that is no URL ends the process, and the error names the variable', async () => {
  const before = network.direct();
  for (const name of ['SOCKS_PROXY', 'ALL_PROXY', 'http_proxy', 'HTTPS_PROXY']) {
    const ended = await run(network, FETCH, { SOCKS_PROXY: undefined, [name]: 'not a proxy' });
    expect(ended).toMatchObject({ status: 1, stdout: '' });
    expect(ended.stderr).toContain(name);
  }
  expect(network.direct()).toBe(before);
});

test('NODE_USE_ENV_PROXY beside an HTTP proxy is refused by the preload, and removed by the command', async () => {
  const env = { NODE_USE_ENV_PROXY: '1', HTTP_PROXY: 'http://127.0.0.1:9', http_proxy: 'http://127.0.0.1:9' };
  const ended = await run(network, FETCH, env);
  expect(ended).toMatchObject({ status: 1, stdout: '' });
  expect(ended.stderr).toContain('NODE_USE_ENV_PROXY');
  const source = `fetch('http://origin.test:${network.web.http}/').then((r) => r.text()).then(console.log)`;
  const args = [COMMAND, '--proxy', network.url, process.execPath, '--eval', source];
  expect(await execute(process.execPath, args, env)).toMatchObject({ stdout: 'hello\n', status: 0 });
});
