// `pipeline: true`: greeting and request in one segment, and an attempt message by message beside it, for proxies that do not
// answer that.

import { once } from 'node:events';
import { connect as dialTcp } from 'node:net';
import type { LookupFunction } from 'node:net';
import type { ScriptedServer, ScriptStep } from '@socksify/server';
import { bytes, deferred, rejection } from '@socksify/support';
import type { RawServer } from '@socksify/support';
import { beforeEach, describe, expect, test, vi } from 'vitest';
import { connect, parseProxy, SocksClient } from '../src/index.ts';
import { isPipelined as pipelining } from '../src/tunnel/pipeline.ts';
import { startRawProxy, startScripts } from './proxies.ts';
import { fired, pending, watch } from './watched-timers.ts';

// The second for which the first attempt runs alone takes 50 ms here.
vi.mock('node:timers', () => import('./watched-timers.ts'));
beforeEach(() => watch(20));

const isPipelined = (url: string): boolean => pipelining(parseProxy(url), {});

/** A proxy on a port that is not remembered: the system may give a test the port of an earlier one. */
async function unknown<Server extends { readonly port: number }>(
  start: () => Promise<Server>,
): Promise<Server> {
  for (;;) {
    const server = await start();
    if (isPipelined(`socks5://127.0.0.1:${server.port}`)) return server;
  }
}

/** One script for each connection, by its number; the last one for all further ones. */
const scripted = (...scripts: readonly (readonly ScriptStep[])[]): Promise<ScriptedServer> =>
  unknown(() => startScripts((index) => scripts[Math.min(index, scripts.length - 1)] ?? []));

const served = (serve: Parameters<typeof startRawProxy>[0]): Promise<RawServer> =>
  unknown(() => startRawProxy(serve));

const destination = { host: 'echo.test', port: 80 };
const GREETING = '050100';
const REQUEST = '05010003096563686f2e746573740050';
const SUCCESS = '0500 0001 00000000 0000';
const ALL = { read: 19 };
const lockStep: readonly ScriptStep[] = [{ read: 3 }, { send: '0500' }, { read: 16 }, { send: SUCCESS }];
const sent = (server: ScriptedServer) => server.connections.map(({ received }) => received.toString('hex'));
const open = (server: ScriptedServer) => connect(server.url('socks5'), destination, { pipeline: true });

test('a pipelined request is one segment on one connection', async () => {
  const server = await scripted([ALL, { send: `0500 ${SUCCESS}` }]);
  (await open(server)).socket.destroy();
  expect(sent(server)).toEqual([GREETING + REQUEST]);
});

test('a refusal of the pipelined request is the answer', async () => {
  const server = await scripted([ALL, { send: '0500 0505' }]);
  await expect(open(server)).rejects.toMatchObject({ code: 'ERR_SOCKS_CONNECTION_REFUSED' });
  expect(server.connections).toHaveLength(1);
});

