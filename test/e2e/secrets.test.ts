// A password is in nothing that an agent or a dispatcher shows, and in nothing that Node prints with all of its debug
// output on.

import { spawn } from 'node:child_process';
import { request } from 'node:http';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { inspect } from 'node:util';
import { SocksAgent } from '@socksify/agent';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { socksConnector, SocksDispatcher } from '@socksify/undici';
import { startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const SECRET = 'p@ss/correct-horse%42';
const FORMS: readonly string[] = [
  'correct-horse',
  encodeURIComponent(SECRET),
  Buffer.from(SECRET).toString('base64').slice(0, -4),
  Buffer.from(`user:${SECRET}`).toString('base64').slice(0, -4),
  Buffer.from(SECRET).toString('hex'),
];

function expectNoSecret(output: string): void {
  for (const form of FORMS) expect(output.includes(form), form).toBe(false);
}

let web: Site;
let server: SocksServer;
let proxy: string;
beforeAll(async () => {
  web = await startSite();
  server = await startServer({ names: { 'origin.test': '127.0.0.1' }, users: { user: SECRET } });
  proxy = server.url('socks5', { username: 'user', password: SECRET });
});
afterAll(async () => {
  await server.close();
  await web.close();
});

const printed = (value: unknown) => inspect(value, { depth: 20, showHidden: true });

describe('no secret is printed', () => {
  test('with an agent, unused and with a socket in its pool', async () => {
    const agent = new SocksAgent(proxy, { keepAlive: true });
    expectNoSecret(printed(agent));
    await new Promise<void>((resolve, reject) => {
      const sent = request(`http://origin.test:${web.http}/`, { agent }, (response) => {
        expectNoSecret(printed(response));
        response.resume().on('end', resolve);
      });
      sent.on('error', reject).end();
      expectNoSecret(printed(sent));
    });
    expectNoSecret(printed(agent) + JSON.stringify(agent.options) + Object.keys(agent.freeSockets).join(''));
    agent.destroy();
  });

  test('with a dispatcher, unused and with a socket in its pool', async () => {
    const dispatcher = new SocksDispatcher(proxy);
    expectNoSecret(printed(dispatcher) + JSON.stringify(dispatcher));
    const response = await fetch(`http://origin.test:${web.http}/`, { dispatcher });
    expect(await response.text()).toBe('hello');
    expectNoSecret(printed(dispatcher) + printed(response));
    await dispatcher.close();
  });

  test('with a connector', () => {
    expectNoSecret(printed(socksConnector(proxy)));
  });

  test('with the errors of an agent and of fetch', async () => {
    const agent = new SocksAgent(proxy);
    const failed = await new Promise((resolve) => {
      request(`http://unknown.test:${web.http}/`, { agent }).on('error', resolve).end();
    });
    expect(failed).toMatchObject({ code: 'ERR_SOCKS_HOST_UNREACHABLE' });
    const dispatcher = new SocksDispatcher(proxy);
    const rejected = await fetch(`http://unknown.test:${web.http}/`, { dispatcher }).catch(
      (error: unknown) => error,
    );
    expect(rejected).toMatchObject({ cause: { code: 'ERR_SOCKS_HOST_UNREACHABLE' } });
    expectNoSecret(printed(failed) + printed(rejected) + JSON.stringify([failed, rejected]));
    await dispatcher.close();
  });
});

const PROGRAM = `
  import http from 'node:http';
  import { SocksAgent } from '@socksify/agent';
  import { connect } from '@socksify/core';
  import { SocksDispatcher } from '@socksify/undici';
  // Given backwards, so that nothing that prints the arguments is taken for a leak.
  const proxy = process.argv[1].split('').reverse().join('');
  const port = Number(process.argv[2]);
  for (const host of ['origin.test', 'unknown.test']) {
    await connect(proxy, { host, port }).then(({ socket }) => socket.destroy(), console.error);
    const agent = new SocksAgent(proxy);
    await new Promise((resolve) => {
      http.get({ host, port, agent }, (response) => response.resume().on('end', resolve)).on('error', (error) => {
        console.error(error);
        resolve();
      });
    });
    const dispatcher = new SocksDispatcher(proxy);
    await fetch('http://' + host + ':' + port, { dispatcher }).then((response) => response.text(), console.error);
    console.error(agent, dispatcher);
  }
`;

test('no secret is printed by NODE_DEBUG=*', async () => {
  const backwards = proxy.split('').toReversed().join('');
  const child = spawn(
    process.execPath,
    ['--input-type=module', '--eval', PROGRAM, backwards, String(web.http)],
    {
      cwd: fileURLToPath(new URL('.', import.meta.url)),
      env: { PATH: process.env['PATH'] ?? '', NODE_DEBUG: '*' },
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  // The debug output is there, and so are the three failures.
  expect(stderr).toMatch(/^NET \d+: /m);
  expect(stderr).toMatch(/^HTTP \d+: /m);
  expect(
    stderr.match(/unknown\.test:\d+ through socks5:\/\/127\.0\.0\.1:\d+: the host/g)?.length,
  ).toBeGreaterThan(2);
  expectNoSecret(stdout);
  expectNoSecret(stderr);
});
