// Standby connections: the next tunnel uses them, and unused ones are closed without an error.

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { connect as dialTcp } from 'node:net';
import type { Socket } from 'node:net';
import type { ScriptStep, SocksServer } from '@socksify/server';
import {
  bytes,
  deferred,
  freePort,
  IN_ORDER,
  startDestination,
  startEcho,
  TLS,
  turns as wait,
} from '@socksify/support';
import type { RawServer, TcpDestination } from '@socksify/support';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { parseProxy, SocksClient } from '../src/index.ts';
import type { AuthMethod, ClientOptions, ProxyChoice, ProxyRoute, SocksProxy, Tunnel } from '../src/index.ts';
import { Attempt } from '../src/tunnel/attempt.ts';
import { Standby } from '../src/tunnel/standby.ts';
import { runCore } from './core-program.ts';
import {
  atEnd,
  GRANTED,
  keepsAlive,
  startProxy,
  startRawProxy,
  startScripted,
  startScripts,
  SUCCESS,
  watchDials,
} from './proxies.ts';
import { delays, fired, holdImmediates, pending, watch } from './watched-timers.ts';

vi.mock('node:timers', () => import('./watched-timers.ts'));
beforeEach(() => watch());

let echo: TcpDestination;
let port: number;
beforeAll(async () => {
  echo = await startEcho();
  ({ port } = echo);
});
afterAll(() => echo.close());

function client(route: ProxyRoute, options: ClientOptions = { standby: 2 }): SocksClient {
  const made = new SocksClient(route, options);
  atEnd(() => made.close());
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
  await wait(10);
  return new Set(ready().map(({ remotePort }) => remotePort));
}

test('standby connections wait with greeting and authentication done, and are used by the next tunnel', async () => {
  const users = { alice: 'secret' };
  const server = await startProxy({ users });
  const socks = client(server.url('socks5', { username: 'alice', password: 'secret' }));
  expect(server.connections).toBe(0);
  const first = await socks.connect(here());
  // 05 02, 01 00
  const ready = await waiting(server, 1, 4);
  const second = await socks.connect(here());
  expect(ready).toContain(second.socket.localPort);
  await connections(server, 4); // two others take its place, because two tunnels were requested
  await use(first);
  await use(second);
});

test.each(['socks4', 'socks4a', 'socks5'])('standby connections carry bytes over %s', async (scheme) => {
  const server = await startProxy();
  const socks = client(server.url(scheme));
  for (let i = 0; i < 6; i++) await use(await socks.connect(here()));
});

test('standby connections are opened through a chain', async () => {
  const [first, second] = [await startProxy(), await startProxy()];
  const socks = client([first.url('socks5'), second.url('socks4a')]);
  await use(await socks.connect(here()));
  await connections(second, 1);
  const before = first.log.length;
  await use(await socks.connect(here()));
  expect(second.log).toHaveLength(2);
  expect(first.log[0]?.port).toBe(second.port);
  expect(first.log.length).toBeGreaterThanOrEqual(before);
});

describe('the number of standby connections', () => {
  test('is that of the tunnels that were requested at once', async () => {
    const server = await startProxy();
    const socks = client(server.url('socks5'), { standby: 10 });
    const tunnels = await Promise.all(Array.from({ length: 4 }, () => socks.connect(here())));
    const ready = await waiting(server, 4, 2);
    const again = await Promise.all(Array.from({ length: 4 }, () => socks.connect(here())));
    expect(new Set(again.map(({ socket }) => socket.localPort))).toEqual(ready);
    for (const { socket } of [...tunnels, ...again]) socket.destroy();
  });

  test('is at most the option, however many tunnels are requested', async () => {
    const server = await startProxy();
    const socks = client(server.url('socks5'), { standby: 3 });
    for (let i = 0; i < 3; i++) {
      const tunnels = await Promise.all(Array.from({ length: 8 }, () => socks.connect(here())));
      for (const { socket } of tunnels) socket.destroy();
      expect((await waiting(server, 3, 2)).size).toBe(3);
    }
  });
});

