// A selector is called once for each request, with what will be connected to, and no connection outlives its answer.

import { once } from 'node:events';
import http from 'node:http';
import type { ClientRequest } from 'node:http';
import https from 'node:https';
import type { Destination, ProxyChoice, ProxySelector, SocksError } from '@socksify/core';
import { startScript, startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { CERTIFICATE, closed, startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { SocksAgent } from '../src/index.ts';
import type { SocksAgentOptions } from '../src/index.ts';

const names = { 'origin.test': '127.0.0.1', 'dual.test': '127.0.0.1', localhost: '127.0.0.1' };
let site: Site;
beforeAll(async () => {
  site = await startSite();
});
afterAll(() => site.close());
let proxy: SocksServer;
let other: SocksServer;
beforeEach(async () => {
  [proxy, other] = await Promise.all([startServer({ names }), startServer({ names })]);
});
afterEach(() => Promise.all([proxy.close(), other.close()]));

const later = <T>(value: T): Promise<T> => new Promise((resolve) => setImmediate(resolve, value));

async function finished(req: ClientRequest): Promise<ClientRequest> {
  req.on('response', (res) => res.resume());
  await new Promise<void>((resolve, reject) => req.on('close', resolve).on('error', reject));
  await new Promise(setImmediate);
  return req;
}

const get = (agent: http.Agent, options: http.RequestOptions = {}): ClientRequest =>
  http.get({ host: 'origin.test', port: site.http, agent, ...options });

describe.each([
  ['at once', (choice: ProxyChoice) => choice],
  ['later', (choice: ProxyChoice) => later(choice)],
])('a selector that answers %s', (_, answer) => {
  test('is called once for each request, kept-alive and queued ones included', async () => {
    const calls: Destination[] = [];
    const agent = new SocksAgent(
      (destination) => {
        calls.push(destination);
        return answer(proxy.url('socks5'));
      },
      { keepAlive: true, maxSockets: 1 },
    );
    await Promise.all([get(agent), get(agent), get(agent)].map(finished));
    expect((await finished(get(agent))).reusedSocket).toBe(true);
    expect(calls).toEqual(
      Array.from({ length: 4 }, () => ({ host: 'origin.test', port: site.http, protocol: 'http:' })),
    );
    expect(proxy.log).toHaveLength(1);
    agent.destroy();
  });

  test('decides for each request: a kept connection, direct or not, serves no other answer', async () => {
    const choices: ProxyChoice[] = [proxy.url('socks5'), other.url('socks5'), undefined];
    let turn = 0;
    const agent = new SocksAgent(() => answer(choices[turn++ % 3]), { keepAlive: true });
    const reused: boolean[] = [];
    for (let i = 0; i < 6; i++) reused.push((await finished(get(agent, { host: 'localhost' }))).reusedSocket);
    expect(reused).toEqual([false, false, false, true, true, true]);
    expect([proxy.log.length, other.log.length]).toEqual([1, 1]);
    agent.destroy();
  });

  test('rotates over proxies, with as many pools as there are proxies', async () => {
    let turn = 0;
    const urls = [proxy.url('socks5'), other.url('socks5')];
    const agent = new SocksAgent(() => answer(urls[turn++ % 2]), { keepAlive: true });
    for (let i = 0; i < 8; i++) await finished(get(agent));
    expect([proxy.log.length, other.log.length]).toEqual([1, 1]);
    expect(Object.keys(agent.freeSockets)).toHaveLength(2);
    agent.destroy();
  });

  test.each<[string, SocksAgentOptions, object]>([
    ['host', { host: 'dual.test' }, { host: 'dual.test' }],
    ['port', { port: 443 }, { port: 443 }],
    ['an empty host', { host: '' }, { host: 'localhost' }],
    ['both', { host: 'dual.test', port: 9 }, { host: 'dual.test', port: 9 }],
  ])('is called with %s of the agent, because Node connects there', async (__, options, expected) => {
    const calls: Destination[] = [];
    const refused = startServer({ allow: () => false });
    const agent = new SocksAgent(async (destination) => {
      calls.push(destination);
      return (await refused).url('socks5');
    }, options);
    const [error] = (await once(get(agent), 'error')) as [Error];
    expect(error).toMatchObject({ code: 'ERR_SOCKS_NOT_ALLOWED' });
    const destination = { host: 'origin.test', port: site.http, protocol: 'http:', ...expected };
    expect(calls).toEqual([destination]);
    expect((await refused).log).toMatchObject([{ host: destination.host, port: destination.port }]);
    await (await refused).close();
    agent.destroy();
  });

  test('is not called when the agent has a socketPath, which is refused', async () => {
    let calls = 0;
    const agent = new SocksAgent(() => answer(void calls++), { socketPath: '/tmp/some.sock' } as object);
    const [error] = (await once(get(agent), 'error')) as [Error];
    expect(error).toMatchObject({ code: 'ERR_SOCKS_INVALID_DESTINATION' });
    expect(calls).toBe(0);
  });
});

test('a fixed route leads to the host and port of the agent, if it has them', async () => {
  const agent = new SocksAgent(proxy.url('socks5'), { host: 'dual.test', port: site.http });
  await finished(http.get({ host: 'origin.test', port: 1, agent }));
  expect(proxy.log).toMatchObject([{ host: 'dual.test', port: site.http }]);
  expect(agent.getName({ host: 'dual.test', port: site.http })).toBe(`dual.test:${site.http}:`);
  agent.destroy();
});

const THROWN: readonly unknown[] = [new Error('mine'), undefined, null, 0, '', 'text', { code: 'MINE' }];

describe.each([
  [
    'throws',
    (value: unknown) => () => {
      throw value;
    },
  ],
  ['rejects with', (value: unknown) => () => Promise.reject(value)],
])('a selector that %s', (_, make) => {
  test.each(THROWN.map((value) => [value]))('gives %o to that request alone as its error', async (value) => {
    let bad: ProxySelector | undefined = make(value);
    const agent = new SocksAgent((...call) => {
      const selector = bad ?? (() => proxy.url('socks5'));
      bad = undefined;
      return selector(...call);
    });
    const req = get(agent);
    const good = get(agent);
    const errors: unknown[] = [];
    req.on('error', (error) => errors.push(error));
    await Promise.all([finished(good), closed(req)]);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toBe(value);
    expect(req).toMatchObject({ destroyed: true, closed: true });
    agent.destroy();
  });
});

describe('a request whose selector has not answered', () => {
  const never = (): Promise<undefined> => new Promise(() => {});

  test.each<[string, (req: ClientRequest, agent: SocksAgent, abort: AbortController) => void, object]>([
    ['destroy()', (req) => void req.destroy(), { code: 'ECONNRESET', message: 'socket hang up' }],
    ['destroy(error)', (req) => void req.destroy(new Error('mine')), { message: 'mine' }],
    ['a signal', (_req, _agent, abort) => abort.abort(), { code: 'ABORT_ERR' }],
    ['agent.destroy()', (_, agent) => agent.destroy(), { code: 'ECONNRESET', message: 'socket hang up' }],
  ])('is ended by %s', async (_, act, expected) => {
    const agent = new SocksAgent(never);
    const abort = new AbortController();
    const req = get(agent, { signal: abort.signal });
    await new Promise(setImmediate);
    act(req, agent, abort);
    const [error] = (await once(req, 'error')) as [Error];
    expect(error).toMatchObject(expected);
    agent.destroy();
  });

  test('has its timeout, which is emitted once', async () => {
    let select = (_url: string): void => {};
    const agent = new SocksAgent(() => new Promise<string>((resolve) => (select = resolve)));
    const req = get(agent, { timeout: 20 });
    let timeouts = 0;
    req.on('timeout', () => timeouts++);
    await once(req, 'timeout');
    select(proxy.url('socks5'));
    const [socket] = (await once(req, 'socket')) as [NodeJS.EventEmitter];
    socket.emit('timeout');
    await finished(req);
    expect(timeouts).toBe(1);
    agent.destroy();
  });

  test.each<[string, (abort: AbortController, req: ClientRequest, agent: SocksAgent) => unknown]>([
    ['the request is destroyed', (_abort, req) => req.destroy()],
    ['the signal of the request aborts', (abort) => abort.abort()],
    ['the agent is destroyed', (_abort, _req, agent) => agent.destroy()],
    ['connectTimeout is over', () => {}],
  ])('has its signal aborted when %s', async (_case, end) => {
    const signals: AbortSignal[] = [];
    const agent = new SocksAgent(
      (_destination, { signal }) => {
        signals.push(signal);
        return new Promise(() => {});
      },
      { connectTimeout: 50 },
    );
    const abort = new AbortController();
    const req = get(agent, { signal: abort.signal }).on('error', () => {});
    expect(signals).toMatchObject([{ aborted: false }]);
    const aborted = Promise.all(signals.map((signal) => once(signal, 'abort')));
    end(abort, req, agent);
    await aborted;
    agent.destroy();
  });

  test('has its signal aborted when a stream of createConnection() is destroyed', async () => {
    let given: AbortSignal | undefined;
    const agent = new SocksAgent((_destination, { signal }) => {
      given = signal;
      return new Promise(() => {});
    });
    const stream = agent.createConnection({ host: 'origin.test', port: site.http }).on('error', () => {});
    await new Promise(setImmediate);
    expect(given?.aborted).toBe(false);
    stream.destroy();
    expect(given?.aborted).toBe(true);
  });

  test('is ended by connectTimeout', async () => {
    const agent = new SocksAgent(never, { connectTimeout: 20 });
    const [error] = (await once(get(agent), 'error')) as [Error];
    expect(error).toMatchObject({ code: 'ERR_SOCKS_TIMEOUT' });
  });

  test('has the time of the selector counted into connectTimeout', async () => {
    const silent = await startScript([]);
    const first = new SocksAgent(never, { connectTimeout: 300 });
    const agent = new SocksAgent(
      async () => {
        await once(get(first), 'error');
        return silent.url('socks5');
      },
      { connectTimeout: 1000 },
    );
    const [error] = (await once(get(agent), 'error')) as [SocksError];
    expect(error.code).toBe('ERR_SOCKS_TIMEOUT');
    expect(Number.parseFloat(error.detail ?? '')).toBeLessThanOrEqual(700);
    first.destroy();
    await silent.close();
    agent.destroy();
  });

  test('takes a body, and sends it when there is a socket', async () => {
    const agent = new SocksAgent(() => later(proxy.url('socks5')));
    const req = http.request({ host: 'origin.test', port: site.http, agent, method: 'POST' });
    req.write('first ');
    req.end('last');
    const [res] = (await once(req, 'response')) as [http.IncomingMessage];
    let body = '';
    for await (const chunk of res) body += String(chunk);
    expect(body).toBe('first last');
    agent.destroy();
  });
});

describe('a fixed route', () => {
  test('leaves the pools with the names that Node gives them', async () => {
    const agent = new SocksAgent(proxy.url('socks5', { username: 'a', password: 'b' }), { keepAlive: true });
    const secure = { host: 'origin.test', port: site.https, ca: CERTIFICATE };
    await finished(get(agent));
    await finished(https.get({ ...secure, agent }));
    const expected = [
      new http.Agent().getName({ host: 'origin.test', port: site.http }),
      new https.Agent().getName(secure),
    ];
    expect(Object.keys(agent.freeSockets)).toEqual(expected);
    expect([
      agent.getName({ host: 'origin.test', port: site.http }),
      agent.getName({ ...secure, protocol: 'https:' }),
    ]).toEqual(expected);
    expect(new SocksAgent(proxy.url('socks5'), { protocol: 'https:' }).getName(secure)).toBe(expected[1]);
    expect(new SocksAgent(proxy.url('socks5'), { protocol: 'http:' }).getName(secure)).toBe(
      new http.Agent().getName(secure),
    );
    agent.destroy();
  });
});

test('sockets that are being opened count as they do with Node', async () => {
  const silent = await startScript([]);
  const agent = new SocksAgent(silent.url('socks5'), { maxSockets: 2 });
  const requests = Array.from({ length: 3 }, () => get(agent).on('error', () => {}));
  const name = agent.getName({ host: 'origin.test', port: site.http });
  expect(agent).toMatchObject({ totalSocketCount: 2 });
  expect(agent.sockets[name]).toHaveLength(2);
  expect(agent.requests[name]).toHaveLength(1);
  // As code does that closes what is there.
  for (const socket of agent.sockets[name] ?? []) socket.destroy();
  for (const req of requests.slice(0, 2)) await closed(req);
  expect(requests.map((req) => req.destroyed)).toEqual([true, true, false]);
  expect(agent).toMatchObject({ totalSocketCount: 1 });
  agent.destroy();
  await silent.close();
});
