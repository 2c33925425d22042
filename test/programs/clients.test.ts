// Programs and packages of others, unchanged, started by the command. The proxy wants a password and alone
// knows the site's name; the site also accepts direct connections, and counts them.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { dirname, join } from 'node:path';
import { Server as SocketServer } from 'socket.io';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { CERTIFICATE_FILE } from '@socksify/support';
import { startNetwork } from '../../packages/socksify/test/network.ts';
import type { Network } from '../../packages/socksify/test/network.ts';
import { COMMAND, execute } from '../../packages/socksify/test/run-program.ts';
import type { Ended } from '@socksify/support';

const here = (path: string): string => join(import.meta.dirname, path);
// Inside this folder, so that its packages are found.
const folder = mkdtempSync(here('.run-'));
let network: Network;
/** A site that speaks WebSocket and socket.io. */
const sockets = createServer((_request, response) => response.end('hello'));
const ports: number[] = [];

beforeAll(async () => {
  network = await startNetwork();
  const web = new WebSocketServer({ noServer: true });
  sockets.on('upgrade', (request, socket, head) => {
    if (request.url?.startsWith('/socket.io')) return;
    web.handleUpgrade(request, socket, head, (client) => client.send('hello'));
  });
  new SocketServer(sockets).on('connection', (client) => client.emit('greeting', 'hello'));
  sockets.on('connection', ({ remotePort = 0 }) => ports.push(remotePort));
  await new Promise<void>((resolve) => sockets.listen(0, '::', resolve));
});
afterAll(async () => {
  sockets.closeAllConnections();
  sockets.close();
  await network.close();
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  network.proxy.log.length = 0;
});

function file(name: string, source: string): string {
  const path = join(folder, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, source);
  return path;
}

const environment = (): Record<string, string> => ({
  SOCKS_PROXY: network.url,
  NODE_EXTRA_CA_CERTS: CERTIFICATE_FILE,
  HTTP: `http://origin.test:${network.web.http}/`,
  HTTPS: `https://origin.test:${network.web.https}/`,
  SOCKETS: `http://origin.test:${(sockets.address() as AddressInfo).port}`,
  HOME: folder,
});

/** Through the command, and with no connection of its own. */
async function socksify(
  args: readonly string[],
  env: Record<string, string> = {},
  cwd = folder,
): Promise<Ended> {
  const outgoing = (): Set<number | undefined> =>
    new Set(network.proxy.log.map(({ outgoingPort }) => outgoingPort));
  const [before, hits] = [network.direct(), ports.length];
  const ended = await execute(process.execPath, [COMMAND, ...args], { ...environment(), ...env }, { cwd });
  expect(network.direct()).toBe(before);
  expect(ports.slice(hits).filter((port) => !outgoing().has(port))).toEqual([]);
  return ended;
}

