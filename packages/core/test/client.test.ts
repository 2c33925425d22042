// What a client keeps for its tunnels: its options, its standby connections, its attempts.

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { connect as dialTcp } from 'node:net';
import type { Socket } from 'node:net';
import type { SocksServer } from '@socksify/server';
import { CERTIFICATE, freePort, rejection, startEcho, startSite, turns } from '@socksify/support';
import type { Site, TcpDestination } from '@socksify/support';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { connect, proxyGroup, SocksClient } from '../src/index.ts';
import type { Chain, ClientOptions, ConnectOptions, ProxyRoute, SecureOptions } from '../src/index.ts';
import { atEnd, startProxy, watchDials } from './proxies.ts';
import { pending, watch } from './watched-timers.ts';

vi.mock('node:timers', () => import('./watched-timers.ts'));
beforeEach(() => watch());

let echo: TcpDestination;
beforeAll(async () => {
  echo = await startEcho();
});
afterAll(() => echo.close());
const here = () => ({ host: '127.0.0.1', port: echo.port });

function client(route: ProxyRoute, options?: ClientOptions): SocksClient {
  const made = new SocksClient(route, options);
  atEnd(() => made.close());
  return made;
}

describe('a standby connection', () => {
  /** A client of this proxy, with one connection on standby, whose port at the client this is. */
  async function ready(server: SocksServer): Promise<{ socks: SocksClient; port: number | undefined }> {
    const socks = client(server.url('socks5'), { standby: 1 });
    (await socks.connect(here())).socket.destroy();
    const answered = () => [...server.sockets].filter(({ bytesWritten }) => bytesWritten === 2);
    await expect.poll(() => answered().length, { interval: 5 }).toBe(1);
    await turns(10);
    return { socks, port: answered()[0]?.remotePort };
  }

  test.each<[string, (server: SocksServer) => ConnectOptions]>([
    ['lookup', () => ({ lookup: (_host, _options, done) => done(null, '127.0.0.1', 4) })],
    ['auth', () => ({ auth: 'auto' })],
    ['socket', (server) => ({ socket: dialTcp(server.port, '127.0.0.1') })],
    ['tcp', () => ({ tcp: { noDelay: false } })],
  ])('is not used by a tunnel with the option %s, which it was opened without', async (_, options) => {
    const server = await startProxy();
    const { socks, port } = await ready(server);
    const { socket } = await socks.connect(here(), options(server));
    expect(socket.localPort).not.toBe(port);
    socket.destroy();
  });

  test.each<[string, ConnectOptions]>([
    ['no option', {}],
    ['no option in tcp', { tcp: {} }],
    ['a time limit', { timeout: 5000 }],
  ])('is used by a tunnel with %s', async (_, options) => {
    const server = await startProxy();
    const { socks, port } = await ready(server);
    const { socket } = await socks.connect(here(), options);
    expect(socket.localPort).toBe(port);
    socket.destroy();
  });
});

describe('the options of connect()', () => {
  test('replace those of the client, and each option in tcp by itself', async () => {
    const server = await startProxy();
    const socks = client(server.url('socks5'), { tcp: { localAddress: '127.0.0.7' } });
    for (const [tcp, address] of [
      [undefined, '127.0.0.7'],
      [{ noDelay: true }, '127.0.0.7'],
      [{ localAddress: '127.0.0.8' }, '127.0.0.8'],
    ] as const) {
      const { socket } = await socks.connect(here(), { tcp });
      expect(socket.localAddress).toBe(address);
      socket.destroy();
    }
  });
});

test.each([null, 5, 'x'])('%j is refused as the options of a tunnel', async (options) => {
  const refused = connect('socks5://127.0.0.1', here(), options as never);
  await expect(refused).rejects.toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' });
});

describe('no timer is left', () => {
  test('after select() has resolved, rejected, or was ended by its signal', async () => {
    for (const answer of [
      Promise.resolve(undefined),
      Promise.reject(new Error('none')),
      new Promise(() => {}),
    ]) {
      const abort = new AbortController();
      const selecting = client(() => answer as Promise<undefined>).select(here(), { signal: abort.signal });
      expect(pending.size).toBe(1);
      setImmediate(() => abort.abort());
      await Promise.allSettled([selecting]);
      expect(pending.size).toBe(0);
    }
  });

  test('after connect() has resolved or rejected', async () => {
    const server = await startProxy();
    (await connect(server.url('socks5'), here())).socket.destroy();
    expect(pending.size).toBe(0);
    await expect(connect(`socks5://127.0.0.1:${await freePort()}`, here())).rejects.toThrow();
    expect(pending.size).toBe(0);
  });
});

