// Groups over the agent and fetch: how soon the first byte comes when proxies are dead, silent, slow or refusing, how
// requests are spread, and what is left open.

import { AsyncLocalStorage } from 'node:async_hooks';
import { constants } from 'node:crypto';
import { once } from 'node:events';
import { get as getHttp, request as requestHttp } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { createSecureServer } from 'node:http2';
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2';
import { get as getHttps } from 'node:https';
import { buffer, text } from 'node:stream/consumers';
import { inspect } from 'node:util';
import type { TLSSocket } from 'node:tls';
import { SocksAgent } from '@socksify/agent';
import { proxyGroup } from '@socksify/core';
import type { ProxyGroup, ProxyRoute } from '@socksify/core';
import { startRelay, startScript, startServer } from '@socksify/server';
import type { ScriptedServer, SocksServer } from '@socksify/server';
import { freePort, IN_ORDER, listen, runProgram, startSite, TLS } from '@socksify/support';
import type { Site } from '@socksify/support';
import { SocksDispatcher } from '@socksify/undici';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';

const NAMES = { 'origin.test': '127.0.0.1' };
let site: Site;
beforeAll(async () => {
  site = await startSite();
});
afterAll(() => site.close());

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function proxy(): Promise<SocksServer> {
  const server = await startServer({ names: NAMES, users: 'any', allowAnonymous: true });
  closing.push(() => server.close());
  return server;
}

async function silent(): Promise<ScriptedServer> {
  const server = await startScript([{ stall: true }]);
  closing.push(() => server.close());
  return server;
}

const urlOf = (port: number): string => `socks5://127.0.0.1:${port}`;
const dead = async (): Promise<string> => urlOf(await freePort());

/** A proxy behind a relay that holds up all bytes for so many milliseconds, in each direction. */
async function distant(to: SocksServer, delay: number): Promise<string> {
  const relay = await startRelay({ to: to.port, delay });
  closing.push(() => relay.close());
  return urlOf(relay.port);
}

interface Client {
  readonly get: (url: string, signal?: AbortSignal) => Promise<string>;
  readonly post: (url: string, chunks: readonly string[]) => Promise<string>;
  readonly close: () => unknown;
  /** The agent or dispatcher. */
  readonly inner: object;
}

interface ClientOptions {
  readonly keepAlive?: boolean;
  readonly connectTimeout?: number;
  readonly allowH2?: boolean;
}

function agentClient(route: ProxyRoute, { keepAlive = false, connectTimeout }: ClientOptions = {}): Client {
  const agent = new SocksAgent(route, { keepAlive, connectTimeout, rejectUnauthorized: false });
  return {
    async get(url, signal) {
      const get = url.startsWith('https:') ? getHttps : getHttp;
      const [response] = (await once(get(url, { agent, signal }), 'response')) as [IncomingMessage];
      return text(response);
    },
    async post(url, chunks) {
      const request = requestHttp(url, { agent, method: 'POST' });
      const answered = once(request, 'response');
      for (const chunk of chunks) request.write(chunk);
      request.end();
      const [response] = (await answered) as [IncomingMessage];
      return (await buffer(response)).toString();
    },
    close: () => agent.destroy(),
    inner: agent,
  };
}

function fetchClient(
  route: ProxyRoute,
  { keepAlive = false, connectTimeout, allowH2 = false }: ClientOptions = {},
): Client {
  const dispatcher = new SocksDispatcher(route, {
    allowH2,
    ...(connectTimeout !== undefined && { connectTimeout }),
    ...(!keepAlive && { pipelining: 0 }),
    connect: { rejectUnauthorized: false },
  });
  return {
    get: async (url, signal) => (await fetch(url, { dispatcher, ...(signal && { signal }) })).text(),
    async post(url, chunks) {
      const body = new ReadableStream({
        start(controller) {
          for (const chunk of chunks) controller.enqueue(new TextEncoder().encode(chunk));
          controller.close();
        },
      });
      return (await fetch(url, { dispatcher, method: 'POST', body, duplex: 'half' } as object)).text();
    },
    close: () => dispatcher.destroy(),
    inner: dispatcher,
  };
}

