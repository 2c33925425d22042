// Tunnels through groups: which members are tried, what rests, what is left open, and what the errors say.

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { Socket } from 'node:net';
import type { ScriptedServer, ServerOptions, SocksServer } from '@socksify/server';
import {
  bytes,
  CERTIFICATE,
  deferred,
  freePort,
  IN_ORDER,
  startEcho,
  startSite,
  TLS,
  turns,
  within,
} from '@socksify/support';
import type { TcpDestination } from '@socksify/support';
import { createServer as createTlsServer } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { connect, proxyGroup, SocksClient, SocksError } from '../src/index.ts';
import type { ConnectOptions, GroupOptions, ProxyGroup, ProxyRoute, TunnelMessage } from '../src/index.ts';
import { Attempt } from '../src/tunnel/attempt.ts';
import { runCore } from './core-program.ts';
import {
  atEnd,
  GRANTED,
  keepsAlive,
  startProxy,
  startRawProxy,
  startScripted,
  watchDials,
} from './proxies.ts';

let echo: TcpDestination;
beforeAll(async () => {
  echo = await startEcho();
});
afterAll(() => echo.close());

const proxy = (options: ServerOptions = {}): Promise<SocksServer> =>
  startProxy({ names: { 'echo.test': '127.0.0.1' }, ...options });

/** A SOCKS5 server that accepts connections and says nothing. */
const silent = (): Promise<ScriptedServer> => startScripted({ stall: true });
/** A SOCKS5 server without authentication that answers a request for an IPv4 address with these bytes, or never. */
const answering = (reply?: string, delay = 0): Promise<ScriptedServer> =>
  startScripted(
    { read: 3 },
    { send: '0500' },
    { read: 10 },
    { delay },
    ...(reply === undefined ? [{ stall: true } as const] : [{ send: reply }, { close: true } as const]),
  );
const refusing = (rep: string): Promise<ScriptedServer> => answering(`05${rep}000100000000 0000`);
const dead = async (): Promise<string> => `socks5://127.0.0.1:${await freePort()}`;

const here = () => ({ host: '127.0.0.1', port: echo.port });
const printed = () => `127.0.0.1:${echo.port}`;

/** A clock that stands still unless the test moves it, so that a rest does not end by itself. */
let now = 0;
function group(urls: readonly (string | string[])[], options: GroupOptions = {}): ProxyGroup {
  now = 0;
  return proxyGroup(urls, { stagger: 100, now: () => now, ...options });
}

async function open(route: ProxyRoute, options?: ConnectOptions): Promise<readonly string[]> {
  const { socket, chain } = await connect(route, here(), options);
  socket.end('hello');
  const [data] = (await once(socket, 'data')) as [Buffer];
  expect(data.toString()).toBe('hello');
  socket.destroy();
  return chain === 'direct' ? [chain] : chain.map(({ port }) => String(port));
}

const states = (of: ProxyGroup): string =>
  of
    .state()
    .map(({ state }) => state)
    .join(' ');

async function failure(
  route: ProxyRoute,
  options?: ConnectOptions,
  destination = here(),
): Promise<SocksError> {
  const [result] = await Promise.allSettled([connect(route, destination, options)]);
  if (result.status === 'fulfilled') throw new Error('a tunnel opened');
  return result.reason as SocksError;
}

async function allClosed(...servers: ScriptedServer[]): Promise<void> {
  for (const server of servers) for (const connection of server.connections) await connection.closedByClient;
}