describe('a tunnel that ends in prepare()', () => {
  let site: Site;
  beforeAll(async () => {
    site = await startSite();
  });
  afterAll(() => site.close());
  const reason = new Error('not this one');
  const prepare = (socket: Socket) => void socket.destroy(reason);

  test('rejects with an error of the proxy, which has the reason', async () => {
    const server = await startProxy();
    const error = await rejection(connect(server.url('socks5'), here(), { prepare }));
    expect(error).toMatchObject({ code: 'ERR_SOCKS_PROXY_CLOSED', phase: 'request' });
    expect(error.cause).toBe(reason);
  });

  test('rejects with the reason itself when it has TLS to the destination, or is direct', async () => {
    const server = await startProxy();
    const secured = { host: '127.0.0.1', port: site.https };
    const tls = { ca: CERTIFICATE, checkServerIdentity: () => undefined };
    expect(await rejection(connect(server.url('socks5'), secured, { prepare, tls }))).toBe(reason);
    expect(await rejection(connect(() => undefined, here(), { prepare }))).toBe(reason);
  });

  test('rejects with the reason of the signal when that was aborted', async () => {
    const server = await startProxy();
    const abort = new AbortController();
    const options = { prepare: () => abort.abort('enough'), signal: abort.signal };
    expect(await rejection(connect(server.url('socks5'), here(), options))).toBe('enough');
    await server.idle();
  });
});

describe('a direct connection', () => {
  const direct = () => undefined;

  test('is bound to the address of this side', async () => {
    const { socket, bound } = await connect(direct, here());
    expect(bound).toEqual({ host: '127.0.0.1', port: socket.localPort });
    socket.destroy();
  });

  test('is never made to an onion name', async () => {
    const dialled = watchDials();
    expect(await rejection(connect(direct, { host: 'x.onion', port: 80 }))).toMatchObject({
      code: 'ERR_SOCKS_INVALID_DESTINATION',
      phase: 'input',
      destination: 'x.onion:80',
      detail: expect.stringContaining('choose a tor proxy'),
    });
    expect(dialled).toEqual([]);
  });

  test('is refused with a socket that was handed in, which is destroyed', async () => {
    const socket = dialTcp(echo.port, '127.0.0.1');
    const dialled = watchDials();
    expect(await rejection(connect(direct, here(), { socket }))).toMatchObject({
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_VALUE',
      message: expect.stringContaining('leave it out for a direct connection'),
    });
    expect(socket.destroyed).toBe(true);
    expect(dialled).toEqual([]);
  });
});

test('select() gives the chain of a fixed route as it is', () => {
  expect(client(['socks5://a.test', 'socks4a://b.test']).select(here())).toMatchObject([
    { version: 5, host: 'a.test' },
    { version: 4, host: 'b.test' },
  ]);
});

test('a client that was closed opens no tunnel, and the error names the destination', async () => {
  const dialled = watchDials();
  const socks = client('socks5://127.0.0.1');
  await socks.close();
  expect(await rejection(socks.connect(here()))).toMatchObject({
    code: 'ERR_SOCKS_CLOSED',
    phase: 'input',
    destination: `127.0.0.1:${echo.port}`,
  });
  expect(dialled).toEqual([]);
});

test('a signal that is aborted already ends an attempt before a function of the caller runs', async () => {
  const messages = watchMessages();
  const [signal, called] = [AbortSignal.abort('enough'), vi.fn<() => never>()];
  for (const route of [called, 'socks5://127.0.0.1'] as const) {
    expect(await rejection(connect(route, here(), { signal, tls: called }))).toBe('enough');
  }
  expect(called).not.toHaveBeenCalled();
  expect(messages).toEqual([]);
});

test('the function that gives the TLS options is called once for each chain that is tried', async () => {
  const site = await startSite();
  atEnd(() => site.close());
  const server = await startProxy();
  const tls = vi.fn<(chain: Chain) => SecureOptions>(() => ({
    ca: CERTIFICATE,
    checkServerIdentity: () => undefined,
  }));
  for (const route of [server.url('socks5'), proxyGroup([server.url('socks5')])]) {
    const { socket, chain } = await connect(route, { host: '127.0.0.1', port: site.https }, { tls });
    expect(tls.mock.calls).toEqual([[chain]]);
    tls.mockClear();
    socket.destroy();
  }
});

/** The messages about tunnels, until the end of the test. */
function watchMessages(): readonly unknown[] {
  const messages: unknown[] = [];
  const listener = (message: unknown): void => void messages.push(message);
  for (const event of ['start', 'end', 'error']) {
    subscribe(`socksify:tunnel:${event}`, listener);
    atEnd(() => unsubscribe(`socksify:tunnel:${event}`, listener));
  }
  return messages;
}

test('no message is sent for a tunnel whose route was not selected', async () => {
  const messages = watchMessages();
  const route = () => {
    throw new Error('none');
  };
  await rejection(connect(route, here()));
  await rejection(connect('socks5://127.0.0.1', { host: '', port: 0 }));
  expect(messages).toEqual([]);
});