const http = (): string => `http://origin.test:${site.http}/`;
const states = (group: ProxyGroup): string[] => group.state().map(({ state }) => state);

async function timed(client: Client): Promise<number> {
  const began = performance.now();
  expect(await client.get(http())).toBe('hello');
  return performance.now() - began;
}

describe.each([
  ['the agent', agentClient],
  ['fetch', fetchClient],
] as const)('through %s', (_, open) => {
  const start = (route: ProxyRoute, options?: ClientOptions): Client => {
    const client = open(route, options);
    closing.push(() => client.close());
    return client;
  };

  test('a dead, a silent, a slow and a refusing proxy before a good one cost the first request two staggers', async () => {
    const [good, behind] = [await proxy(), await proxy()];
    const stalled = await silent();
    const refusing = await startScript([
      { read: 3 },
      { send: '0500' },
      { read: 18 },
      { send: '05020001000000000000' },
      { close: true },
    ]);
    closing.push(() => refusing.close());
    const slow = await distant(behind, 600);
    const urls = [await dead(), urlOf(stalled.port), slow, urlOf(refusing.port), urlOf(good.port)];
    const group = proxyGroup(urls);
    const client = start(group);
    const first = await timed(client);
    const later: number[] = [];
    for (let i = 0; i < 5; i++) later.push(await timed(client));
    expect(first).toBeGreaterThan(1900);
    expect(first).toBeLessThan(3500);
    expect(later.toSorted((one, other) => one - other)[2]).toBeLessThan(300);
    expect(states(group)).toEqual(['resting', 'resting', 'resting', 'ready', 'ready']);
    expect(stalled.connections).toHaveLength(1);
    expect(behind.log).toHaveLength(0);
    expect(good.log).toHaveLength(6);
  });

  test('twelve silent proxies before a good one do not use up the time limit', async () => {
    const [good, stalled] = [await proxy(), await silent()];
    const urls = Array.from({ length: 12 }, (_unused, i) => `socks5://user${i}:x@127.0.0.1:${stalled.port}`);
    const group = proxyGroup([...urls, urlOf(good.port)]);
    const client = start(group, { connectTimeout: 2000 });
    expect(await timed(client)).toBeLessThan(2100);
    expect(await timed(client)).toBeLessThan(1000);
    for (const connection of stalled.connections) await connection.closedByClient;
  });

  test('a rotation spreads 150 requests evenly over the working ones of five proxies', async () => {
    const servers = [await proxy(), await proxy(), await proxy()];
    const [a = '', b = '', c = ''] = servers.map(({ port }) => urlOf(port));
    const client = start(proxyGroup([a, await dead(), b, await dead(), c], { order: 'rotate' }));
    for (let i = 0; i < 150; i++) expect(await client.get(http())).toBe('hello');
    const counts = servers.map(({ log }) => log.length);
    expect(counts.reduce((sum, count) => sum + count)).toBe(150);
    for (const count of counts) expect(Math.abs(count - 50)).toBeLessThanOrEqual(3);
  });

  test('a proxy that comes back serves again, after one greeting beside another request', async () => {
    const other = await proxy();
    const port = await freePort();
    let time = 0;
    const group = proxyGroup([urlOf(port), urlOf(other.port)], { now: () => time });
    const client = start(group);
    await client.get(http());
    expect(states(group)).toEqual(['resting', 'ready']);
    const back = await startServer({ names: NAMES, port });
    closing.push(() => back.close());
    await client.get(http());
    expect(back.log).toHaveLength(0);
    time = 10_000;
    await client.get(http());
    expect(back.log).toHaveLength(0);
    await expect.poll(() => states(group), { interval: 5 }).toEqual(['ready', 'ready']);
    await client.get(http());
    expect(back.log).toHaveLength(1);
    expect(other.log).toHaveLength(3);
  });

  test('chains are members: one whose second proxy is dead is passed over', async () => {
    const [first, second] = [await proxy(), await proxy()];
    const chain = [urlOf(first.port), urlOf(second.port)];
    const group = proxyGroup([[urlOf(first.port), await dead()], chain]);
    const client = start(group);
    expect(await client.get(http())).toBe('hello');
    expect(states(group)).toEqual(['resting', 'ready']);
    expect(second.log.map(({ host }) => host)).toEqual(['origin.test']);
  });

  test('an unknown name is looked up by one proxy of three', async () => {
    const servers = [await proxy(), await proxy(), await proxy()];
    const group = proxyGroup(servers.map(({ port }) => urlOf(port)));
    const [result] = await Promise.allSettled([start(group).get('http://unknown.test/')]);
    const { cause, code } = (result as PromiseRejectedResult).reason as Error & { code?: string };
    expect(code ?? (cause as { code?: string }).code).toBe('ERR_SOCKS_HOST_UNREACHABLE');
    expect(servers.map(({ log }) => log.length)).toEqual([1, 0, 0]);
    expect(states(group)).toEqual(['ready', 'ready', 'ready']);
  });

  test('an abort during a race leaves nothing open', async () => {
    const [one, other] = [await silent(), await silent()];
    const client = start(proxyGroup([urlOf(one.port), urlOf(other.port)], { stagger: 20 }));
    const abort = new AbortController();
    const failed = client.get(http(), abort.signal).catch((error: unknown) => error);
    for (const server of [one, other]) await server.connection();
    abort.abort();
    expect(await failed).toMatchObject({ name: 'AbortError' });
    for (const server of [one, other]) await (await server.connection()).closedByClient;
  });

  test('the destination sees one connection, however many members race', async () => {
    const behind = await proxy();
    const urls = await Promise.all([60, 50, 40, 30].map((delay) => distant(behind, delay)));
    const client = start(proxyGroup(urls, { stagger: 5 }));
    const before = site.hits.length;
    await client.get(http());
    await behind.idle();
    expect(site.hits.length - before).toBe(1);
    expect(behind.log).toHaveLength(1);
  });

  test('50 streams that are posted at a time come as 50 bodies, once each', async () => {
    const bodies: string[] = [];
    const counting = await startSite((request, response) => {
      void text(request).then((body) => {
        bodies.push(body);
        response.end(body);
      });
    });
    closing.push(() => counting.close());
    const [good, stalled] = [await proxy(), await silent()];
    const urls = [await dead(), urlOf(stalled.port), urlOf(good.port)];
    const client = start(proxyGroup(urls, { order: 'rotate', stagger: 100 }));
    const sent = Array.from({ length: 50 }, (_unused, i) => [`body ${i} `, 'x'.repeat(i * 100)]);
    const url = `http://origin.test:${counting.http}/`;
    const answers = await Promise.all(sent.map((chunks) => client.post(url, chunks)));
    expect(answers).toEqual(sent.map((chunks) => chunks.join('')));
    expect(bodies.toSorted()).toEqual(answers.toSorted());
  });

  test('a tunnel that another member gave serves the requests that follow', async () => {
    const good = await proxy();
    const client = start(proxyGroup([await dead(), urlOf(good.port)]), { keepAlive: true });
    for (let i = 0; i < 8; i++) expect(await client.get(http())).toBe('hello');
    // undici opens a second one before the first is free, also through a single proxy.
    expect(good.log.length).toBeLessThanOrEqual(2);
  });

  test.each([[undefined], ['account']])(
    'a member that the application lets rest gets no further request on a connection that was kept, for the key %j',
    async (key) => {
      const servers = [await proxy(), await proxy()];
      const group = proxyGroup(servers.map(({ port }) => urlOf(port)));
      const client = start(() => group.select(key), { keepAlive: true });
      expect(await client.get(http())).toBe('hello');
      const banned = servers.find(({ log }) => log.length > 0) as SocksServer;
      const other = servers.find((server) => server !== banned);
      group.rest(urlOf(banned.port), 60_000);
      for (let i = 0; i < 4; i++) expect(await client.get(http())).toBe('hello');
      expect(banned.log).toHaveLength(1);
      // undici opens a second one before the first is free, also through a single proxy.
      expect([1, 2]).toContain(other?.log.length);
    },
  );

  test('what select() gave is a route of its own, and no credential or key can be read from it', async () => {
    const good = await proxy();
    const urls = [await dead(), `socks5://user-name:pass-word@127.0.0.1:${good.port}`];
    const group = proxyGroup(urls);
    const client = start(group.select('account-key'));
    for (let i = 0; i < 2; i++) expect(await client.get(http())).toBe('hello');
    expect(good.log.map(({ user }) => user)).toEqual(['user-name', 'user-name']);
    expect(inspect(client.inner, { depth: 12, showHidden: true })).not.toMatch(/pass-word|account-key/);
  });

  test('a rotation has as many pools as members, whatever their health', async () => {
    const servers = [await proxy(), await proxy()];
    const urls = [await dead(), ...servers.map(({ port }) => urlOf(port))];
    const client = start(proxyGroup(urls, { order: 'rotate' }), { keepAlive: true });
    for (let i = 0; i < 12; i++) expect(await client.get(http())).toBe('hello');
    const tunnels = servers.reduce((sum, { log }) => sum + log.length, 0);
    expect(tunnels).toBeLessThanOrEqual(6);
  });
});