describe('a second attempt, message by message,', () => {
  test('begins at once when the server closes without an answer, and the proxy is remembered', async () => {
    const server = await scripted([ALL, { close: true }], lockStep);
    (await open(server)).socket.destroy();
    expect(fired).toEqual([]);
    (await open(server)).socket.destroy();
    expect(sent(server)).toEqual([GREETING + REQUEST, GREETING + REQUEST, GREETING + REQUEST]);
    await Promise.all(server.connections.map(({ closedByClient }) => closedByClient));
  });

  test('begins after a second when the server drops the request, and the hung connection is closed', async () => {
    const server = await scripted([ALL, { send: '0500' }, { stall: true }], lockStep);
    (await open(server)).socket.destroy();
    expect(fired).toEqual([1000]);
    await server.connections[0]?.closedByClient;
    // The proxy is remembered, so that no second is lost again.
    (await open(server)).socket.destroy();
    expect(sent(server)).toHaveLength(3);
  });

  test('begins after four times as long as the dial took, if that is more than a second', async () => {
    const server = await scripted([ALL, { stall: true }], lockStep);
    const lookup: LookupFunction = (_host, _options, done) => {
      setTimeout(() => done(null, [{ address: '127.0.0.1', family: 4 }]), 300);
    };
    const proxy = `socks5://proxy.invalid:${server.port}`;
    (await connect(proxy, destination, { pipeline: true, lookup })).socket.destroy();
    // 300 ms for the dial, and 1200 ms in which the first attempt runs alone. A timer may fire a millisecond early.
    expect(fired[0]).toBeGreaterThan(4 * 298);
  });

  test('loses when the destination is only slow, and the proxy is not remembered', async () => {
    const slow: readonly ScriptStep[] = [ALL, { send: '0500' }, { delay: 300 }, { send: SUCCESS }];
    const server = await scripted(slow, [{ read: 3 }, { stall: true }], [ALL, { send: `0500 ${SUCCESS}` }]);
    (await open(server)).socket.destroy();
    await server.connections[1]?.closedByClient;
    (await open(server)).socket.destroy();
    expect(sent(server)[2]).toBe(GREETING + REQUEST);
    expect(server.connections).toHaveLength(3);
  });

  test('gives the tunnel when the server closes the first connection meanwhile', async () => {
    const [greeted, closed] = [deferred<void>(), deferred<void>()];
    const proxy = await served(async (socket, read, index) => {
      if (index === 0) {
        await read(19);
        await greeted.promise;
        socket.on('close', () => closed.resolve()).end();
        return;
      }
      await read(3);
      greeted.resolve();
      await closed.promise;
      socket.write(bytes('0500'));
      await read(16);
      socket.write(bytes(SUCCESS));
    });
    const { socket } = await connect(proxy.url, destination, { pipeline: true });
    expect([...proxy.open].map(({ remotePort }) => remotePort)).toEqual([socket.localPort]);
    expect(isPipelined(proxy.url)).toBe(false);
    socket.destroy();
  });

  test('leaves the tunnel to the first one when the server closes the second connection', async () => {
    const closed = deferred<void>();
    const proxy = await served(async (socket, read, index) => {
      if (index === 1) {
        await read(3);
        socket.on('close', () => closed.resolve()).end();
        return;
      }
      await read(19);
      await closed.promise;
      socket.write(bytes(`0500 ${SUCCESS}`));
    });
    const { socket } = await connect(proxy.url, destination, { pipeline: true });
    expect([...proxy.open].map(({ remotePort }) => remotePort)).toEqual([socket.localPort]);
    expect(proxy.accepted).toBe(2);
    expect(isPipelined(proxy.url)).toBe(true);
    socket.destroy();
  });

  test('gives its error when the server closes both connections', async () => {
    const server = await scripted(
      [ALL, { close: true }],
      [{ read: 3 }, { send: '0500' }, { read: 16 }, { close: true }],
    );
    await expect(open(server)).rejects.toMatchObject({ code: 'ERR_SOCKS_PROXY_CLOSED', phase: 'request' });
  });
});

describe('a proxy that is answered only message by message', () => {
  test.each<[string, readonly ScriptStep[], boolean]>([
    ['grants the second attempt', lockStep, true],
    ['refuses it', [{ read: 3 }, { send: '0500' }, { read: 16 }, { send: '0505' }], true],
    ['closes it too', [{ read: 3 }, { close: true }], false],
  ])('is remembered if it %s', async (_, second, isRemembered) => {
    const server = await scripted([ALL, { close: true }], second);
    expect(isPipelined(server.url('socks5'))).toBe(true);
    await open(server).then(
      ({ socket }) => socket.destroy(),
      () => {},
    );
    expect(isPipelined(server.url('socks5'))).toBe(!isRemembered);
    expect(pending.size).toBe(0);
  });

  test('is forgotten after a thousand others', async () => {
    const server = await startScripts((index) => (index % 2 === 0 ? [ALL, { close: true }] : lockStep));
    const lookup: LookupFunction = (_host, _options, done) => done(null, '127.0.0.1', 4);
    const url = (i: number) => `socks5://proxy-${i}.test:${server.port}`;
    for (let i = 0; i <= 1000; i++) {
      const { socket } = await connect(url(i), destination, { pipeline: true, lookup });
      await once(socket.destroy(), 'close');
    }
    expect([0, 1, 1000].map((i) => isPipelined(url(i)))).toEqual([true, false, false]);
  });
});