describe('the first standby connection', () => {
  test('is opened while the first tunnel is negotiated, as soon as the proxy is connected to', async () => {
    const { promise: second, resolve: answer } = deferred<void>();
    const server = await startRawProxy(async (socket, read, index) => {
      if (index === 1) answer();
      await read(3);
      await second;
      socket.write(bytes('0500'));
      await read(10);
      socket.write(bytes(GRANTED));
    });
    const { socket } = await client(server.url).connect(here());
    expect(socket.destroyed).toBe(false);
    socket.destroy();
  });

  test('is not opened to a proxy that does not answer the dial', async () => {
    const gone = await freePort();
    let dialled = 0;
    const count = (): void => void dialled++;
    subscribe('net.client.socket', count);
    await expect(client(`socks5://127.0.0.1:${gone}`).connect(here())).rejects.toMatchObject({
      code: 'ERR_SOCKS_PROXY_UNREACHABLE',
    });
    await wait(10);
    unsubscribe('net.client.socket', count);
    expect(dialled).toBe(1);
  });

  test('sends its credentials after those of the first tunnel were accepted', async () => {
    const order: string[] = [];
    const { promise: both, resolve: greeted } = deferred<void>();
    const server = await startRawProxy(async (socket, read, index) => {
      await read(4);
      socket.write(bytes('0502'));
      if (index === 1) greeted();
      await read(5);
      order.push(`credentials ${index}`);
      if (index === 0) {
        // The other connection has had time to send its own.
        await both;
        await wait(20);
        order.push('accepted 0');
      }
      socket.write(bytes('0100'));
      await read(10);
      socket.write(bytes(GRANTED));
    });
    const { port: proxyPort } = new URL(server.url);
    const socks = client(`socks5://u:p@127.0.0.1:${proxyPort}`);
    (await socks.connect(here())).socket.destroy();
    await expect.poll(() => order, { interval: 5 }).toHaveLength(3);
    expect(order).toEqual(['credentials 0', 'accepted 0', 'credentials 1']);
  });
});

test('a standby connection is replaced when it is taken, before the proxy has answered the request', async () => {
  const { promise: third, resolve: open } = deferred<void>();
  const server = await startRawProxy(async (socket, read, index) => {
    if (index === 2) open();
    await read(3);
    socket.write(bytes('0500'));
    await read(10);
    if (index === 1) await third;
    socket.write(bytes(GRANTED));
  });
  const socks = client(server.url, { standby: 1 });
  (await socks.connect(here())).socket.destroy();
  const { socket } = await socks.connect(here());
  expect(socket.destroyed).toBe(false);
  socket.destroy();
});

