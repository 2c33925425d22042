// Who shares a socket with whom, what the queue does when connections fail, and what an agent shows of its proxy.

import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type { TLSSocket } from 'node:tls';
import { inspect } from 'node:util';
import type { ProxyRoute, SocksProxy } from '@socksify/core';
import { CERTIFICATE, listen, startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { SocksAgent } from '../src/index.ts';
import type { SocksAgentOptions } from '../src/index.ts';

let site: Site;
beforeAll(async () => {
  site = await startSite();
});
afterAll(() => site.close());

interface Pool {
  readonly sockets: object;
  readonly freeSockets: object;
  readonly requests: object;
  readonly totalSocketCount: number;
}
const pool = (agent: SocksAgent): Pool => agent as unknown as Pool;
const names = Object.fromEntries(
  ['origin.test', 'ip6.test', 'dual.test', 'echo.test'].map((name) => [name, '127.0.0.1']),
);

describe('a queue', () => {
  test.each<[string, SocksAgentOptions]>([
    ['maxSockets', { maxSockets: 4 }],
    ['maxSockets with keep-alive', { maxSockets: 4, keepAlive: true }],
    ['maxTotalSockets', { maxTotalSockets: 4 }],
    ['maxTotalSockets with keep-alive', { maxTotalSockets: 4, keepAlive: true }],
    ['both limits', { maxSockets: 2, maxTotalSockets: 4, keepAlive: true }],
  ])('drains though every third connection fails, with %s', async (_, options) => {
    let attempts = 0;
    let most = 0;
    const server: SocksServer = await startServer({
      names,
      allow: () => {
        most = Math.max(most, server.connections);
        return ++attempts % 3 !== 0;
      },
    });
    const agent = new SocksAgent(server.url('socks5'), { ca: CERTIFICATE, ...options });
    const hosts = options.maxTotalSockets === undefined ? ['origin.test'] : Object.keys(names);
    const outcomes = await Promise.all(
      Array.from({ length: 200 }, (__, i) => {
        const [module, port] = i % 2 === 0 ? [https, site.https] : [http, site.http];
        return new Promise<unknown>((resolve) => {
          const host = hosts[i % hosts.length] ?? '';
          const req = module.get({ host, port, agent });
          req.on('response', (res) => res.resume().on('end', () => resolve(res.statusCode)));
          req.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code));
        });
      }),
    );
    expect(new Set(outcomes)).toEqual(new Set([200, 'ERR_SOCKS_NOT_ALLOWED']));
    // Two protocols are two pools, of maxSockets each; a socket that just closed is still there for the proxy.
    expect(most).toBeLessThanOrEqual(2 * 8);
    expect(Object.keys(pool(agent).requests)).toEqual([]);
    agent.destroy();
    await server.idle();
    expect(pool(agent)).toMatchObject({ totalSocketCount: 0 });
    expect(Object.values(pool(agent).sockets).flat()).toEqual([]);
    await server.close();
  });
});

