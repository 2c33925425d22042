// A selector is called once for each request, and connections are kept apart by its answer.

import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ProxySelector, SocksProxy } from '@socksify/core';
import { startServer } from '@socksify/server';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { socksConnector, SocksDispatcher } from '../src/index.ts';
import { agents, undicis } from './cells.ts';
import { cert, startOrigin } from './origin.ts';
import type { Origin } from './origin.ts';
import { startProxy } from './proxy.ts';
import type { TestProxy } from './proxy.ts';

let one: TestProxy;
let two: TestProxy;
let http: Origin;
let https: Origin;

beforeAll(async () => {
  [one, two, http, https] = await Promise.all([
    startProxy(),
    startProxy(),
    startOrigin(),
    startOrigin('https'),
  ]);
});
afterAll(async () => {
  await Promise.all([one, two, http, https].map((started) => started[Symbol.asyncDispose]()));
});

const get = async (url: string, dispatcher: SocksDispatcher, init: RequestInit = {}): Promise<string> =>
  (await fetch(url, { ...init, dispatcher })).text();
const cause = async (promise: Promise<unknown>): Promise<any> =>
  promise.then(
    () => 'no failure',
    (error: Error) => error.cause ?? error,
  );
const never = (): Promise<undefined> => new Promise(() => {});