describe('a pipelined request with credentials', () => {
  const login = (server: ScriptedServer) => `socks5://u:p@127.0.0.1:${server.port}`;
  // 05 01 02, 01 01 'u' 01 'p', and the request, which has 16 bytes
  const PIPELINED = '050102' + '0101750170' + REQUEST;
  const refusesAll: readonly ScriptStep[] = [{ read: 24 }, { send: '05ff' }];
  const acceptsNone: readonly ScriptStep[] = [{ read: 4 }, { send: '0500' }, { read: 16 }, { send: SUCCESS }];

  test.each<[string, readonly ScriptStep[]]>([
    ['answers FF', refusesAll],
    ['answers FF and closes', [...refusesAll, { close: true }]],
    ['closes without an answer', [{ read: 24 }, { close: true }]],
  ])(
    'is followed at once by an offer of 02 and 00 to a proxy without authentication that %s',
    async (_, first) => {
      const server = await scripted(first, acceptsNone);
      (await connect(login(server), destination, { pipeline: true })).socket.destroy();
      expect(sent(server)).toEqual([PIPELINED, '05020200' + REQUEST]);
      await Promise.all(server.connections.map(({ closedByClient }) => closedByClient));
    },
  );

  test('is closed when the proxy answers FF, before the second attempt is answered', async () => {
    const closed = deferred<void>();
    const proxy = await served(async (socket, read, index) => {
      if (index === 0) {
        await read(24);
        socket.on('close', () => closed.resolve()).write(bytes('05ff'));
        return;
      }
      await read(4);
      await closed.promise;
      socket.write(bytes('0500'));
      await read(16);
      socket.write(bytes(SUCCESS));
    });
    const url = `socks5://u:p@127.0.0.1:${proxy.port}`;
    const { socket } = await connect(url, destination, { pipeline: true });
    expect([...proxy.open].map(({ remotePort }) => remotePort)).toEqual([socket.localPort]);
    socket.destroy();
  });

  test('is not sent again to a proxy without authentication, so that the proxy does not get the password again', async () => {
    const server = await scripted(refusesAll, acceptsNone);
    for (let i = 0; i < 3; i++) {
      (await connect(login(server), destination, { pipeline: true })).socket.destroy();
    }
    const again = '05020200' + REQUEST;
    expect(sent(server)).toEqual([PIPELINED, again, again, again]);
  });

  test.each(['required', 'auto'] as const)(
    "has a refusal of the credentials as its answer with auth '%s'",
    async (auth) => {
      const server = await scripted([{ read: 24 }, { send: '0502 0101' }]);
      const attempt = connect(login(server), destination, { pipeline: true, auth });
      await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_AUTH_FAILED' });
      expect(server.connections).toHaveLength(1);
    },
  );

  test("has FF as its answer when 02 alone may be offered, because auth is 'required'", async () => {
    const server = await scripted(refusesAll);
    const attempt = connect(login(server), destination, { pipeline: true, auth: 'required' });
    await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD' });
    expect(server.connections).toHaveLength(1);
  });

  test('fails with NO_ACCEPTABLE_METHOD when both attempts get FF', async () => {
    const server = await scripted(refusesAll, [{ read: 4 }, { send: '05ff' }]);
    await expect(connect(login(server), destination, { pipeline: true })).rejects.toMatchObject({
      code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
    });
    expect(sent(server)).toEqual([PIPELINED, '05020200']);
    // It answered, message by message.
    expect(isPipelined(login(server))).toBe(false);
  });
});

