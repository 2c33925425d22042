// Connections on standby: used by the next tunnel, and let go in silence.

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { startScript, startServer } from '@socksify/server';
import type { ScriptStep, SocksServer } from '@socksify/server';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { parseProxy, SocksClient } from '../src/index.ts';
import type { ClientOptions, ProxyRoute, Tunnel } from '../src/index.ts';

let port: number;
const origin = createServer((socket) => socket.on('error', () => {}).pipe(socket));
beforeAll(async () => {
  await once(origin.listen(0, '127.0.0.1'), 'listening');
  ({ port } = origin.address() as AddressInfo);
});
afterAll(() => origin.close());

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function proxy(options = {}): Promise<SocksServer> {
  const server = await startServer(options);
  closing.push(() => server.close());
  return server;
}

function client(route: ProxyRoute, options: ClientOptions = { standby: 2 }): SocksClient {
  const made = new SocksClient(route, options);
  closing.push(() => made.close());
  return made;
}

const here = () => ({ host: '127.0.0.1', port });

async function use({ socket }: Tunnel): Promise<void> {
  socket.end('hello');
  const [data] = (await once(socket, 'data')) as [Buffer];
  expect(data.toString()).toBe('hello');
  socket.destroy();
}

/** Until the server has so many connections. */
async function connections(server: SocksServer, count: number): Promise<void> {
  await expect.poll(() => server.connections, { interval: 5 }).toBe(count);
}

/** Until so many connections wait with `answered` bytes of the server's behind them, and the client has read them. */
async function waiting(
  server: SocksServer,
  count: number,
  answered: number,
): Promise<Set<number | undefined>> {
  const ready = () => [...server.sockets].filter(({ bytesWritten }) => bytesWritten === answered);
  await expect.poll(() => ready().length, { interval: 5 }).toBe(count);
  // The kernel has them; a few turns of this process later so has the client.
  for (let turns = 0; turns < 10; turns++) await nextTurn();
  return new Set(ready().map(({ remotePort }) => remotePort));
}

test('wait with greeting and authentication done, and are used by the next tunnel', async () => {
  const users = { alice: 'secret' };
  const server = await proxy({ users });
  const socks = client(server.url('socks5', { username: 'alice', password: 'secret' }));
  expect(server.connections).toBe(0);
  const first = await socks.connect(here());
  // 05 02, 01 00
  const ready = await waiting(server, 2, 4);
  const second = await socks.connect(here());
  expect(ready).toContain(second.socket.localPort);
  await connections(server, 4); // and another one takes its place
  await use(first);
  await use(second);
});

test.each(['socks4', 'socks4a', 'socks5'])('carry bytes over %s', async (scheme) => {
  const server = await proxy();
  const socks = client(server.url(scheme));
  for (let i = 0; i < 6; i++) await use(await socks.connect(here()));
});

test('are reached through a chain', async () => {
  const [first, second] = [await proxy(), await proxy()];
  const socks = client([first.url('socks5'), second.url('socks4a')]);
  await use(await socks.connect(here()));
  await connections(second, 2);
  const asked = first.log.length;
  await use(await socks.connect(here()));
  expect(second.log).toHaveLength(2);
  expect(first.log[0]?.port).toBe(second.port);
  expect(first.log.length).toBeGreaterThanOrEqual(asked);
});

test('end with the client', async () => {
  const server = await proxy();
  const socks = client(server.url('socks5'));
  await use(await socks.connect(here()));
  await connections(server, 2);
  await socks.close();
  await server.idle();
});

test('are replaced when they grow old', async () => {
  const server = await proxy();
  const socks = client(server.url('socks5'), { standby: 1 });
  await use(await socks.connect(here()));
  await connections(server, 1);
  const started = performance.now();
  await server.idle();
  expect(performance.now() - started).toBeGreaterThan(3000);
  expect(performance.now() - started).toBeLessThan(8000);
  await use(await socks.connect(here()));
});

const SUCCESS: readonly ScriptStep[] = [
  { read: 3 },
  { send: '0500' },
  { read: 10 },
  { send: '0500 0001 00000000 0000' },
];