describe('the command sends through the proxy', () => {
  const PROGRAMS: Readonly<Record<string, string>> = {
    axios: `import axios from 'axios';
      for (const url of [process.env.HTTP, process.env.HTTPS]) console.log((await axios.get(url)).data);`,
    got: `import got from 'got';
      for (const url of [process.env.HTTP, process.env.HTTPS]) console.log((await got(url)).body);`,
    'node-fetch': `import fetch from 'node-fetch';
      for (const url of [process.env.HTTP, process.env.HTTPS]) console.log(await (await fetch(url)).text());`,
    superagent: `import superagent from 'superagent';
      for (const url of [process.env.HTTP, process.env.HTTPS])
        console.log(String((await superagent.get(url).buffer(true).parse(superagent.parse.text)).text));`,
    agentkeepalive: `import Agent from 'agentkeepalive';
      import http from 'node:http';
      import https from 'node:https';
      import { text } from 'node:stream/consumers';
      const get = (module, url, agent) => new Promise((resolve, reject) => module.get(url, { agent }, resolve).on('error', reject));
      console.log(await text(await get(http, process.env.HTTP, new Agent())));
      console.log(await text(await get(https, process.env.HTTPS, new Agent.HttpsAgent())));
      process.exit();`,
    ws: `import WebSocket from 'ws';
      for (let i = 0; i < 2; i++) await new Promise((resolve, reject) => {
        const socket = new WebSocket(process.env.SOCKETS).on('error', reject);
        socket.on('message', (data) => (console.log(String(data)), socket.close())).on('close', resolve);
      });`,
    'socket.io-client': `import { io } from 'socket.io-client';
      for (const transports of [['polling'], ['websocket']]) await new Promise((resolve, reject) => {
        const socket = io(process.env.SOCKETS, { transports, forceNew: true }).on('connect_error', reject);
        socket.on('greeting', (text) => (console.log(text), socket.close(), resolve()));
      });`,
    'a proxy of Fastify': `import Fastify from 'fastify';
      import proxy from '@fastify/http-proxy';
      for (const options of [{}, { http: { agents: {} } }]) {
        const app = Fastify();
        app.register(proxy, { upstream: process.env.HTTP, replyOptions: { rewriteRequestHeaders: (_, { host, ...rest }) => rest }, ...options });
        console.log((await app.inject('/')).body);
        await app.close();
      }`,
  };
  test.each(Object.entries(PROGRAMS))('%s', async (name, source) => {
    const program = file(`${name.replaceAll(/\W/g, '-')}.mjs`, source);
    const ended = await socksify([process.execPath, program]);
    expect(ended).toEqual({ stdout: 'hello\nhello\n', stderr: '', status: 0, signal: null });
    expect(new Set(network.proxy.log.map(({ host }) => host))).toEqual(new Set(['origin.test']));
  });
});

describe('started by the command', () => {
  const bin = (name: string): string => here(`node_modules/.bin/${name}`);
  const FETCH = `const text: string = await (await fetch(process.env['HTTP'] as string)).text();\n`;

  test('tsx runs TypeScript', async () => {
    const ended = await socksify([bin('tsx'), file('program.mts', `${FETCH}console.log(text);`)]);
    expect(ended).toMatchObject({ stdout: 'hello\n', status: 0 });
  });

  test('Vitest runs its tests, in forks and in threads', async () => {
    file(
      'vitest/site.test.ts',
      `import { expect, test } from 'vitest'; test('site', async () => { ${FETCH} expect(text).toBe('hello'); });`,
    );
    file('vitest/vitest.config.mjs', 'export default {};'); // else it takes the one of this repository
    for (const pool of ['forks', 'threads']) {
      const ended = await socksify([bin('vitest'), 'run', '--root', join(folder, 'vitest'), '--pool', pool]);
      expect(ended.status, ended.stdout + ended.stderr).toBe(0);
    }
    expect(network.proxy.log).toHaveLength(2);
  });

  test('Jest runs its tests, with a fetch of another realm', async () => {
    file(
      'jest/site.test.js',
      `test('site', async () => { expect(await (await fetch(process.env.HTTP)).text()).toBe('hello'); });`,
    );
    file('jest/package.json', '{ "jest": { "testEnvironment": "node" } }');
    const ended = await socksify([bin('jest'), '--rootDir', join(folder, 'jest'), '--no-watchman']);
    expect(ended.status, ended.stderr).toBe(0);
    expect(network.proxy.log).toHaveLength(1);
  });

  test('Next.js builds a page with what its own fetch gives', async () => {
    file('next/package.json', '{ "private": true }');
    file('next/next.config.mjs', 'export default {};');
    file('next/app/layout.jsx', 'export default ({ children }) => <html><body>{children}</body></html>;');
    file(
      'next/app/page.jsx',
      `export const dynamic = 'force-static';
       export default async () => <p>{'site: ' + (await (await fetch(process.env.HTTP)).text())}</p>;`,
    );
    const cwd = join(folder, 'next');
    const ended = await socksify([bin('next'), 'build', '--webpack'], { NEXT_TELEMETRY_DISABLED: '1' }, cwd);
    expect(ended.status, ended.stdout + ended.stderr).toBe(0);
    const { readFileSync } = await import('node:fs');
    expect(readFileSync(join(cwd, '.next/server/app/index.html'), 'utf8')).toContain('site: hello');
    expect(network.proxy.log.length).toBeGreaterThan(0);
  }, 120_000);
});