describe('a standby connection that is still being opened', () => {
  /** The first tunnel is granted. The connection after it answers its greeting when it is told to. */
  async function startSlow(): Promise<{
    url: string;
    ports: (number | undefined)[];
    opened: () => number;
    answer: () => void;
    closed: Promise<void>;
  }> {
    const { promise: told, resolve: answer } = deferred<void>();
    const { promise: closed, resolve: close } = deferred<void>();
    const ports: (number | undefined)[] = [];
    const server = await startRawProxy(async (socket, read, index) => {
      ports.push(socket.remotePort);
      if (index === 1) socket.once('close', close);
      await read(3);
      if (index === 1) await told;
      socket.write(bytes('0500'));
      await read(10);
      socket.write(bytes(GRANTED));
    });
    return { url: server.url, ports, opened: () => ports.length, answer, closed };
  }

  test('is used by the next tunnel, which opens no connection of its own', async () => {
    const { url, ports, opened, answer } = await startSlow();
    const socks = client(url, { standby: 1 });
    (await socks.connect(here())).socket.destroy();
    await expect.poll(opened, { interval: 5 }).toBe(2);
    const second = socks.connect(here());
    // The replacement of the one that the second tunnel waits for.
    await expect.poll(opened, { interval: 5 }).toBe(3);
    answer();
    const { socket } = await second;
    expect(socket.localPort).toBe(ports[1]);
    socket.destroy();
  });

  test('is waited for by a tunnel for a second, and then replaced', async () => {
    const { url, opened } = await startSlow();
    const socks = client(url, { standby: 1 });
    (await socks.connect(here())).socket.destroy();
    await expect.poll(opened, { interval: 5 }).toBe(2);
    watch(20);
    (await socks.connect(here())).socket.destroy();
    expect(fired).toEqual([1000]);
  });

  test('is closed when the tunnel that waits for it is aborted, and another one takes its place', async () => {
    const { url, opened, closed } = await startSlow();
    const socks = client(url, { standby: 1 });
    (await socks.connect(here())).socket.destroy();
    await expect.poll(opened, { interval: 5 }).toBe(2);
    const controller = new AbortController();
    const aborted = socks.connect(here(), { signal: controller.signal });
    await expect.poll(opened, { interval: 5 }).toBe(3);
    controller.abort('enough');
    await expect(aborted).rejects.toBe('enough');
    await closed;
    (await socks.connect(here())).socket.destroy();
  });

  test('is waited for once: if it fails, the tunnel opens a connection of its own and reports its error', async () => {
    let opened = 0;
    const { promise: told, resolve: refuse } = deferred<void>();
    const server = await startRawProxy(async (socket, read, index) => {
      opened++;
      await read(3);
      if (index === 1) await told;
      // The replacement of connection 1 gets no answer.
      if (index === 2) return;
      if (index > 0) {
        socket.end();
        return;
      }
      socket.write(bytes('0500'));
      await read(10);
      socket.write(bytes(GRANTED));
    });
    const socks = client(server.url, { standby: 1 });
    (await socks.connect(here())).socket.destroy();
    await expect.poll(() => opened, { interval: 5 }).toBe(2);
    // Less than the second for which the tunnel would wait for the replacement.
    const second = socks.connect(here(), { timeout: 900 });
    await expect.poll(() => opened, { interval: 5 }).toBe(3);
    refuse();
    await expect(second).rejects.toMatchObject({ code: 'ERR_SOCKS_PROXY_CLOSED' });
    expect(opened).toBe(4);
  });

  test('is closed by close(), and the tunnel that waits for it ends', async () => {
    const { url, opened } = await startSlow();
    const socks = client(url, { standby: 1 });
    (await socks.connect(here())).socket.destroy();
    await expect.poll(opened, { interval: 5 }).toBe(2);
    const waits = socks.connect(here());
    await wait(5);
    await socks.close();
    await expect(waits).rejects.toMatchObject({ code: 'ERR_SOCKS_CLOSED' });
  });

  test('keeps the process alive while a tunnel waits for it', async () => {
    const server = await startRawProxy(async (socket, read, index) => {
      await read(3);
      if (index === 1) setTimeout(() => socket.write(bytes('0500')), 200);
      else socket.write(bytes('0500'));
      await read(10);
      socket.write(bytes(GRANTED));
    });
    const source = `
      const [, url] = process.argv;
      const client = new core.SocksClient(url, { standby: 1, timeout: 0 });
      (await client.connect({ host: '127.0.0.1', port: 80 })).socket.destroy();
      (await client.connect({ host: '127.0.0.1', port: 80 })).socket.destroy();
      console.log('two tunnels');
    `;
    expect(await runCore(source, [server.url])).toEqual({ ...IN_ORDER, stdout: 'two tunnels\n' });
  });
});