describe('are dropped in silence', () => {
  test.each<[string, readonly ScriptStep[]]>([
    ['closes it', [{ read: 3 }, { send: '0500' }, { close: true }]],
    ['resets it', [{ read: 3 }, { send: '0500' }, { delay: 5 }, { reset: true }]],
    ['sends a byte', [{ read: 3 }, { send: '0500' }, { delay: 5 }, { send: '00' }]],
    ['refuses it', [{ read: 3 }, { send: '05ff' }]],
  ])('when the server %s', async (_, spoiled) => {
    const server = await startScript((index) => (index === 1 ? spoiled : SUCCESS));
    closing.push(() => server.close());
    const socks = client(server.url('socks5'), { standby: 1 });
    (await socks.connect(here())).socket.destroy();
    const connection = await server.connection(1);
    await connection.ran;
    if (!spoiled.some((step) => 'reset' in step)) await connection.closedByClient;
    (await socks.connect(here())).socket.destroy();
    expect(server.connections.length).toBeGreaterThanOrEqual(3);
  });
});

test('a reset on the request says that the request was not received: a new connection is asked', async () => {
  const resetsLate: readonly ScriptStep[] = [{ read: 3 }, { send: '0500' }, { read: 10 }, { reset: true }];
  const server = await startScript((index) => (index === 1 ? resetsLate : SUCCESS));
  closing.push(() => server.close());
  const socks = client(server.url('socks5'), { standby: 1 });
  (await socks.connect(here())).socket.destroy();
  await expect.poll(() => server.connections[1]?.received.length, { interval: 5 }).toBe(3);
  const { socket } = await socks.connect(here());
  expect(server.connections.length).toBeGreaterThanOrEqual(3);
  socket.destroy();
});

test('a close on the request is how OpenSSH refuses: nobody is asked a second time', async () => {
  const requests: string[] = [];
  const refuses: readonly ScriptStep[] = [{ read: 3 }, { send: '0500' }, { read: 10 }, { close: true }];
  const server = await startScript((index) => (index === 0 ? SUCCESS : refuses));
  closing.push(() => server.close());
  const socks = client(server.url('socks5'), { standby: 1 });
  (await socks.connect(here())).socket.destroy();
  await expect.poll(() => server.connections[1]?.received.length, { interval: 5 }).toBe(3);
  await expect(socks.connect(here())).rejects.toMatchObject({
    code: 'ERR_SOCKS_PROXY_CLOSED',
    phase: 'request',
  });
  await expect.poll(() => server.connections[2]?.received.length, { interval: 5 }).toBe(3);
  for (const { received } of server.connections)
    if (received.length > 3) requests.push(received.toString('hex'));
  expect(requests).toHaveLength(2);
});

test('a refusal on one is the answer', async () => {
  const server = await proxy({ allow: (request: { port: number }) => request.port !== 9 });
  const socks = client(server.url('socks5'));
  await use(await socks.connect(here()));
  await connections(server, 2);
  await expect(socks.connect({ host: '127.0.0.1', port: 9 })).rejects.toMatchObject({
    code: 'ERR_SOCKS_NOT_ALLOWED',
  });
  expect(server.log).toHaveLength(2);
});

test('are kept for the proxies of a selector that gives the same objects', async () => {
  const [one, other] = [await proxy(), await proxy()];
  const proxies = [parseProxy(one.url('socks5')), parseProxy(other.url('socks5'))];
  const socks = client(({ host }) => proxies[host === '127.0.0.1' ? 0 : 1]);
  await use(await socks.connect(here()));
  await connections(one, 2);
  await expect(socks.connect({ host: 'unknown.test', port })).rejects.toMatchObject({
    code: 'ERR_SOCKS_HOST_UNREACHABLE',
  });
  await use(await socks.connect(here()));
  expect(one.log).toHaveLength(2);
});

test.each([-1, 1.5, 1001, Number.NaN])('%d is no number of them', (standby) => {
  expect(() => new SocksClient('socks5://127.0.0.1', { standby })).toThrowError(
    expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }),
  );
});
