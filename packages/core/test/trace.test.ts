// What a program can observe of a tunnel: diagnostics channels and NODE_DEBUG.

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { freePort, rejection, runProgram } from '@socksify/support';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { connect } from '../src/index.ts';
import type { TunnelMessage } from '../src/index.ts';

let server: SocksServer;
let destination: SocksServer; // anything that listens
beforeEach(async () => {
  destination = await startServer();
  server = await startServer({ names: { 'origin.test': '127.0.0.1' }, users: { alice: 'secret' } });
});
afterEach(async () => {
  await server.close();
  await destination.close();
});

const EVENTS = ['start', 'end', 'error'] as const;

async function watched(run: () => Promise<unknown>): Promise<[string, TunnelMessage][]> {
  const seen: [string, TunnelMessage][] = [];
  const listeners = EVENTS.map((event) => {
    const listener = (message: unknown) => void seen.push([event, message as TunnelMessage]);
    subscribe(`socksify:tunnel:${event}`, listener);
    return () => unsubscribe(`socksify:tunnel:${event}`, listener);
  });
  try {
    await run();
  } finally {
    for (const stop of listeners) stop();
  }
  return seen;
}

const url = () => server.url('socks5', { username: 'alice', password: 'secret' });

test('a tunnel is announced when it starts and when it is open, with the duration of each phase', async () => {
  const address = { host: 'origin.test', port: destination.port };
  const seen = await watched(async () => (await connect(url(), address)).socket.destroy());
  const about = {
    proxies: [`socks5://127.0.0.1:${server.port}`],
    destination: `origin.test:${destination.port}`,
  };
  expect(seen).toMatchObject([
    ['start', { ...about, phase: 'dial' }],
    ['end', { ...about, phase: 'request', bound: { host: '127.0.0.1' } }],
  ]);
  const durations: TunnelMessage['durations'] = seen[1]?.[1].durations ?? {};
  expect(Object.keys(durations).toSorted()).toEqual(['authentication', 'dial', 'greeting', 'request']);
  expect(Object.values(durations).every((duration) => duration >= 0 && duration < 5000)).toBe(true);
  expect(JSON.stringify(seen)).not.toContain('secret');
});

test('a tunnel that fails is announced with its error', async () => {
  const seen = await watched(() => rejection(connect(url(), { host: 'unknown.test', port: 80 })));
  expect(seen).toMatchObject([
    ['start', {}],
    ['error', { phase: 'request', error: { code: 'ERR_SOCKS_HOST_UNREACHABLE' } }],
  ]);
});

test('a direct connection is announced without proxies', async () => {
  const seen = await watched(async () => {
    (await connect(() => undefined, { host: '127.0.0.1', port: destination.port })).socket.destroy();
  });
  expect(seen.map(([event, { proxies }]) => [event, proxies])).toEqual([
    ['start', []],
    ['end', []],
  ]);
});

test('NODE_DEBUG=socksify prints the same, and no password', async () => {
  const core = new URL('../dist/index.js', import.meta.url).href;
  const program = `import { connect } from ${JSON.stringify(core)};
    const [proxy, port] = process.argv.slice(1);
    (await connect(proxy, { host: 'origin.test', port: Number(port) })).socket.destroy();
    await connect(proxy, { host: 'unknown.test', port: 80 }).catch(() => {});`;
  const { stderr } = await runProgram(
    process.execPath,
    ['--input-type=module', '-e', program, url(), String(destination.port)],
    { env: { ...process.env, NODE_DEBUG: 'socksify' } },
  );
  const route = `socks5://127.0.0.1:${server.port} > origin.test:${destination.port}`;
  expect(stderr).toContain(`start ${route} dial`);
  expect(stderr).toContain(`end ${route} request`);
  expect(stderr).toMatch(/error .* > unknown\.test:80 request .*ERR_SOCKS_HOST_UNREACHABLE/s);
  expect(stderr).not.toContain('secret');
});

test('NODE_DEBUG=socksify prints what became of each proxy of a group', async () => {
  const core = new URL('../dist/index.js', import.meta.url).href;
  const program = `import { connect, proxyGroup } from ${JSON.stringify(core)};
    const [proxy, dead, port] = process.argv.slice(1);
    const group = proxyGroup([dead, proxy]);
    (await connect(group, { host: 'origin.test', port: Number(port) })).socket.destroy();`;
  const dead = `socks5://127.0.0.1:${await freePort()}`;
  const { stderr } = await runProgram(
    process.execPath,
    ['--input-type=module', '-e', program, url(), dead, String(destination.port)],
    { env: { ...process.env, NODE_DEBUG: 'socksify' } },
  );
  expect(stderr).toMatch(new RegExp(`tried ${dead}: error \\{.*\\} .*ECONNREFUSED`));
  expect(stderr).toMatch(new RegExp(`tried socks5://127\\.0\\.0\\.1:${server.port}: tunnel \\{"dial":`));
  expect(stderr).not.toContain('secret');
});
