// Every example, run as its first line says, against the reference server. Names exist for the proxy only.

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { startWeb } from '@socksify/origin';
import type { Web } from '@socksify/origin';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const CA = here('../test/origin/certificate/cert.pem');

let web: Web;
let server: SocksServer;
let proxy: string;
let http: string;
let https: string;

beforeEach(async () => {
  web = await startWeb();
  server = await startServer({ names: { 'origin.test': '127.0.0.1' }, users: 'any', allowAnonymous: true });
  proxy = server.url('socks5');
  http = `http://origin.test:${web.http}/`;
  https = `https://origin.test:${web.https}/`;
});
afterEach(async () => {
  await server.close();
  await web.close();
});

async function run(name: string, args: readonly string[], env: Record<string, string> = {}): Promise<string> {
  const options = { env: { ...process.env, NODE_EXTRA_CA_CERTS: CA, ...env }, timeout: 10_000 };
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [here(name), ...args], options);
  expect(stderr).toBe('');
  return stdout;
}

/** What the proxy was asked for: always the name. */
function asked(): string[] {
  return server.log.map(({ form, atyp, host }) => `${form} ${atyp} ${host}`);
}

const NAME = '5 name origin.test';

test('http-agent.js', async () => {
  const output = await run('http-agent.js', [proxy, http, https]);
  expect(output).toContain(`${http} 200`);
  expect(output).toContain(`${https} 200`);
  expect(asked()).toEqual([NAME, NAME]);
});

test.each(['fetch-dispatcher.js', 'fetch-global.js', 'axios.js', 'got.js'])('%s', async (name) => {
  for (const url of [http, https]) expect(await run(name, [proxy, url])).toBe('200 hello\n');
  expect(asked()).toEqual([NAME, NAME]);
});

test('environment.js', async () => {
  expect(await run('environment.js', [https], { SOCKS_PROXY: server.url('socks4a') })).toMatch(
    /hello\s*hello/,
  );
  expect(asked()).toEqual(['4a name origin.test', '4a name origin.test']);
});

test('tor-isolation.js', async () => {
  expect(await run('tor-isolation.js', [`127.0.0.1:${server.port}`, http])).toBe('200 hello\n200 hello\n');
  const [first, second] = server.log.map(({ user }) => user);
  expect(first).toMatch(/^[0-9a-f-]{36}$/);
  expect(second).toMatch(/^[0-9a-f-]{36}$/);
  expect(first).not.toBe(second);
});

test('websocket-ws.js', async () => {
  const sockets = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  sockets.on('connection', (socket) =>
    socket.on('message', (data: Buffer) => socket.send(`${data.toString()} yourself`)),
  );
  await once(sockets, 'listening');
  const { port } = sockets.address() as { port: number };
  expect(await run('websocket-ws.js', [proxy, `ws://origin.test:${port}/`])).toBe('hello yourself\n');
  sockets.close();
});

test('raw-tunnel.js', async () => {
  expect(await run('raw-tunnel.js', [proxy, 'origin.test', String(web.http)])).toContain('hello');
  expect(asked()).toEqual([NAME]);
});

test('every example is run here, and none is longer than thirty lines', () => {
  const tests = readFileSync(here('examples.test.ts'), 'utf8');
  for (const name of readdirSync(here('.')).filter((file) => file.endsWith('.js'))) {
    expect(tests, name).toContain(`'${name}'`);
    expect(readFileSync(here(name), 'utf8').trimEnd().split('\n').length, name).toBeLessThanOrEqual(30);
  }
});