describe('of the connections that are held,', () => {
  type Slow = (index: number) => Promise<unknown> | undefined;
  /** A proxy that answers greetings, each when it may. */
  async function startGreeted(until: Slow = () => undefined) {
    const sockets: Socket[] = [];
    const server = await startRawProxy(async (socket, read, index) => {
      sockets.push(socket);
      await read(3);
      await until(index);
      socket.write(bytes('0500'));
    });
    return { server, sockets, chain: [parseProxy(server.url)] };
  }

  function hold(size: number): Standby {
    const standby = new Standby(size, {});
    atEnd(() => standby.close());
    return standby;
  }

  const attempt = () => new Attempt({});

  /** As so many tunnels at a time that find no connection. */
  async function request(standby: Standby, chain: readonly SocksProxy[], count: number): Promise<void> {
    for (let i = 0; i < count; i++) expect(await standby.take(chain, attempt())).toBeUndefined();
    standby.fill(chain);
  }

  /** Until the proxy has answered so many that are open, and the client has read the answers. */
  async function ready({ server }: { readonly server: RawServer }, count: number): Promise<void> {
    const answered = () => [...server.open].filter(({ bytesWritten }) => bytesWritten === 2);
    await expect.poll(() => answered().length, { interval: 5 }).toBe(count);
    await wait(10);
  }

  test('one that is ready is taken before an older one that is still being opened', async () => {
    const proxy = await startGreeted((index) => (index === 0 ? new Promise(() => {}) : undefined));
    const standby = hold(2);
    await request(standby, proxy.chain, 2);
    await ready(proxy, 1);
    const taken = await standby.take(proxy.chain, attempt());
    expect(taken?.stream.localPort).toBe(proxy.sockets[1]?.remotePort);
    taken?.stream.destroy();
  });

  test('one that is still being opened is waited for, and no timer is left', async () => {
    const { promise: told, resolve: answer } = deferred<void>();
    const proxy = await startGreeted((index) => (index === 0 ? told : new Promise(() => {})));
    const standby = hold(1);
    await request(standby, proxy.chain, 1);
    const taking = standby.take(proxy.chain, attempt());
    await proxy.server.reached(2);
    answer();
    const taken = await taking;
    expect(taken?.stream.localPort).toBe(proxy.sockets[0]?.remotePort);
    await wait(1);
    // That of the replacement, which keeps no process alive.
    expect([...pending].map((timer) => timer.hasRef())).toEqual([false]);
    taken?.stream.destroy();
  });

  test('one that is opened ahead of the credentials of a tunnel is taken by another one only when it is ready', async () => {
    const { promise: told, resolve: answer } = deferred<void>();
    const proxy = await startGreeted(() => told);
    const standby = hold(1);
    expect(await standby.take(proxy.chain, attempt())).toBeUndefined();
    standby.fill(proxy.chain, new Promise(() => {}));
    await proxy.server.reached(1);
    expect(await standby.take(proxy.chain, attempt())).toBeUndefined();
    expect(delays).not.toContain(1000);
    answer();
    await ready(proxy, 1);
    const taken = await standby.take(proxy.chain, attempt());
    expect(taken?.stream.localPort).toBe(proxy.sockets[0]?.remotePort);
    taken?.stream.destroy();
  });

  test('one that the proxy has just closed is passed over', async () => {
    const proxy = await startGreeted();
    const standby = hold(2);
    await request(standby, proxy.chain, 2);
    await ready(proxy, 2);
    const { held, run } = holdImmediates();
    const taking = standby.take(proxy.chain, attempt());
    expect(held).toHaveLength(1);
    await once(proxy.sockets[0]?.destroy() as Socket, 'close');
    await wait(10);
    run();
    const taken = await taking;
    expect(taken?.ended).toBeUndefined();
    expect(taken?.stream.localPort).toBe(proxy.sockets[1]?.remotePort);
    taken?.stream.destroy();
  });

  test('none is taken after one that was waited for was closed, so that a tunnel waits once', async () => {
    const proxy = await startGreeted((index) => (index === 0 ? undefined : new Promise(() => {})));
    const standby = hold(1);
    await request(standby, proxy.chain, 1);
    watch(20);
    const { held, run } = holdImmediates();
    const taking = standby.take(proxy.chain, attempt());
    await expect.poll(() => held.length, { interval: 5 }).toBe(1);
    await once(proxy.sockets[0]?.destroy() as Socket, 'close');
    await wait(10);
    run();
    expect(await taking).toBeUndefined();
    expect(fired).toEqual([]);
  });

  test('each chain has one at least, and no further one while all together are as many as may be', async () => {
    const [one, other] = [await startGreeted(), await startGreeted()];
    const standby = hold(2);
    await request(standby, one.chain, 2);
    await ready(one, 2);
    await request(standby, other.chain, 2);
    await ready(other, 1);
    // The oldest made room.
    await ready(one, 1);
    for (const { chain } of [one, other]) standby.fill(chain);
    await wait(20);
    expect([one.server.accepted, other.server.accepted]).toEqual([2, 1]);
    expect(one.server.open).toEqual(new Set([one.sockets[1]]));
  });

  test('those of another chain do not count as those of this one', async () => {
    const [one, other] = [await startGreeted(), await startGreeted()];
    const standby = hold(3);
    await request(standby, one.chain, 1);
    await ready(one, 1);
    await request(standby, other.chain, 1);
    await ready(other, 1);
    expect([one.server.open.size, other.server.open.size]).toEqual([1, 1]);
  });

  test('none keeps the process alive until it is taken', async () => {
    const dialled = watchDials();
    const { promise: told, resolve: answer } = deferred<void>();
    const proxy = await startGreeted(() => told);
    const standby = hold(1);
    await request(standby, proxy.chain, 1);
    await proxy.server.reached(1);
    await expect.poll(() => dialled.map(keepsAlive), { interval: 5 }).toEqual([false]);
    expect([...pending].map((timer) => timer.hasRef())).toEqual([false]);
    answer();
    await ready(proxy, 1);
    expect(dialled.map(keepsAlive)).toEqual([false]);
    expect([...pending].map((timer) => timer.hasRef())).toEqual([false]);
    const taken = await standby.take(proxy.chain, attempt());
    expect(dialled.map(keepsAlive)).toEqual([true, false]);
    expect(dialled[0]).toBe(taken?.stream);
    taken?.stream.destroy();
  });

  test('none is left by close(), no timer either, and no further one is opened', async () => {
    const proxy = await startGreeted((index) => (index === 0 ? undefined : new Promise(() => {})));
    const standby = hold(2);
    await request(standby, proxy.chain, 2);
    await ready(proxy, 1);
    await proxy.server.reached(2);
    // The age of one, and the time limit of the other.
    expect(pending.size).toBe(2);
    standby.close();
    expect(pending.size).toBe(0);
    standby.fill(proxy.chain);
    await proxy.server.idle();
    await wait(20);
    expect(proxy.server.accepted).toBe(2);
  });

  test('those of a chain are forgotten when a thousand others were requested after it', async () => {
    const [kept, forgotten] = [await startGreeted(), await startGreeted()];
    const standby = hold(1);
    const others = Array.from({ length: 999 }, (_, i) => [parseProxy(`socks5://h${i}`)]);
    for (const chain of [kept.chain, forgotten.chain, kept.chain, ...others]) {
      await standby.take(chain, attempt());
    }
    for (const { chain } of [kept, forgotten]) standby.fill(chain);
    await ready(kept, 1);
    expect(forgotten.server.accepted).toBe(0);
  });

  test('one is waited for twice as long as the last one took, if that is more than a second', async () => {
    const { promise: slow, resolve: answer } = deferred<void>();
    const proxy = await startGreeted((index) => (index === 0 ? slow : new Promise(() => {})));
    const standby = hold(1);
    let now = 1000;
    vi.spyOn(performance, 'now').mockImplementation(() => now);
    atEnd(() => vi.restoreAllMocks());
    await request(standby, proxy.chain, 1);
    await proxy.server.reached(1);
    now = 1600;
    answer();
    await ready(proxy, 1);
    const taken = await standby.take(proxy.chain, attempt());
    taken?.stream.destroy();
    watch(20);
    expect(await standby.take(proxy.chain, attempt())).toBeUndefined();
    expect(fired).toEqual([1200]);
  });
});