describe('a request for which maxTotalSockets leaves no place', () => {
  // This server never closes an idle connection, which would free a place too.
  const server = http.createServer({ keepAliveTimeout: 0 }, (_, res) => res.end());
  let proxy: SocksServer;
  let port: number;
  beforeAll(async () => {
    [proxy, port] = await Promise.all([
      startServer({ names, users: 'any', allowAnonymous: true }),
      listen(server),
    ]);
  });
  afterAll(async () => {
    server.closeAllConnections();
    await Promise.all([proxy.close(), new Promise((resolve) => server.close(resolve))]);
  });

  const get = async (agent: SocksAgent, host: string): Promise<boolean> => {
    const req = http.get({ host, port, agent }, (res) => res.resume());
    await once(req, 'close');
    await new Promise(setImmediate);
    return req.reusedSocket;
  };
  const limits: SocksAgentOptions = { keepAlive: true, maxTotalSockets: 2 };

  test('is sent when the idle socket of another host is closed for it, the oldest first', async () => {
    const agent = new SocksAgent(proxy.url('socks5'), limits);
    const hosts = ['origin.test', 'ip6.test', 'dual.test', 'ip6.test', 'origin.test'];
    const reused: boolean[] = [];
    for (const host of hosts) reused.push(await get(agent, host));
    expect(reused).toEqual([false, false, false, true, false]);
    agent.destroy();
    await proxy.idle();
  });

  test.each([
    ['at once', (url: string) => url],
    ['later', (url: string) => Promise.resolve(url)],
  ])('is sent when its selector gives other credentials %s', async (_, answer) => {
    let user = 0;
    const agent = new SocksAgent(
      () => answer(proxy.url('socks5', { username: `user${user++}`, password: 'x' })),
      limits,
    );
    for (let i = 0; i < 4; i++) await get(agent, 'origin.test');
    expect(pool(agent)).toMatchObject({ requests: {}, totalSocketCount: 2 });
    agent.destroy();
    await proxy.idle();
  });

  test('is sent with others that wait, each when there is a place', async () => {
    const agent = new SocksAgent(proxy.url('socks5'), limits);
    await Promise.all([get(agent, 'origin.test'), get(agent, 'origin.test')]);
    await Promise.all(['ip6.test', 'dual.test', 'echo.test', 'ip6.test'].map((host) => get(agent, host)));
    expect(pool(agent).requests).toEqual({});
    agent.destroy();
    await proxy.idle();
  });

  test('takes no place from another host while it waits for maxSockets', async () => {
    const agent = new SocksAgent(proxy.url('socks5'), { ...limits, maxSockets: 1 });
    await get(agent, 'origin.test');
    await Promise.all([get(agent, 'ip6.test'), get(agent, 'ip6.test')]);
    expect(await get(agent, 'origin.test')).toBe(true);
    agent.destroy();
    await proxy.idle();
  });
});

test('a queue drains though nothing listens on the port of the proxy', async () => {
  const agent = new SocksAgent('socks5://127.0.0.1:1', { maxSockets: 2 });
  const codes = await Promise.all(
    Array.from({ length: 20 }, async () => {
      const [error] = (await once(http.get({ host: 'origin.test', agent }), 'error')) as [
        NodeJS.ErrnoException,
      ];
      return error.code;
    }),
  );
  expect(new Set(codes)).toEqual(new Set(['ERR_SOCKS_PROXY_UNREACHABLE']));
});