describe.each(agents)('through %s', (_, Agent) => {
  test('a request uses the proxy that the selector chose, though a connection for another answer is idle', async () => {
    let answer: string | undefined;
    const dispatcher = new SocksDispatcher(() => answer, { Agent });
    const url = `http://127.0.0.1:${http.port}/`;
    const counts: unknown[] = [];
    for (answer of [undefined, one.url, two.url, one.url, undefined]) {
      const before = [one.accepted, two.accepted];
      expect(await get(url, dispatcher)).toBe('hello');
      counts.push([one.accepted - (before[0] ?? 0), two.accepted - (before[1] ?? 0)]);
    }
    // The fourth request uses the connection of the second one again.
    expect(counts).toEqual([
      [0, 0],
      [1, 0],
      [0, 1],
      [0, 0],
      [0, 0],
    ]);
    await dispatcher.close();
  });

  test('the selector is called for each request, in the async context of that request', async () => {
    const account = new AsyncLocalStorage<string>();
    const calls: unknown[] = [];
    const dispatcher = new SocksDispatcher(
      (destination) => {
        calls.push([account.getStore(), destination]);
        return one.url;
      },
      { Agent },
    );
    const url = `http://any.test:${http.port}/`;
    for (const name of ['alice', 'bob', 'carol']) await account.run(name, () => get(url, dispatcher));
    const destination = { host: 'any.test', port: http.port, protocol: 'http:' };
    expect(calls).toEqual(['alice', 'bob', 'carol'].map((name) => [name, destination]));
    await dispatcher.close();
  });

  test('another username for each request shares no tunnel', async () => {
    const server = await startServer({ users: { a: 'x', b: 'x' } });
    let user = 'a';
    const dispatcher = new SocksDispatcher(() => `socks5://${user}:x@127.0.0.1:${server.port}`, { Agent });
    const url = `http://127.0.0.1:${http.port}/`;
    for (user of ['a', 'b', 'a', 'b']) expect(await get(url, dispatcher)).toBe('hello');
    expect(server.log.map((entry) => entry.user)).toEqual(['a', 'b']);
    await dispatcher.close();
    await server.close();
  });

  test('equal answers share a connection: a string, a URL, an object, a chain of one', async () => {
    const { hostname: host, port } = new URL(one.url);
    const object: SocksProxy = { version: 5, host, port: Number(port), dns: 'remote' };
    const answers = [one.url, new URL(one.url), object, { ...object }, [one.url]];
    const dispatcher = new SocksDispatcher(() => answers.shift(), { Agent });
    const before = one.accepted;
    while (answers.length > 0) {
      await get(`http://any.test:${http.port}/`, dispatcher);
      // undici tells its pool a turn later that a connection is free.
      await nextTurn();
    }
    expect(one.accepted - before).toBe(1);
    await dispatcher.close();
  });

  test('the request is not sent before the promise of the selector settles', async () => {
    const dispatcher = new SocksDispatcher(async ({ host }) => (host === '127.0.0.1' ? undefined : one.url), {
      Agent,
    });
    one.requests.length = 0;
    expect(await get(`http://127.0.0.1:${http.port}/`, dispatcher)).toBe('hello');
    expect(await get(`http://any.test:${http.port}/`, dispatcher)).toBe('hello');
    expect(one.requests).toEqual([`any.test:${http.port}`]);
    await dispatcher.close();
  });

  test.each<[string, ProxySelector]>([
    ['a rejection', () => Promise.reject(new RangeError('no proxy today'))],
    [
      'a throw',
      () => {
        throw new RangeError('no proxy today');
      },
    ],
  ])('%s is the error of its own request alone', async (__, failing) => {
    let select: ProxySelector = async () => one.url;
    const dispatcher = new SocksDispatcher((destination) => select(destination), { Agent, connections: 1 });
    const url = `http://any.test:${http.port}/`;
    const first = get(url, dispatcher);
    select = failing;
    const second = cause(get(url, dispatcher));
    select = () => one.url;
    const third = get(url, dispatcher);
    expect(await second).toMatchObject({ name: 'RangeError', message: 'no proxy today' });
    expect(await Promise.all([first, third])).toEqual(['hello', 'hello']);
    await dispatcher.close();
  });

  test.each([undefined, null, 'text', 0, Symbol('a'), Object.create(null)])(
    'what is thrown may be anything, case %#',
    async (thrown) => {
      const selectors: ProxySelector[] = [
        () => {
          throw thrown;
        },
        // oxlint-disable-next-line typescript/prefer-promise-reject-errors -- that is the case
        () => Promise.reject(thrown),
      ];
      for (const selector of selectors) {
        const dispatcher = new SocksDispatcher(selector, { Agent });
        const error = await cause(get(`http://any.test:${http.port}/`, dispatcher));
        expect(error).toBeInstanceOf(Error);
        expect(error.cause).toBe(thrown);
        await dispatcher.close();
      }
    },
  );

  test.each([42, {}, [], null, 'http://127.0.0.1:1'])(
    'an answer that is no proxy, case %#, fails its request',
    async (answer) => {
      for (const selector of [() => answer, async () => answer]) {
        const dispatcher = new SocksDispatcher(selector as never, { Agent });
        expect(await cause(get(`http://127.0.0.1:${http.port}/`, dispatcher))).toMatchObject({
          code: 'ERR_SOCKS_INVALID_PROXY',
        });
        await dispatcher.close();
      }
    },
  );

  test('an abort ends the request while the selector is at work', async () => {
    const dispatcher = new SocksDispatcher(never, { Agent });
    const controller = new AbortController();
    const failed = get('http://any.test/', dispatcher, { signal: controller.signal }).catch(
      (error: unknown) => error,
    );
    await nextTurn();
    controller.abort(new RangeError('enough'));
    expect(await failed).toMatchObject({ name: 'RangeError', message: 'enough' });
    // Nothing is left to wait for.
    await dispatcher.close();
  });

  test('the wait for the selector counts into connectTimeout, and the handshake has the rest', async () => {
    await using hanging = await startProxy('hang');
    const silent = new SocksDispatcher(never, { Agent, connectTimeout: 300 });
    const slow = new SocksDispatcher(
      async () => {
        expect(await cause(get('http://any.test/', silent))).toMatchObject({ code: 'ERR_SOCKS_TIMEOUT' });
        return hanging.url;
      },
      { Agent, connectTimeout: 1000 },
    );
    const { code, detail } = await cause(get('http://any.test/', slow));
    expect(code).toBe('ERR_SOCKS_TIMEOUT');
    expect(Number.parseInt(detail, 10)).toBeLessThanOrEqual(700);
    await silent.close();
    await slow.close();
  });

  test('destroy() ends a request whose selector is at work', async () => {
    for (const reason of [new RangeError('enough'), undefined]) {
      const dispatcher = new SocksDispatcher(never, { Agent });
      const failed = cause(get('http://any.test/', dispatcher));
      await nextTurn();
      await dispatcher.destroy(reason);
      expect(await failed).toMatchObject(reason ? { name: 'RangeError' } : { code: 'UND_ERR_DESTROYED' });
    }
  });

  test('close() waits for a request whose selector is at work, and refuses later ones', async () => {
    let answer: (proxy: string) => void = () => {};
    const dispatcher = new SocksDispatcher(() => new Promise<string>((resolve) => (answer = resolve)), {
      Agent,
    });
    const page = get(`http://any.test:${http.port}/`, dispatcher);
    await nextTurn();
    const closed = dispatcher.close();
    expect(await cause(get('http://any.test/', dispatcher))).toMatchObject({ code: 'UND_ERR_CLOSED' });
    answer(one.url);
    expect(await page).toBe('hello');
    await closed;
  });

  test('a pool of an old answer is closed when nothing is left in it', async () => {
    let answer = one.url;
    const dispatcher = new SocksDispatcher(() => answer, { Agent, keepAliveMaxTimeout: 5, maxOrigins: 1 });
    // Several answers for one origin are one origin.
    expect(await get(`http://any.test:${http.port}/`, dispatcher)).toBe('hello');
    answer = two.url;
    const disconnected = once(dispatcher, 'disconnect');
    expect(await get(`http://any.test:${http.port}/`, dispatcher)).toBe('hello');
    expect(await cause(get(`http://other.test:${http.port}/`, dispatcher))).toMatchObject({
      code: 'UND_ERR_MAX_ORIGINS_REACHED',
    });
    await disconnected;
    await Promise.all([one.idle(), two.idle()]);
    await nextTurn();
    await nextTurn();
    expect(await get(`http://other.test:${http.port}/`, dispatcher)).toBe('hello');
    await dispatcher.close();
  });

  test('TLS sessions are resumed for the same answer, and for no other', async () => {
    let answer: string | undefined;
    const dispatcher = new SocksDispatcher(() => answer, { Agent, allowH2: false, connect: { ca: cert } });
    const reused: boolean[] = [];
    for (answer of [one.url, one.url, two.url, undefined, one.url, two.url, undefined]) {
      const host = answer === undefined ? '127.0.0.1' : 'origin.test';
      const { body } = await dispatcher.request({
        origin: `https://${host}:${https.port}`,
        path: '/',
        method: 'GET',
        headers: { connection: 'close', host: 'origin.test' },
      });
      expect(await body.text()).toBe('hello');
      reused.push(https.secured.at(-1)?.reused ?? false);
    }
    expect(reused).toEqual([false, true, false, false, true, true, true]);
    await dispatcher.close();
  });

  test('TLS sessions are not resumed for other credentials', async () => {
    const server = await startServer({ users: { a: 'x', b: 'x' }, names: { 'origin.test': '127.0.0.1' } });
    let user = 'a';
    const dispatcher = new SocksDispatcher(() => `socks5://${user}:x@127.0.0.1:${server.port}`, {
      Agent,
      allowH2: false,
      connect: { ca: cert },
    });
    const reused: boolean[] = [];
    for (user of ['a', 'b', 'a', 'b']) {
      const request = { origin: `https://origin.test:${https.port}`, path: '/', method: 'GET' };
      const { body } = await dispatcher.request({ ...request, headers: { connection: 'close' } });
      expect(await body.text()).toBe('hello');
      reused.push(https.secured.at(-1)?.reused ?? false);
    }
    expect(reused).toEqual([false, false, true, true]);
    await dispatcher.close();
    await server.close();
  });
});