test('standby connections end with the client', async () => {
  const server = await startProxy();
  const socks = client(server.url('socks5'));
  for (let i = 0; i < 2; i++) await use(await socks.connect(here()));
  await connections(server, 2);
  await socks.close();
  await server.idle();
});

test('standby connections are replaced when they grow old', async () => {
  watch(20);
  const server = await startProxy();
  const socks = client(server.url('socks5'), { standby: 1 });
  await use(await socks.connect(here()));
  await connections(server, 1);
  await server.idle();
  expect(fired).toEqual([4000]);
  await use(await socks.connect(here()));
});

describe('a standby connection', () => {
  test.each<[string, readonly ScriptStep[]]>([
    ['closes it', [{ read: 3 }, { send: '0500' }, { close: true }]],
    ['resets it', [{ read: 3 }, { send: '0500' }, { delay: 5 }, { reset: true }]],
    ['sends a byte', [{ read: 3 }, { send: '0500' }, { delay: 5 }, { send: '00' }]],
    ['refuses it', [{ read: 3 }, { send: '05ff' }]],
  ])('is dropped in silence when the server %s', async (_, spoiled) => {
    const server = await startScripts((index) => (index === 1 ? spoiled : SUCCESS));
    const socks = client(server.url('socks5'), { standby: 1 });
    (await socks.connect(here())).socket.destroy();
    const connection = await server.connection(1);
    await connection.ran;
    if (!spoiled.some((step) => 'reset' in step)) await connection.closedByClient;
    (await socks.connect(here())).socket.destroy();
    expect(server.connections.length).toBeGreaterThanOrEqual(3);
  });
});