describe('a tunnel', () => {
  test('is opened through the first member that is ready, and its chain says which one', async () => {
    const [one, other] = [await proxy(), await proxy()];
    const both = group([one.url('socks5'), other.url('socks5')]);
    expect(await open(both)).toEqual([String(one.port)]);
    both.rest(one.url('socks5'));
    expect(await open(both)).toEqual([String(other.port)]);
    expect(one.log).toHaveLength(1);
  });

  test('says that it is direct, or which chain it was opened through, also without a group', async () => {
    const [one, other] = [await proxy(), await proxy()];
    expect(await open(() => undefined)).toEqual(['direct']);
    expect(await open([one.url('socks5'), other.url('socks4')])).toEqual([
      String(one.port),
      String(other.port),
    ]);
  });

  test('is opened through the member that answers, after dead, refusing and silent ones, which then rest', async () => {
    const good = await proxy();
    const stalled = await silent();
    const wrong = await startScripted({ read: 3 }, { send: '05ff' });
    const all = group([await dead(), wrong.url('socks5'), stalled.url('socks5'), good.url('socks5')]);
    expect(await open(all)).toEqual([String(good.port)]);
    expect(all.state()).toMatchObject([
      { state: 'resting', until: 10_000, failures: 1, error: { code: 'ERR_SOCKS_PROXY_UNREACHABLE' } },
      { state: 'resting', error: { code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD' } },
      { state: 'resting', failures: 1 },
      { state: 'ready', failures: 0 },
    ]);
    expect(all.state()[2]).not.toHaveProperty('error');
    const before = [stalled.connections.length, wrong.connections.length];
    expect(await open(all)).toEqual([String(good.port)]);
    expect([stalled.connections.length, wrong.connections.length]).toEqual(before);
    await allClosed(stalled, wrong);
  });

  test('is opened through chains too, and a chain rests as a whole', async () => {
    const [first, second, other] = [await proxy(), await proxy(), await proxy()];
    const broken = [first.url('socks5'), await dead()];
    const chains = group([broken, [first.url('socks5'), second.url('socks5')], other.url('socks5')]);
    expect(await open(chains)).toEqual([String(first.port), String(second.port)]);
    expect(states(chains)).toBe('resting ready ready');
    expect(chains.state()[0]?.error).toMatchObject({
      code: 'ERR_SOCKS_CONNECTION_REFUSED',
      blame: 'proxy',
      phase: 'request',
    });
    chains.rest([first.url('socks5'), second.url('socks5')]);
    expect(await open(chains)).toEqual([String(other.port)]);
  });

  test('is never direct, and is tried through members that rest if no other one is left', async () => {
    const one = await proxy();
    const all = group([await dead(), one.url('socks5')]);
    all.rest(one.url('socks5'), 60_000);
    expect(await open(all)).toEqual([String(one.port)]);
    await one.close();
    const error = await failure(all);
    expect(error.code).toBe('ERR_SOCKS_PROXY_UNREACHABLE');
    expect(error.errors).toHaveLength(2);
  });

  test('does not send an IPv6 destination to a SOCKS4 member, however many there are', async () => {
    const servers = [await proxy(), await proxy(), await proxy()];
    const urls = servers.map((server, i) => server.url(i < 2 ? 'socks4a' : 'socks5'));
    const all = group(urls);
    const { socket, chain } = await connect(all, { host: '::1', port: echo.port });
    socket.destroy();
    expect(chain).toMatchObject([{ version: 5 }]);
    expect(servers.map(({ log }) => log.length)).toEqual([0, 0, 1]);
    expect(states(all)).toBe('ready ready ready');
    const error = await failure(group(urls.slice(0, 2)), {}, { host: '::1', port: echo.port });
    expect(error).toMatchObject({ code: 'ERR_SOCKS_INVALID_DESTINATION', blame: 'unclear' });
    expect(error.errors?.map((one) => one.proxy)).toEqual(urls.slice(0, 2));
  });

  test('is requested of one member at a time', async () => {
    const [slow, quick] = [await answering(undefined), await proxy()];
    const both = group([slow.url('socks5'), quick.url('socks5')], { stagger: 1 });
    const opening = connect(both, here(), { timeout: 400 });
    await once(quick, 'request');
    const [connection] = slow.connections;
    expect(connection?.received.length).toBe(13);
    await connection?.closedByClient;
    (await opening).socket.destroy();
    expect(quick.log).toHaveLength(1);
  });

  test('is requested of the next member when one keeps silent for its share of the time limit, and is closed', async () => {
    const slow = await answering(undefined);
    const refuses = await startRawProxy(async (socket, read) => {
      await read(3);
      socket.write(bytes('0500'));
      await read(10);
      await slow.connections[0]?.closedByClient;
      socket.write(bytes('05010001000000000000'));
    });
    const both = group([slow.url('socks5'), refuses.url]);
    const error = await failure(both, { timeout: 200 });
    expect(error).toMatchObject({ code: 'ERR_SOCKS_GENERAL_FAILURE', proxy: refuses.url });
    expect(error.errors).toMatchObject([
      {
        code: 'ERR_SOCKS_TIMEOUT',
        phase: 'request',
        proxy: slow.url('socks5'),
        detail: 'its share of the time limit',
      },
      { code: 'ERR_SOCKS_GENERAL_FAILURE' },
    ]);
    expect(states(both)).toBe('ready ready');
  });

  test('is opened through the next member when TLS to the destination is closed: that proxy granted too early', async () => {
    const tls = createTlsServer(TLS, (socket: Socket) => socket.end('hi'));
    await once(tls.listen(0, '127.0.0.1'), 'listening');
    atEnd(() => tls.close());
    const { port } = tls.address() as { port: number };
    const [early, good] = [await answering(GRANTED), await proxy()];
    const both = group([early.url('socks5'), good.url('socks5')]);
    const destination = { host: '127.0.0.1', port };
    const { socket } = await connect(both, destination, { tls: { rejectUnauthorized: false } });
    expect(String(((await once(socket, 'data')) as [Buffer])[0])).toBe('hi');
    expect(states(both)).toBe('ready ready');
    const only = await failure(group([early.url('socks5')]), { tls: { rejectUnauthorized: false } });
    expect(only).toMatchObject({ code: 'ECONNRESET' });
    const twice = group([early.url('socks5'), early.url('socks5')]);
    const error = await failure(twice, { tls: { rejectUnauthorized: false } });
    expect(error.errors).toMatchObject([
      { code: 'ERR_SOCKS_PROXY_CLOSED', cause: { code: 'ECONNRESET' } },
      { code: 'ECONNRESET' },
    ]);
    const certificate = await failure(
      group([good.url('socks5'), good.url('socks5')]),
      { tls: {} },
      destination,
    );
    expect(certificate.code).toMatch(/CERT/);
    expect(good.log).toHaveLength(2);
  });

  test('has its name looked up locally for members with dns: local, and an unknown name blames no proxy', async () => {
    const [one, other] = [await proxy(), await proxy()];
    const lookup = ((_: string, __: object, done: (error: Error | null, found: object[]) => void) =>
      done(Object.assign(new Error('x'), { code: 'ENOTFOUND' }), [])) as never;
    const both = group([one.url('socks4'), other.url('socks5')]);
    const { socket, chain } = await connect(both, { host: 'echo.test', port: echo.port }, { lookup });
    socket.destroy();
    expect(chain).toMatchObject([{ port: other.port }]);
    expect(states(both)).toBe('ready ready');
  });
});

describe('a refusal', () => {
  test.each([
    ['01', 'unclear', 2],
    ['02', 'unclear', 2],
    ['04', 'destination', 1],
    ['05', 'destination', 1],
    ['07', 'proxy', 3],
  ])('REP %s blames %s: it is the answer of %i of 3 members', async (rep, blame, requested) => {
    const servers = [await refusing(rep), await refusing(rep), await refusing(rep)];
    const all = group(servers.map((server) => server.url('socks5')));
    const error = await failure(all);
    expect(error).toMatchObject({ reply: Number.parseInt(rep, 16), blame, destination: printed() });
    expect(servers.map(({ connections }) => connections.length)).toEqual(
      [1, 1, 1].map((one, i) => (i < requested ? one : 0)),
    );
    expect(error.errors?.length).toBe(requested === 1 ? undefined : requested);
    expect(states(all)).toBe(blame === 'proxy' ? 'resting resting resting' : 'ready ready ready');
  });

  test('with CD 92 is followed by the next member, and one with REP 02 by one more member only', async () => {
    const good = await proxy();
    const ident = await startScripted({ read: 9 }, { send: '005c000000000000' });
    const rules = [await refusing('02'), await refusing('02')];
    const all = group([`socks4://127.0.0.1:${ident.port}`, good.url('socks5')]);
    expect(await open(all)).toEqual([String(good.port)]);
    expect(states(all)).toBe('resting ready');
    expect(await open(group([rules[0]?.url('socks5') ?? '', good.url('socks5')]))).toEqual([
      String(good.port),
    ]);
    const error = await failure(group([...rules.map((server) => server.url('socks5')), good.url('socks5')]));
    expect(error.code).toBe('ERR_SOCKS_NOT_ALLOWED');
  });
});

describe('an error', () => {
  test('of one attempt is thrown as it is', async () => {
    const error = await failure(group([await dead()]));
    expect(error.code).toBe('ERR_SOCKS_PROXY_UNREACHABLE');
    expect(error.errors).toBeUndefined();
  });

  test('of several attempts is the last one, with all of them in errors, itself last', async () => {
    const [gone, wrong] = [await dead(), await startScripted({ read: 3 }, { send: '05ff' })];
    const error = await failure(group([gone, wrong.url('socks5')]));
    expect(error.code).toBe('ERR_SOCKS_NO_ACCEPTABLE_METHOD');
    expect(error.errors?.map(({ proxy: name, code }) => [name, code])).toEqual([
      [gone, 'ERR_SOCKS_PROXY_UNREACHABLE'],
      [wrong.url('socks5'), 'ERR_SOCKS_NO_ACCEPTABLE_METHOD'],
    ]);
    expect(error.errors?.at(-1)).toBe(error);
    expect(Object.keys(error)).not.toContain('errors');
  });

  test('of the time limit is that of the oldest attempt, and its errors include those of attempts in progress', async () => {
    const [gone, one, other] = [await dead(), await silent(), await silent()];
    const all = group([gone, one.url('socks5'), other.url('socks5')], { stagger: 20 });
    const error = await failure(all, { timeout: 150 });
    expect(error).toMatchObject({
      code: 'ERR_SOCKS_TIMEOUT',
      phase: 'greeting',
      proxy: one.url('socks5'),
      detail: '150 ms',
    });
    expect(error.errors?.map(({ proxy: name, code }) => [name, code])).toEqual([
      [gone, 'ERR_SOCKS_PROXY_UNREACHABLE'],
      [other.url('socks5'), 'ERR_SOCKS_TIMEOUT'],
      [one.url('socks5'), 'ERR_SOCKS_TIMEOUT'],
    ]);
    expect(states(all)).toBe('resting resting resting');
    await allClosed(one, other);
  });

  test('of the time limit during TLS to the destination says so', async () => {
    const servers = [await proxy(), await proxy()];
    const destination = { host: '127.0.0.1', port: (await silent()).port };
    const both = group(servers.map((server) => server.url('socks5')));
    const error = await failure(both, { timeout: 150, tls: {} }, destination);
    expect(error).toMatchObject({ code: 'ERR_SOCKS_TIMEOUT', phase: 'destination-tls' });
    expect(states(both)).toBe('ready ready');
  });

  test('of the time limit during a request lets no member rest', async () => {
    const servers = [await answering(undefined), await answering(undefined)];
    const both = group(servers.map((server) => server.url('socks5')));
    const error = await failure(both, { timeout: 150 });
    expect(error).toMatchObject({ code: 'ERR_SOCKS_TIMEOUT', phase: 'request', detail: '150 ms' });
    expect(error.errors?.map(({ detail }) => detail)).toEqual(['its share of the time limit', '150 ms']);
    expect(states(both)).toBe('ready ready');
    await allClosed(...servers);
  });

  test('that the caller throws for each tunnel has the errors of the last one', async () => {
    const site = await startSite();
    atEnd(() => site.close());
    const [good, gone] = [await proxy(), await dead()];
    const refused = new Error('not this certificate');
    const tls = { ca: CERTIFICATE, checkServerIdentity: () => refused };
    const destination = { host: '127.0.0.1', port: site.https };
    const found: unknown[] = [];
    for (let i = 0; i < 2; i++) {
      const error = await failure(group([gone, good.url('socks5')]), { tls }, destination);
      expect(error).toBe(refused);
      found.push(error.errors);
      expect(error.errors).toMatchObject([{ code: 'ERR_SOCKS_PROXY_UNREACHABLE' }, refused]);
    }
    expect(found[0]).not.toBe(found[1]);
  });

  test('of an abort by the function that gives the TLS options blames nobody', async () => {
    const servers = [await silent(), await silent()];
    const both = group(servers.map((server) => server.url('socks5')));
    const abort = new AbortController();
    const reason = new SocksError('ERR_SOCKS_TIMEOUT', { phase: 'greeting' });
    const tls = () => {
      abort.abort(reason);
      return {};
    };
    expect(await failure(both, { signal: abort.signal, tls })).toBe(reason);
    expect(states(both)).toBe('ready ready');
    expect(servers.map(({ connections }) => connections.length)).toEqual([0, 0]);
  });

  test('of an abort is the reason alone, and blames nobody', async () => {
    const [one, other] = [await silent(), await silent()];
    const all = group([one.url('socks5'), other.url('socks5')], { stagger: 1 });
    const abort = new AbortController();
    const failed = failure(all, { signal: abort.signal });
    await one.connection();
    await other.connection();
    const reason = new SocksError('ERR_SOCKS_TIMEOUT', { phase: 'greeting' });
    abort.abort(reason);
    expect(await failed).toBe(reason);
    expect(reason.errors).toBeUndefined();
    expect(states(all)).toBe('ready ready');
    await allClosed(one, other);
  });

  test('of close() is ERR_SOCKS_CLOSED, and no connection to a member stays open', async () => {
    const [one, other, resting] = [await silent(), await silent(), await silent()];
    const urls = [one.url('socks5'), other.url('socks5'), resting.url('socks5')];
    const all = group(urls, { stagger: 1 });
    all.rest(resting.url('socks5'), 0);
    const client = new SocksClient(all);
    const failed = client.connect(here()).catch((error: unknown) => error);
    for (const server of [one, other, resting]) await server.connection();
    await client.close();
    expect(await failed).toMatchObject({ code: 'ERR_SOCKS_CLOSED' });
    expect(states(all)).toBe('ready ready resting');
    await allClosed(one, other, resting);
  });

  test.each(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL'])(
    '%s of this machine blames no proxy, and stops',
    async (code) => {
      const one = await proxy();
      const lookup = ((_: string, __: object, done: (error: Error) => void) =>
        done(Object.assign(new Error('x'), { code }))) as never;
      const all = group(['socks5://name.test', one.url('socks5')]);
      const error = await failure(all, { lookup });
      expect(error).toMatchObject({ code: 'ERR_SOCKS_PROXY_UNREACHABLE', blame: 'none' });
      expect(states(all)).toBe('ready ready');
      expect(one.log).toHaveLength(0);
    },
  );
});

describe('a member that rests', () => {
  test('is greeted beside the next request when its rest is over, and is ready when it answers', async () => {
    const [one, other] = [await proxy(), await proxy()];
    const both = group([one.url('socks5'), other.url('socks5')]);
    both.rest(one.url('socks5'), 500);
    expect(await open(both)).toEqual([String(other.port)]);
    now = 500;
    expect(await open(both)).toEqual([String(other.port)]);
    await expect.poll(() => states(both), { interval: 5 }).toBe('ready ready');
    expect(one.log).toHaveLength(0);
    // The server itself would close this connection after 10 s.
    await within(one.idle(), 'the connection of the greeting', 5000);
    expect(await open(both)).toEqual([String(one.port)]);
  });

  test('is not greeted when the request itself is sent to it', async () => {
    const servers = [await answering(GRANTED), await answering(GRANTED)];
    const both = group(servers.map((server) => server.url('socks5')));
    for (const server of servers) both.rest(server.url('socks5'), 0);
    const { socket, chain } = await connect(both, here());
    socket.destroy();
    expect(chain).toMatchObject([{ port: servers[0]?.port }]);
    await expect.poll(() => states(both), { interval: 5 }).toBe('ready ready');
    await allClosed(...servers);
    expect(servers.map(({ connections }) => connections.length)).toEqual([1, 1]);
  });

  test('is greeted by an attempt that ends, so that no timer is left', async () => {
    const [begun, ended] = [vi.spyOn(Attempt.prototype, 'begin'), vi.spyOn(Attempt.prototype, 'end')];
    atEnd(() => vi.restoreAllMocks());
    const [one, other] = [await proxy(), await proxy()];
    const both = group([one.url('socks5'), other.url('socks5')]);
    both.rest(one.url('socks5'), 0);
    await open(both);
    await expect.poll(() => states(both), { interval: 5 }).toBe('ready ready');
    await one.idle();
    expect(begun).toHaveBeenCalledTimes(2);
    expect(new Set(ended.mock.contexts)).toEqual(new Set(begun.mock.contexts));
  });

  test('is greeted once by twenty requests at a time, which do not wait for it', async () => {
    const [one, good] = [await silent(), await proxy()];
    const both = group([one.url('socks5'), good.url('socks5')], { stagger: 60_000 });
    both.rest(one.url('socks5'), 500);
    now = 500;
    const tunnels = await Promise.all(Array.from({ length: 20 }, () => open(both)));
    expect(new Set(tunnels.flat())).toEqual(new Set([String(good.port)]));
    expect(one.connections).toHaveLength(1);
    expect(states(both)).toBe('greeting ready');
  });

  test('rests on when it does not answer a greeting within the stagger', async () => {
    const [one, good] = [await silent(), await proxy()];
    const both = group([one.url('socks5'), good.url('socks5')], { stagger: 50 });
    both.rest(one.url('socks5'), 500);
    now = 500;
    expect(await open(both)).toEqual([String(good.port)]);
    await expect.poll(() => states(both), { interval: 5 }).toBe('resting ready');
    expect(both.state()[0]).toMatchObject({ failures: 1, error: { code: 'ERR_SOCKS_TIMEOUT' } });
    await allClosed(one);
  });

  test('is not blamed when its greeting fails because of this machine', async () => {
    const good = await proxy();
    const both = group(['socks5://name.test', good.url('socks5')]);
    both.rest('socks5://name.test', 0);
    const lookup = ((_: string, __: object, done: (error: Error) => void) =>
      done(Object.assign(new Error('x'), { code: 'EMFILE' }))) as never;
    await open(both, { lookup });
    await expect.poll(() => states(both), { interval: 5 }).toBe('resting ready');
    expect(both.state()[0]).toMatchObject({ failures: 0, until: 0 });
  });

  test('is greeted by a connection that does not count for the process', async () => {
    const dialled = watchDials();
    const [one, good] = [await silent(), await proxy()];
    const both = group([one.url('socks5'), good.url('socks5')], { stagger: 60_000 });
    both.rest(one.url('socks5'), 0);
    const { socket } = await connect(both, here());
    await one.connection();
    const count = (port: number) =>
      dialled.filter(({ remotePort }) => remotePort === port).map((found) => keepsAlive(found));
    expect(count(good.port)).toEqual([true]);
    await expect.poll(() => count(one.port), { interval: 5 }).toEqual([false]);
    socket.destroy();
  });

  test('keeps no process alive by its greeting', async () => {
    const [one, good] = [await silent(), await proxy()];
    const program = `
      const [one, good, port] = process.argv.slice(1);
      const group = core.proxyGroup([one, good], { stagger: 60_000 });
      group.rest(one, 0);
      const { socket } = await core.connect(group, { host: '127.0.0.1', port });
      socket.destroy();
    `;
    expect(await runCore(program, [one.url('socks5'), good.url('socks5'), echo.port])).toEqual(IN_ORDER);
    expect(one.connections).toHaveLength(1);
  });
});

describe('the member of a group of one', () => {
  test('gives the tunnel, and is ready again even if the application lets it rest', async () => {
    const server = await proxy();
    const one = group([server.url('socks5')]);
    one.rest(server.url('socks5'), 0);
    expect(await open(one)).toEqual([String(server.port)]);
    expect(states(one)).toBe('ready');
  });

  test('is ready again when it gives the tunnel with pipeline', async () => {
    const server = await startScripted({ read: 13 }, { send: `0500${GRANTED}` });
    const one = group([server.url('socks5')]);
    one.rest(server.url('socks5'), 0);
    (await connect(one, here(), { pipeline: true })).socket.destroy();
    expect(states(one)).toBe('ready');
  });

  test('is ready again when it has negotiated, although it then closes on the request', async () => {
    const closes = await startScripted({ read: 3 }, { send: '0500' }, { read: 10 }, { close: true });
    const one = group([closes.url('socks5')]);
    one.rest(closes.url('socks5'), 0);
    expect(await failure(one)).toMatchObject({ code: 'ERR_SOCKS_PROXY_CLOSED', blame: 'unclear' });
    expect(states(one)).toBe('ready');
  });

  test('rests on when this machine cannot dial it', async () => {
    const one = group(['socks5://name.test']);
    one.rest('socks5://name.test', 0);
    const lookup = ((_: string, __: object, done: (error: Error) => void) =>
      done(Object.assign(new Error('x'), { code: 'EMFILE' }))) as never;
    expect((await failure(one, { lookup })).blame).toBe('none');
    expect(one.state()).toMatchObject([{ state: 'resting', failures: 0 }]);
  });

  test('rests when it does not answer within the time limit', async () => {
    const one = group([(await silent()).url('socks5')]);
    expect((await failure(one, { timeout: 50 })).code).toBe('ERR_SOCKS_TIMEOUT');
    expect(one.state()).toMatchObject([{ state: 'resting', error: { code: 'ERR_SOCKS_TIMEOUT' } }]);
  });

  test('does not rest because of an abort, whatever the reason', async () => {
    const server = await silent();
    const one = group([server.url('socks5')]);
    const abort = new AbortController();
    const failed = failure(one, { signal: abort.signal });
    await server.connection();
    const reason = new SocksError('ERR_SOCKS_TIMEOUT', { phase: 'greeting' });
    abort.abort(reason);
    expect(await failed).toBe(reason);
    expect(states(one)).toBe('ready');
  });
});

describe('nothing is left open', () => {
  test('of a member that negotiates while another one is requested', async () => {
    let requested = deferred<void>();
    let negotiated = deferred<void>();
    const slow = await startRawProxy(async (socket, read) => {
      await read(3);
      await requested.promise;
      socket.write(bytes('0500'));
      negotiated.resolve();
    });
    const good = await startRawProxy(async (socket, read) => {
      await read(3);
      socket.write(bytes('0500'));
      await read(10);
      requested.resolve();
      await negotiated.promise;
      await turns(20);
      socket.write(bytes(GRANTED));
    });
    const both = group([slow.url, good.url], { stagger: 1 });
    const { socket, chain } = await connect(both, here());
    expect(chain).toMatchObject([{ port: good.port }]);
    await expect.poll(() => slow.open.size, { interval: 5 }).toBe(0);
    socket.destroy();
    [requested, negotiated] = [deferred(), deferred()];
    const program = `
      const group = core.proxyGroup(process.argv.slice(1), { stagger: 1 });
      const { socket } = await core.connect(group, { host: '127.0.0.1', port: 1 });
      socket.destroy();
    `;
    expect(await runCore(program, [slow.url, good.url])).toEqual(IN_ORDER);
  });

  test('and a connection that was closed while it waited is replaced by another one', async () => {
    const [begun, requested, closed] = [deferred<void>(), deferred<void>(), deferred<void>()];
    const refuses = await startRawProxy(async (socket, read) => {
      await read(3);
      await begun.promise;
      socket.write(bytes('0500'));
      await read(10);
      requested.resolve();
      await closed.promise;
      socket.write(bytes('05010001000000000000'));
    });
    const closes = await startRawProxy(async (socket, read, index) => {
      await read(3);
      if (index === 0) {
        begun.resolve();
        await requested.promise;
        socket.on('close', () => closed.resolve()).write(bytes('0500'));
        // Not in the segment of the answer.
        await turns(20);
        socket.end();
        return;
      }
      socket.write(bytes('0500'));
      await read(10);
      socket.write(bytes(GRANTED));
    });
    const both = group([refuses.url, closes.url], { stagger: 1 });
    const { socket, chain } = await connect(both, here());
    expect(chain).toMatchObject([{ port: closes.port }]);
    socket.destroy();
  });

  test('after an abort at any moment of a race', async () => {
    const [slow, good] = [await startScripted({ read: 3 }, { delay: 5 }, { send: '0500' }), await proxy()];
    const both = group([slow.url('socks5'), good.url('socks5')], { stagger: 2 });
    for (let moment = 0; moment < 40; moment++) {
      const abort = new AbortController();
      const opening = connect(both, here(), { signal: abort.signal });
      await turns(moment);
      abort.abort();
      const [result] = await Promise.allSettled([opening]);
      if (result.status === 'fulfilled') result.value.socket.destroy();
      else expect(result.reason).toMatchObject({ name: 'AbortError' });
    }
    await allClosed(slow);
    await good.idle();
  });
});

describe('options', () => {
  test('a socket that was handed in is refused and destroyed, because it leads to one proxy', async () => {
    const servers = [await proxy(), await proxy()];
    for (const urls of [servers.slice(0, 1), servers].map((some) => some.map((one) => one.url('socks5')))) {
      const socket = new Socket();
      expect(await failure(group(urls), { socket })).toMatchObject({
        name: 'TypeError',
        code: 'ERR_INVALID_ARG_VALUE',
        message: expect.stringContaining('give that proxy in place of a group'),
      });
      expect(socket.destroyed).toBe(true);
    }
    expect(servers.map(({ connections }) => connections)).toEqual([0, 0]);
  });

  test('pipeline is used with one member, which rests for longer each time that it accepts a connection and sends nothing', async () => {
    const proxyThatCloses = await startScripted({ read: 3 }, { close: true });
    const one = group([proxyThatCloses.url('socks5')], { rest: 100 });
    for (const [failures, until] of [
      [1, 100],
      [2, 300],
    ] as const) {
      const { code } = await failure(one, { pipeline: true });
      expect(code).toBe('ERR_SOCKS_PROXY_CLOSED');
      expect(one.state()).toMatchObject([{ state: 'resting', failures, until }]);
      now = until;
    }
  });

  test('pipeline is used with one member, which is ready again when it has answered with a refusal', async () => {
    const refuses = await startScripted({ read: 13 }, { send: '050005050001000000000000' }, { close: true });
    const one = group([refuses.url('socks5')]);
    one.rest(refuses.url('socks5'), 0);
    expect(states(one)).toBe('resting');
    expect((await failure(one, { pipeline: true })).code).toBe('ERR_SOCKS_CONNECTION_REFUSED');
    expect(one.state()).toMatchObject([{ state: 'ready', failures: 0 }]);
  });

  test('pipeline is not used with several members: only one of them is sent a request', async () => {
    const [one, other] = [await silent(), await proxy()];
    expect(await open(group([one.url('socks5'), other.url('socks5')]), { pipeline: true })).toEqual([
      String(other.port),
    ]);
    // The greeting alone: 05 01 00.
    expect(one.connections[0]?.received.toString('hex')).toBe('050100');
  });

  test('tls may depend on the chain, and is checked before anything is dialled', async () => {
    const one = await proxy();
    const all = group([await dead(), one.url('socks5')]);
    const calls: unknown[] = [];
    const error = await failure(all, {
      tls: (chain) => {
        calls.push(chain === 'direct' ? chain : chain[0]?.port);
        return { rejectUnauthorized: false };
      },
      timeout: 300,
    });
    expect(error).toBeInstanceOf(Error);
    expect(calls.at(-1)).toBe(one.port);
    const refused = await failure(group([one.url('socks5')]), { tls: () => ({ cert: 'no certificate' }) });
    expect(refused.message).toMatch(/PEM|asn1|no start line/i);
    expect(one.log).toHaveLength(1);
  });

  test('standby fills the member that gave the tunnel, and keeps the others beside it', async () => {
    const servers = [await proxy(), await proxy()];
    let connections = 0;
    for (const server of servers) server.on('received', () => connections++);
    const client = new SocksClient(
      group(
        servers.map((server) => server.url('socks5')),
        { order: 'rotate' },
      ),
      { standby: 2 },
    );
    let dialled = 0;
    const count = (): void => void dialled++;
    subscribe('net.client.socket', count);
    for (let i = 0; i < 30; i++) {
      const { socket } = await client.connect(here());
      socket.destroy();
      const waiting = () => servers.reduce((sum, server) => sum + server.connections, 0);
      await expect.poll(waiting, { interval: 1 }).toBe(Math.min(i + 1, 2));
    }
    unsubscribe('net.client.socket', count);
    await client.close();
    expect(connections).toBe(30);
    // The proxies of this process dial 30 destinations. The client dials for 30 tunnels, for the two connections that
    // wait at the end, and when it first needs one for the second proxy.
    expect(dialled - 30).toBeLessThanOrEqual(34);
    for (const server of servers) await server.idle();
  });
});

test('the channels say which members were tried, how long, and why each was left', async () => {
  const [gone, stalled, good] = [await dead(), await silent(), await proxy()];
  const messages: TunnelMessage[] = [];
  const listener = (message: unknown): void => void messages.push(message as TunnelMessage);
  const names = ['start', 'end', 'error'].map((name) => `socksify:tunnel:${name}`);
  for (const name of names) subscribe(name, listener);
  await open(group([gone, stalled.url('socks5'), good.url('socks5')]));
  await failure(group([gone, gone]));
  await open(group([good.url('socks5')]));
  await failure(group([gone]));
  for (const name of names) unsubscribe(name, listener);
  expect(messages).toMatchObject([
    { proxies: [gone] },
    {
      proxies: [good.url('socks5')],
      attempts: [
        {
          proxies: [gone],
          outcome: 'error',
          durations: { dial: expect.any(Number) },
          error: { code: 'ERR_SOCKS_PROXY_UNREACHABLE' },
        },
        { proxies: [stalled.url('socks5')], outcome: 'unused', durations: { greeting: expect.any(Number) } },
        { proxies: [good.url('socks5')], outcome: 'tunnel', durations: { request: expect.any(Number) } },
      ],
    },
    { proxies: [gone] },
    { proxies: [gone], error: { code: 'ERR_SOCKS_PROXY_UNREACHABLE' }, attempts: [{}, {}] },
    { proxies: [good.url('socks5')] },
    { proxies: [good.url('socks5')], attempts: [{ outcome: 'tunnel' }] },
    { proxies: [gone] },
    { proxies: [gone], attempts: [{ outcome: 'error', error: { code: 'ERR_SOCKS_PROXY_UNREACHABLE' } }] },
  ]);
  const [, { attempts = [] } = {}] = messages;
  expect(attempts[1]?.durations.greeting).toBeGreaterThan(90);
});

test('the message of a tunnel that fails has the error of each attempt, and how long each took', async () => {
  const [gone, one, other] = [await dead(), await silent(), await silent()];
  const messages: TunnelMessage[] = [];
  const listener = (message: unknown): void => void messages.push(message as TunnelMessage);
  subscribe('socksify:tunnel:error', listener);
  atEnd(() => unsubscribe('socksify:tunnel:error', listener));
  const all = group([gone, one.url('socks5'), other.url('socks5')], { stagger: 20 });
  const error = await failure(all, { timeout: 150 });
  const [{ attempts = [], proxies } = {}] = messages;
  // Those of the attempt that began last.
  expect(proxies).toEqual([other.url('socks5')]);
  expect(attempts).toMatchObject([{ outcome: 'error' }, { outcome: 'error' }, { outcome: 'error' }]);
  expect(attempts[1]?.error).toBe(error);
  expect(attempts[2]?.error).toBe(error.errors?.[1]);
  // The first attempt ended before the second began.
  const [refused = {}, silence = {}] = attempts.map(({ durations }) => durations);
  expect(refused.dial).toBeLessThan(silence.greeting ?? 0);
});

test('the message of a tunnel that is aborted before its first attempt says that no other one began', async () => {
  const messages: TunnelMessage[] = [];
  const listener = (message: unknown): void => void messages.push(message as TunnelMessage);
  subscribe('socksify:tunnel:error', listener);
  atEnd(() => unsubscribe('socksify:tunnel:error', listener));
  const abort = new AbortController();
  const tls = () => {
    abort.abort('enough');
    return {};
  };
  // SOCKS4 has no IPv6, so that each attempt would fail at once.
  const both = group(['socks4a://a.test', 'socks4a://b.test']);
  const opening = connect(both, { host: '::1', port: 80 }, { tls, signal: abort.signal });
  await expect(opening).rejects.toBe('enough');
  expect(messages).toMatchObject([{ error: 'enough', attempts: [{ outcome: 'unused' }] }]);
});

test('the message of a tunnel that is aborted when it is ready says that no member gave one', async () => {
  const site = await startSite();
  atEnd(() => site.close());
  const messages: TunnelMessage[] = [];
  const listener = (message: unknown): void => void messages.push(message as TunnelMessage);
  subscribe('socksify:tunnel:error', listener);
  atEnd(() => unsubscribe('socksify:tunnel:error', listener));
  const servers = [await proxy(), await proxy()];
  const abort = new AbortController();
  const tls = {
    ca: CERTIFICATE,
    checkServerIdentity: () => undefined,
    // Behind the listener of core.
    onSocket: (socket: Socket) => {
      process.nextTick(() => socket.once('secureConnect', () => abort.abort('enough')));
    },
  };
  const both = group(servers.map((server) => server.url('socks5')));
  const opening = connect(both, { host: '127.0.0.1', port: site.https }, { tls, signal: abort.signal });
  await expect(opening).rejects.toBe('enough');
  expect(messages).toMatchObject([{ error: 'enough', attempts: [{ outcome: 'unused' }] }]);
});