test('a value that is not an origin is refused by undici, and the selector is not called', async () => {
  let calls = 0;
  const dispatcher = new SocksDispatcher(() => void calls++);
  for (const [origin, code] of [
    ['nonsense', 'ERR_INVALID_URL'],
    ['ftp://any.test', 'UND_ERR_INVALID_ARG'],
    ['', 'UND_ERR_INVALID_ARG'],
  ] as const) {
    await expect(dispatcher.request({ origin, path: '/', method: 'GET' })).rejects.toMatchObject({ code });
  }
  expect(calls).toBe(0);
  await dispatcher.close();
});

test.each([...undicis].filter(([name]) => name === 'undici 5' || name === 'undici 6'))(
  'a redirect inside the Agent of %s is a request of its own',
  async (_, { Agent, request }) => {
    await using from = await startOrigin();
    const calls: string[] = [];
    const dispatcher = new SocksDispatcher(
      ({ host }) => {
        calls.push(host);
        return one.url;
      },
      { Agent },
    );
    const url = `http://from.test:${from.port}/redirect`;
    const { context, body } = await request(url, { dispatcher, maxRedirections: 1 });
    expect([await body.text(), context]).toEqual(['hello', { history: [new URL(url), new URL('/', url)] }]);
    expect(calls).toEqual(['from.test', 'from.test']);
    await dispatcher.close();
  },
);

test('socksConnector() calls a selector for each connection', async () => {
  const [[, { Agent, request }]] = [...undicis] as [[string, any]];
  const calls: unknown[] = [];
  const connect = socksConnector(async (destination) => {
    calls.push(destination);
    return one.url;
  });
  const agent = new Agent({ connect, connections: 1 });
  for (let i = 0; i < 2; i++) {
    const { body } = await request(`http://any.test:${http.port}/`, { dispatcher: agent });
    expect(await body.text()).toBe('hello');
  }
  expect(calls).toEqual([{ host: 'any.test', port: http.port, protocol: 'http:' }]);
  await agent.close();
});