test.each([
  [
    'the agent',
    `const { SocksAgent } = await import(${JSON.stringify(import.meta.resolve('@socksify/agent'))});
     const { get } = await import('node:http');
     const agent = new SocksAgent(group);
     const body = await new Promise((done, failed) => get(url, { agent }, (response) => {
       let text = ''; response.setEncoding('utf8').on('data', (chunk) => (text += chunk)).on('end', () => done(text));
     }).on('error', failed));`,
  ],
  [
    'fetch',
    `const { SocksDispatcher } = await import(${JSON.stringify(import.meta.resolve('@socksify/undici'))});
     const dispatcher = new SocksDispatcher(group);
     const body = await (await fetch(url, { dispatcher, headers: { connection: 'close' } })).text();`,
  ],
])('a process that uses a group through %s exits soon after its last answer', async (_, requests) => {
  const [stalled, good, resting] = [await silent(), await proxy(), await silent()];
  const source = `
    const [stalled, good, resting, url] = process.argv.slice(1);
    const { proxyGroup } = await import(${JSON.stringify(import.meta.resolve('@socksify/core'))});
    const group = proxyGroup([stalled, good, resting], { stagger: 50 });
    group.rest(resting, 0);
    ${requests}
    const began = performance.now();
    process.on('exit', () => console.log(body, performance.now() - began < 2000));
  `;
  const urls = [stalled, good, resting].map(({ port }) => urlOf(port));
  const args = ['--input-type=module', '-e', source, '--', ...urls, http()];
  expect(await runProgram(process.execPath, args)).toEqual({ ...IN_ORDER, stdout: 'hello true\n' });
  expect(resting.connections).toHaveLength(1);
});