describe('sockets and sessions', () => {
  let servers: SocksServer[];
  beforeEach(async () => {
    servers = await Promise.all([
      startServer({ names, users: 'any', allowAnonymous: true }),
      startServer({ names, users: 'any', allowAnonymous: true }),
    ]);
  });
  afterEach(() => Promise.all(servers.map((server) => server.close())));

  const used = async (
    agent: SocksAgent,
    options: object = {},
  ): Promise<{ reused: boolean; resumed: boolean }> => {
    const req = https.get({ host: 'origin.test', port: site.https, agent, ca: CERTIFICATE, ...options });
    const [res] = (await once(req, 'response')) as [http.IncomingMessage];
    const resumed = (req.socket as TLSSocket).isSessionReused();
    res.resume();
    await once(req, 'close');
    await new Promise(setImmediate);
    return { reused: req.reusedSocket, resumed };
  };

  const OTHER: Readonly<Record<string, (a: string, b: string) => [ProxyRoute, ProxyRoute]>> = {
    'the proxy': (a, b) => [a, b],
    'the user': (a) => [a.replace('//', '//alice:x@'), a.replace('//', '//bob:x@')],
    'the password': (a) => [a.replace('//', '//alice:x@'), a.replace('//', '//alice:y@')],
    'a password that one lacks': (a) => [a.replace('//', '//alice@'), a.replace('//', '//alice:x@')],
    'the version': (a) => [a, a.replace('socks5', 'socks4a')],
    'user and DNS': (a) => [
      { ...proxyOf(a), dns: 'remote' },
      {
        ...proxyOf(a),
        dns: 'remote',
        tls: undefined,
        credentials: { username: 'u' },
      } as unknown as SocksProxy,
    ],
    'the number of hops': (a, b) => [b, [a, b]],
  };

  test.each(Object.entries(OTHER))('are not shared when the route differs in %s', async (_, make) => {
    const [a, b] = servers.map((server) => server.url('socks5'));
    const routes = make(a ?? '', b ?? '');
    let turn = 0;
    const agent = new SocksAgent(() => routes[turn] as string, { keepAlive: true });
    expect(await used(agent)).toEqual({ reused: false, resumed: false });
    turn = 1;
    expect(await used(agent)).toEqual({ reused: false, resumed: false });
    turn = 0;
    expect(await used(agent)).toEqual({ reused: true, resumed: false });
    turn = 1;
    expect(await used(agent)).toEqual({ reused: true, resumed: false });
    // Both are in, under different names.
    expect(Object.keys(pool(agent).freeSockets)).toHaveLength(2);
    agent.destroy();
  });

  test('are not shared with direct connections', async () => {
    let direct = false;
    const [server] = servers;
    const agent = new SocksAgent(() => (direct ? undefined : server?.url('socks5')), { keepAlive: true });
    await used(agent, { host: 'localhost', rejectUnauthorized: false }).catch(() => {});
    direct = true;
    expect(await used(agent, { host: 'localhost', rejectUnauthorized: false })).toEqual({
      reused: false,
      resumed: false,
    });
    agent.destroy();
  });

  test('are shared by equal proxies, however they are given', async () => {
    const url = servers[0]?.url('socks5', { username: 'alice', password: 'secret' }) ?? '';
    const routes = [
      url,
      new URL(url),
      { ...proxyOf(url), credentials: { username: 'alice', password: 'secret' } },
    ];
    let turn = 0;
    const agent = new SocksAgent(() => routes[turn++ % 3] as ProxyRoute as string, { keepAlive: true });
    expect((await used(agent)).reused).toBe(false);
    for (let i = 0; i < 3; i++) expect((await used(agent)).reused).toBe(true);
    agent.destroy();
  });

  test('are resumed over a selector that returns the same proxy again', async () => {
    const url = servers[0]?.url('socks5') ?? '';
    const agent = new SocksAgent(() => url);
    expect((await used(agent)).resumed).toBe(false);
    expect((await used(agent)).resumed).toBe(true);
    agent.destroy();
  });

  test('are not opened for the other protocol by an agent for one protocol', () => {
    const agent = new SocksAgent('socks5://127.0.0.1:1', { protocol: 'https:' });
    expect(() => http.get('http://origin.test/', { agent })).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_PROTOCOL' }),
    );
  });

  test('show no secret in names of pools, messages, inspection and JSON', async () => {
    const secrets = ['s3cr3t-word', 's3cr3t%2Dword', Buffer.from('s3cr3t-word').toString('hex')];
    const routes: ProxyRoute[] = [
      servers[0]?.url('socks5', { username: 'alice', password: 's3cr3t-word' }) ?? '',
      () => servers[0]?.url('socks5', { username: 'alice', password: 's3cr3t-word' }),
    ];
    for (const route of routes) {
      const agent = new SocksAgent(route, { keepAlive: true, maxSockets: 1 });
      const waiting = used(agent);
      await used(agent);
      await waiting;
      const req = https.get({ host: 'unknown.test', agent });
      const [error] = (await once(req, 'error')) as [Error];
      const shown = [
        Object.keys(pool(agent).freeSockets).join(),
        inspect(agent, { depth: 12, showHidden: true }),
        inspect(error, { depth: 12, showHidden: true }),
        inspect(req, { depth: 4 }),
        JSON.stringify(agent.options),
        JSON.stringify(error),
      ];
      for (const text of shown) for (const secret of secrets) expect(text.includes(secret)).toBe(false);
      agent.destroy();
    }
  });
});

function proxyOf(url: string): SocksProxy {
  const { hostname, port } = new URL(url);
  return { version: 5, host: hostname, port: Number(port), dns: 'remote' };
}