test('a reset on the request means that the request was not received: it is sent on a new connection', async () => {
  const resetsLate: readonly ScriptStep[] = [{ read: 3 }, { send: '0500' }, { read: 10 }, { reset: true }];
  const server = await startScripts((index) => (index === 1 ? resetsLate : SUCCESS));
  const socks = client(server.url('socks5'), { standby: 1 });
  (await socks.connect(here())).socket.destroy();
  await expect.poll(() => server.connections[1]?.received.length, { interval: 5 }).toBe(3);
  const { socket } = await socks.connect(here());
  expect(server.connections.length).toBeGreaterThanOrEqual(3);
  socket.destroy();
});

test('a close on the request is a refusal by OpenSSH: the request is not sent a second time', async () => {
  const requests: string[] = [];
  const refuses: readonly ScriptStep[] = [{ read: 3 }, { send: '0500' }, { read: 10 }, { close: true }];
  const server = await startScripts((index) => (index === 0 ? SUCCESS : refuses));
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

test('a refusal on a standby connection is the answer', async () => {
  const server = await startProxy({ allow: (request: { port: number }) => request.port !== 9 });
  const socks = client(server.url('socks5'));
  await use(await socks.connect(here()));
  await connections(server, 1);
  await expect(socks.connect({ host: '127.0.0.1', port: 9 })).rejects.toMatchObject({
    code: 'ERR_SOCKS_NOT_ALLOWED',
  });
  expect(server.log).toHaveLength(2);
});

test('standby connections are kept for the proxies of a selector that returns the same objects', async () => {
  const [one, other] = [await startProxy(), await startProxy()];
  const proxies = [parseProxy(one.url('socks5')), parseProxy(other.url('socks5'))];
  const socks = client(({ host }) => proxies[host === '127.0.0.1' ? 0 : 1]);
  await use(await socks.connect(here()));
  await connections(one, 1);
  await expect(socks.connect({ host: 'unknown.test', port })).rejects.toMatchObject({
    code: 'ERR_SOCKS_HOST_UNREACHABLE',
  });
  await use(await socks.connect(here()));
  expect(one.log).toHaveLength(2);
});

describe('standby connections of a selector that makes its proxies anew each time', () => {
  const credentials = { username: 'alice', password: 'secret' };
  test.each<[string, (server: SocksServer) => ProxyChoice]>([
    [
      'objects',
      ({ port: proxyPort }) => ({
        version: 5,
        host: '127.0.0.1',
        port: proxyPort,
        dns: 'remote',
        credentials: { ...credentials },
      }),
    ],
    ['URLs', (server) => server.url('socks5', credentials)],
    ['URL objects', (server) => new URL(server.url('socks5', credentials))],
    ['chains', (server) => [server.url('socks5', credentials)]],
  ])('are used for equal %s', async (_, choice) => {
    const server = await startProxy({ users: { alice: 'secret' } });
    const socks = client(() => choice(server), { standby: 1 });
    await use(await socks.connect(here()));
    for (let i = 0; i < 3; i++) {
      const ready = await waiting(server, 1, 4);
      await use(await socks.connect(here()));
      expect(ready).toContain(server.log.at(-1)?.remotePort);
    }
    expect(server.log).toHaveLength(4);
  });

  test('are not used for proxies with another password', async () => {
    const server = await startProxy({ users: { alice: 'secret', bob: 'secret' } });
    const names = ['alice', 'bob', 'alice'];
    const socks = client(() => server.url('socks5', { username: names.shift() ?? '', password: 'secret' }), {
      standby: 1,
    });
    for (const user of ['alice', 'bob', 'alice']) {
      await use(await socks.connect(here()));
      expect(server.log.at(-1)).toMatchObject({ user });
      await waiting(server, 1, 4);
    }
  });
});

describe('standby connections after a refusal', () => {
  test.each<[string, string]>([
    ['socks5', '0505'],
    ['socks5', '0502'],
    ['socks4', '005b 0000 00000000'],
  ])('of the destination are opened, because the proxy works, over %s with %s', async (scheme, refusal) => {
    const request = scheme === 'socks5' ? [{ read: 3 }, { send: '0500' }, { read: 10 }] : [{ read: 9 }];
    const server = await startScripted(...request, { send: refusal });
    const socks = client(server.url(scheme), { standby: 1 });
    await expect(socks.connect(here())).rejects.toMatchObject({ name: 'SocksError' });
    await server.connection(1);
    expect(server.connections).toHaveLength(2);
  });

  test('of the credentials are closed, and the credentials are sent once', async () => {
    const server = await startScripted({ read: 4 }, { send: '0502' }, { read: 5 }, { send: '0101' });
    const socks = client(`socks5://u:p@127.0.0.1:${server.port}`, { standby: 2 });
    await expect(socks.connect(here())).rejects.toMatchObject({ code: 'ERR_SOCKS_AUTH_FAILED' });
    const ahead = await server.connection(1);
    await ahead.closedByClient;
    expect(server.connections.map(({ received }) => received.length)).toEqual([9, 4]);
  });
});

describe('a proxy that closes on the request', () => {
  test.each<[string, readonly ScriptStep[]]>([
    ['it closes without a reply', [{ close: true }]],
    ['it closes in the middle of the reply', [{ send: '05' }, { close: true }]],
    ['it resets after a part of the reply', [{ send: '0500' }, { delay: 20 }, { reset: true }]],
  ])('does not get the request a second time: %s', async (_, ending) => {
    const refuses = [{ read: 3 }, { send: '0500' }, { read: 10 }, ...ending];
    const server = await startScripts((index) => (index === 0 ? SUCCESS : refuses));
    const socks = client(server.url('socks5'), { standby: 1 });
    (await socks.connect(here())).socket.destroy();
    await expect.poll(() => server.connections[1]?.received.length, { interval: 5 }).toBe(3);
    await wait(10);
    await expect(socks.connect(here())).rejects.toMatchObject({ code: 'ERR_SOCKS_PROXY_CLOSED' });
    expect(server.connections.filter(({ received }) => received.length > 3)).toHaveLength(2);
  });
});

test('close() closes all standby connections, at whatever moment it is called', async () => {
  const server = await startProxy({ users: { u: 'p' } });
  for (let turns = 0; turns < 30; turns++) {
    const socks = new SocksClient(server.url('socks5', { username: 'u', password: 'p' }), { standby: 2 });
    const attempt = socks.connect(here()).then(
      ({ socket }) => socket.destroy(),
      (error: unknown) => error,
    );
    if (turns >= 8) await attempt;
    await wait(turns);
    const closed = performance.now();
    await socks.close();
    await attempt;
    await server.idle();
    // One that was left would live for four seconds.
    expect(performance.now() - closed).toBeLessThan(2000);
  }
});

describe('standby connections keep no process alive', () => {
  const program = `
    const [, url, port, kind] = process.argv;
    const lookup = (host, options, done) => done(null, [{ address: '::1', family: 6 }, { address: '127.0.0.1', family: 4 }]);
    const client = new core.SocksClient(url, { standby: 2, timeout: 0, lookup });
    const { socket } = await client.connect({ host: '127.0.0.1', port: Number(port) });
    socket.destroy();
    if (kind === 'when they are ready') for (let i = 0; i < 200; i++) await new Promise((resolve) => setImmediate(resolve));
  `;
  // The first connection gets its tunnel, and the others hang.
  const HANGING: [string, readonly ScriptStep[]][] = [
    ['in the greeting', [{ stall: true }]],
    ['in the answer to it', [{ read: 3 }, { send: '05' }, { stall: true }]],
    ['when they are ready', [{ read: 3 }, { send: '0500' }, { stall: true }]],
  ];
  const hosts: [string, string][] = [
    ['an address', '127.0.0.1'],
    ['a name with two addresses, one of which refuses', 'two.test'],
  ];
  test.each(hosts.flatMap(([what, host]) => HANGING.map(([state, steps]) => ({ what, host, state, steps }))))(
    'while they hang $state with a proxy at $what',
    async ({ host, state, steps }) => {
      const server = await startScripts((index) => (index === 0 ? SUCCESS : steps));
      const url = `socks5://${host}:${server.port}`;
      expect(await runCore(program, [url, port, state])).toEqual(IN_ORDER);
    },
  );

  test('while TLS to the proxy hangs', async () => {
    const server = await startProxy({ tls: TLS });
    // Forwards one connection to the proxy; then accepts connections and sends nothing.
    let accepted = 0;
    const gate = await startDestination((socket) => {
      if (accepted++ > 0) socket.resume();
      else socket.pipe(dialTcp(server.port, '127.0.0.1').on('error', () => {})).pipe(socket);
    });
    atEnd(gate.close);
    const source = `
      const [, proxyPort, port] = process.argv;
      const proxy = { version: 5, host: '127.0.0.1', port: Number(proxyPort), dns: 'remote', tls: { rejectUnauthorized: false } };
      const client = new core.SocksClient(proxy, { standby: 2, timeout: 0 });
      (await client.connect({ host: '127.0.0.1', port: Number(port) })).socket.destroy();
    `;
    expect(await runCore(source, [gate.port, port])).toEqual(IN_ORDER);
  });
});

// How many microtasks after the last step of the method.
test.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12])(
  'close() %d microtasks after a standby connection is ready leaves none',
  async (turns) => {
    const server = await startRawProxy(async (socket, read) => {
      await read(3);
      socket.write(bytes('0580 aa'));
      await read(10);
      socket.write(bytes(GRANTED));
    });
    let [calls, closed] = [0, 0];
    const close = async (): Promise<void> => {
      for (let turn = 0; turn < turns; turn++) await Promise.resolve();
      closed = performance.now();
      await socks.close();
    };
    const method: AuthMethod = {
      id: 0x80,
      *authenticate() {
        yield { read: 1, phase: 'authentication' };
        if (++calls === 2) void close();
      },
    };
    const socks = client(server.url, { standby: 1, auth: [method] });
    // The standby connection is ready first, so that this tunnel is closed too.
    await expect(socks.connect(here())).rejects.toMatchObject({ code: 'ERR_SOCKS_CLOSED' });
    await expect.poll(() => closed, { interval: 5 }).toBeGreaterThan(0);
    await expect.poll(() => server.open.size, { interval: 5, timeout: 5000 }).toBe(0);
    expect(pending.size).toBe(0);
    // One that was left would live for four seconds.
    expect(performance.now() - closed).toBeLessThan(2000);
  },
);