interface Connection {
  readonly accounts: Set<string>;
  /** The master secret: equal in a session and where it is resumed. */
  readonly secret: string;
  readonly reused: boolean;
  readonly version: string;
}

/** A site over HTTP/1.1 and HTTP/2 that tells its connections apart. The path of a request is an account. */
async function startAccountSite(): Promise<{
  port: number;
  connections: Connection[];
  disconnect: () => void;
}> {
  const connections = new Map<TLSSocket, Connection>();
  // Sessions of TLS 1.2 without tickets: the server can see which one it is.
  const options = {
    ...TLS,
    allowHTTP1: true,
    maxVersion: 'TLSv1.2',
    secureOptions: constants.SSL_OP_NO_TICKET,
  } as const;
  const server = createSecureServer(options, (request: Http2ServerRequest, response: Http2ServerResponse) => {
    const socket = (request.stream?.session?.socket ?? request.socket) as TLSSocket;
    const known = [...connections].find(([{ remotePort }]) => remotePort === socket.remotePort)?.[1];
    known?.accounts.add(request.url);
    response.end(`hello ${request.url}`);
  });
  const all: Connection[] = [];
  const sessions = new Map<string, Buffer>();
  server.on('newSession', (id: Buffer, data: Buffer, done: () => void) => {
    sessions.set(id.toString('hex'), data);
    done();
  });
  server.on('resumeSession', (id: Buffer, done: (error: null, data: Buffer | null) => void) => {
    done(null, sessions.get(id.toString('hex')) ?? null);
  });
  server.on('secureConnection', (socket: TLSSocket) => {
    const [, secret = ''] = /0430(.{96})/.exec(socket.getSession()?.toString('hex') ?? '') ?? [];
    const connection = {
      accounts: new Set<string>(),
      secret,
      reused: socket.isSessionReused(),
      version: socket.alpnProtocol || 'http/1.1',
    };
    connections.set(socket, connection);
    all.push(connection);
    socket.on('error', () => {}).on('close', () => connections.delete(socket));
  });
  const port = await listen(server);
  closing.push(() => server.close());
  return {
    port,
    connections: all,
    disconnect: () => {
      for (const socket of connections.keys()) socket.destroy();
    },
  };
}

