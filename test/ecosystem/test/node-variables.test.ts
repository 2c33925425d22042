// What Node itself does with variables that name a SOCKS proxy, without any package. The README says this of Node, so
// this test fails when another version of Node does something else.

import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { run } from './proxied-site.ts';

const [MAJOR = 0] = process.versions.node.split('.').map(Number);

let site: Site;
let server: SocksServer;

beforeAll(async () => {
  site = await startSite();
  server = await startServer({ names: { localhost: '127.0.0.1' } });
});
afterAll(async () => {
  await server.close();
  await site.close();
});

const CLIENTS = {
  fetch: `fetch(process.argv[1]).then((response) => response.text()).then(console.log);`,
  'http.get': `require('node:http').get(process.argv[1], (response) => response.pipe(process.stdout));`,
};

/** The path of one request: whether it came through the proxy, or that the program ended without it. */
async function pathOf(client: keyof typeof CLIENTS, variables: Record<string, string>): Promise<string> {
  const before = server.log.length;
  const url = `http://localhost:${site.http}/`;
  const args = ['--no-warnings', '--eval', CLIENTS[client], url];
  const output = await run(process.execPath, args, variables).catch(() => 'ended');
  if (output !== 'hello') return output;
  return server.log.length > before ? 'through the proxy' : 'direct';
}

const direct = { fetch: 'direct', 'http.get': 'direct' };
const ended = { fetch: 'ended', 'http.get': 'ended' };
const fetchOnly = { fetch: 'through the proxy', 'http.get': 'direct' };
const FLAG = { NODE_USE_ENV_PROXY: '1' };

test.each([
  ['HTTP_PROXY', 'socks5', {}, direct],
  ['ALL_PROXY', 'socks5', {}, direct],
  ['ALL_PROXY', 'socks5', FLAG, direct],
  ['HTTP_PROXY', 'socks5', FLAG, MAJOR < 22 ? direct : MAJOR < 24 ? ended : fetchOnly],
  ['HTTP_PROXY', 'socks5h', FLAG, MAJOR < 22 ? direct : ended],
  ['HTTP_PROXY', 'socks4', FLAG, MAJOR < 22 ? direct : ended],
])('Node reads %s=%s:// with %j as the README says', async (name, scheme, flag, paths) => {
  const variables = { ...flag, [name]: `${scheme}://127.0.0.1:${server.port}` };
  expect(await pathOf('fetch', variables)).toBe(paths.fetch);
  expect(await pathOf('http.get', variables)).toBe(paths['http.get']);
});