test('a tunnel made from a standby connection keeps the process alive, over an encapsulation too', async () => {
  const frame = (hex: string) => Buffer.from(`000${(hex.length / 2).toString(16)}`.slice(-4) + hex, 'hex');
  const { promise: ready, resolve: waits } = deferred<void>();
  const server = await startRawProxy(async (socket, read, index) => {
    await read(3);
    socket.write(bytes('0580'));
    if (index === 1) waits();
    await read(12);
    socket.write(frame(GRANTED));
    // The program is told when one is on standby, and then takes it.
    if (index === 0) await ready.then(() => setTimeout(() => socket.write(frame('21')), 50));
    else setTimeout(() => socket.write(frame('68656c6c6f')), 200);
  });
  const source = `
    import { once } from 'node:events';
    const [, url] = process.argv;
    const method = { id: 0x80, *authenticate() { return {
      seal: (data) => Buffer.concat([Buffer.of(0, data.length), data]),
      *open() { const [, length] = yield { read: 2, phase: 'request' }; return yield { read: length, phase: 'request' }; },
    }; } };
    const client = new core.SocksClient(url, { standby: 1, auth: [method] });
    const first = await client.connect({ host: '127.0.0.1', port: 80 });
    await once(first.socket, 'data');
    first.socket.destroy();
    const { socket } = await client.connect({ host: '127.0.0.1', port: 80 });
    socket.on('data', (data) => { console.log(String(data)); socket.destroy(); });
  `;
  expect(await runCore(source, [server.url])).toEqual({ ...IN_ORDER, stdout: 'hello\n' });
});

test.each([-1, 1.5, 1001, Number.NaN])('%d is refused as a number of standby connections', (standby) => {
  expect(() => new SocksClient('socks5://127.0.0.1', { standby })).toThrowError(
    expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }),
  );
});