describe('a proxy is not remembered when the second attempt', () => {
  const answers: readonly ScriptStep[] = [ALL, { send: `0500 ${SUCCESS}` }];
  const stalls: readonly ScriptStep[] = [{ read: 3 }, { stall: true }];

  test.each(['abort', 'time limit', 'close of the client'] as const)('is ended by the %s', async (how) => {
    const server = await scripted([ALL, { close: true }], stalls, answers);
    const controller = new AbortController();
    const timeout = how === 'time limit' ? 100 : 0;
    const client = new SocksClient(server.url('socks5'), { pipeline: true, timeout });
    const attempt = rejection(client.connect(destination, { signal: controller.signal }));
    await (await server.connection(1)).ran;
    if (how === 'abort') controller.abort();
    if (how === 'close of the client') await client.close();
    expect(await attempt).toMatchObject({
      name: how === 'abort' ? 'AbortError' : 'SocksError',
    });
    (await open(server)).socket.destroy();
    expect(sent(server)).toEqual([GREETING + REQUEST, GREETING, GREETING + REQUEST]);
    await Promise.all(server.connections.map(({ closedByClient }) => closedByClient));
  });

  test.each<[string, readonly ScriptStep[]]>([
    ['is closed too', [{ read: 3 }, { close: true }]],
    ['is reset', [{ read: 3 }, { reset: true }]],
  ])('%s', async (_, second) => {
    const server = await scripted([ALL, { close: true }], second, answers);
    await expect(open(server)).rejects.toMatchObject({ code: 'ERR_SOCKS_PROXY_CLOSED' });
    (await open(server)).socket.destroy();
    expect(sent(server)[2]).toBe(GREETING + REQUEST);
  });

  test('is ended while both are in progress', async () => {
    const server = await scripted([ALL, { stall: true }], stalls, answers);
    const controller = new AbortController();
    const attempt = rejection(
      connect(server.url('socks5'), destination, { pipeline: true, signal: controller.signal }),
    );
    await (await server.connection(1)).ran;
    controller.abort();
    expect(await attempt).toMatchObject({ name: 'AbortError' });
    (await open(server)).socket.destroy();
    expect(sent(server)).toEqual([GREETING + REQUEST, GREETING, GREETING + REQUEST]);
  });
});

test('a socket that was handed in is the only connection, and gets no second attempt', async () => {
  const server = await scripted([ALL, { close: true }]);
  const socket = dialTcp(server.port, '127.0.0.1');
  const attempt = connect(server.url('socks5'), destination, { pipeline: true, socket });
  await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_PROXY_CLOSED' });
  expect(server.connections).toHaveLength(1);
  expect(socket.destroyed).toBe(true);
});

test('a socket that was handed in waits for its answer alone, however long that takes', async () => {
  const server = await scripted([ALL, { delay: 150 }, { send: `0500 ${SUCCESS}` }]);
  const socket = dialTcp(server.port, '127.0.0.1');
  const tunnel = await connect(server.url('socks5'), destination, { pipeline: true, socket });
  expect(tunnel.socket).toBe(socket);
  expect(sent(server)).toEqual([GREETING + REQUEST]);
  expect(fired).toEqual([]);
  socket.destroy();
});

test('one time limit ends both attempts', async () => {
  const server = await scripted([ALL, { stall: true }], [{ read: 3 }, { stall: true }]);
  const options = { pipeline: true, timeout: 300 };
  await expect(connect(server.url('socks5'), destination, options)).rejects.toMatchObject({
    code: 'ERR_SOCKS_TIMEOUT',
  });
  expect(server.connections).toHaveLength(2);
  await Promise.all(server.connections.map(({ closedByClient }) => closedByClient));
});

test('a SOCKS4 request is the same with pipeline: true', async () => {
  const server = await scripted([{ read: 19 }, { send: '005a 0000 00000000' }]);
  const { socket } = await connect(server.url('socks4a'), destination, { pipeline: true });
  expect(sent(server)).toEqual(['04010050000000010065' + '63686f2e7465737400']);
  socket.destroy();
});