test.each([
  ['the agent', agentClient, 'http/1.1', {}],
  ['fetch', fetchClient, 'http/1.1', {}],
  ['fetch over HTTP/2', fetchClient, 'h2', { allowH2: true }],
] as const)('30 accounts share no tunnel and no TLS session over %s', async (_, open, version, options) => {
  const servers = [await proxy(), await proxy(), await proxy()];
  const accounts = await startAccountSite();
  const account = new AsyncLocalStorage<string>();
  const group = proxyGroup(servers.map(({ port }) => urlOf(port)));
  const client = open(() => group.select(account.getStore()), { ...options, keepAlive: true });
  closing.push(() => client.close());
  const visit = async (name: string): Promise<void> => {
    // The selector is called in the async context of the request, and some of them wait before it.
    for (let turn = name.length % 3; turn > 0; turn--) await new Promise(setImmediate);
    expect(await client.get(`https://origin.test:${accounts.port}/${name}`)).toBe(`hello /${name}`);
  };
  for (let round = 0; round < 2; round++) {
    const visits = Array.from({ length: 60 }, (_unused, i) => {
      const name = `account${'-'.repeat(i % 2)}${i % 30}`;
      return account.run(name, () => visit(name));
    });
    await Promise.all(visits);
    accounts.disconnect();
    for (const server of servers) await server.idle();
  }
  const used = accounts.connections.filter((connection) => connection.accounts.size > 0);
  const users = new Map<string, Set<string>>();
  for (const { accounts: names, secret, version: spoken } of used) {
    expect(names.size).toBe(1);
    expect(spoken).toBe(version);
    expect(secret).toHaveLength(96);
    for (const name of names) users.set(secret, (users.get(secret) ?? new Set()).add(name));
  }
  for (const names of users.values()) expect(names.size).toBe(1);
  // Otherwise the test could not fail: sessions are resumed, and every proxy has tunnels.
  expect(used.filter(({ reused }) => reused).length).toBeGreaterThan(15);
  for (const { log } of servers) expect(log.length).toBeGreaterThan(0);
});

test.each([
  ['the agent', agentClient],
  ['fetch', fetchClient],
] as const)('after a fail-over %s offers no TLS session of the former proxy', async (_, open) => {
  const [first, second] = [await proxy(), await proxy()];
  const accounts = await startAccountSite();
  const client = open(proxyGroup([first, second].map(({ port }) => urlOf(port))));
  closing.push(() => client.close());
  const url = `https://origin.test:${accounts.port}/account`;
  for (let i = 0; i < 4; i++) {
    if (i === 2) await first.close();
    await client.get(url);
  }
  expect(accounts.connections.map(({ reused }) => reused)).toEqual([false, true, false, true]);
});
