// A selector is called once for each request, and connections are kept apart by its answer.

import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { proxyGroup } from '@socksify/core';
import type { ProxySelector, SocksProxy } from '@socksify/core';
import { startServer } from '@socksify/server';
import { CERTIFICATE, deferred } from '@socksify/support';
import { describe, expect, test } from 'vitest';
import { socksConnector, SocksDispatcher } from '../src/index.ts';
import { agents, undicis } from './combinations.ts';
import { startForFile } from './file-servers.ts';
import { startSite } from './site.ts';
import { startHangingProxy, startProxy } from './recorded-proxy.ts';

const on = startForFile({
  one: startProxy,
  two: startProxy,
  http: () => startSite(),
  https: () => startSite('https'),
});

const get = async (url: string, dispatcher: SocksDispatcher, init: RequestInit = {}): Promise<string> =>
  (await fetch(url, { ...init, dispatcher })).text();
const cause = async (promise: Promise<unknown>): Promise<any> =>
  promise.then(
    () => 'no failure',
    (error: Error) => error.cause ?? error,
  );
const never = (): Promise<undefined> => new Promise(() => {});

describe.each(agents)('a dispatcher on %s', (_, Agent) => {
  test('sends a request through the proxy that the selector chose, though a connection for another answer is idle', async () => {
    let answer: string | undefined;
    const dispatcher = new SocksDispatcher(() => answer, { Agent });
    const url = `http://127.0.0.1:${on.http.port}/`;
    const counts: unknown[] = [];
    for (answer of [undefined, on.one.url, on.two.url, on.one.url, undefined]) {
      const before = [on.one.accepted, on.two.accepted];
      expect(await get(url, dispatcher)).toBe('hello');
      counts.push([on.one.accepted - (before[0] ?? 0), on.two.accepted - (before[1] ?? 0)]);
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

  test('calls the selector for each request, in the async context of that request', async () => {
    const account = new AsyncLocalStorage<string>();
    const calls: unknown[] = [];
    const dispatcher = new SocksDispatcher(
      (destination) => {
        calls.push([account.getStore(), destination]);
        return on.one.url;
      },
      { Agent },
    );
    const url = `http://any.test:${on.http.port}/`;
    for (const name of ['alice', 'bob', 'carol']) await account.run(name, () => get(url, dispatcher));
    const destination = { host: 'any.test', port: on.http.port, protocol: 'http:' };
    expect(calls).toEqual(['alice', 'bob', 'carol'].map((name) => [name, destination]));
    await dispatcher.close();
  });

  test('opens a connection through the group that the selector gave last, though an equal group was there before', async () => {
    const urls = [on.one.url, on.two.url];
    let group = proxyGroup(urls);
    const dispatcher = new SocksDispatcher(() => group, { Agent });
    // This request occupies its connection, so that the next one needs another connection.
    const hanging = get(`http://127.0.0.1:${on.http.port}/hang`, dispatcher);
    await once(on.http.server, 'hanging');
    group = proxyGroup(urls);
    group.rest(on.one.url, 60_000);
    const before = on.two.accepted;
    expect(await get(`http://127.0.0.1:${on.http.port}/`, dispatcher)).toBe('hello');
    expect(on.two.accepted - before).toBe(1);
    await dispatcher.destroy();
    await expect(hanging).rejects.toThrow();
  });

  test('resolves close() when destroy() comes before the selector has answered, with a pool in use', async () => {
    const selector = { answer: (): Promise<string | undefined> => Promise.resolve(on.one.url) };
    const dispatcher = new SocksDispatcher(() => selector.answer(), { Agent });
    const url = `http://127.0.0.1:${on.http.port}/`;
    expect(await get(url, dispatcher)).toBe('hello');
    selector.answer = never;
    const failed = cause(get(url, dispatcher));
    await nextTurn();
    const closed = dispatcher.close();
    await dispatcher.destroy(new Error('enough'));
    await closed;
    expect(await failed).toMatchObject({ message: 'enough' });
  });

  test('shares no tunnel between requests with different usernames', async () => {
    const server = await startServer({ users: { a: 'x', b: 'x' } });
    let user = 'a';
    const dispatcher = new SocksDispatcher(() => `socks5://${user}:x@127.0.0.1:${server.port}`, { Agent });
    const url = `http://127.0.0.1:${on.http.port}/`;
    for (user of ['a', 'b', 'a', 'b']) expect(await get(url, dispatcher)).toBe('hello');
    expect(server.log.map((entry) => entry.user)).toEqual(['a', 'b']);
    await dispatcher.close();
    await server.close();
  });

  test('shares a connection between equal answers: a string, a URL, an object, a chain of one', async () => {
    const { hostname: host, port } = new URL(on.one.url);
    const object: SocksProxy = { version: 5, host, port: Number(port), dns: 'remote' };
    const answers = [on.one.url, new URL(on.one.url), object, { ...object }, [on.one.url]];
    const dispatcher = new SocksDispatcher(() => answers.shift(), { Agent });
    const before = on.one.accepted;
    while (answers.length > 0) {
      await get(`http://any.test:${on.http.port}/`, dispatcher);
      // undici tells its pool a turn later that a connection is free.
      await nextTurn();
    }
    expect(on.one.accepted - before).toBe(1);
    await dispatcher.close();
  });

  test('sends a request when the promise of the selector is fulfilled, and not before', async () => {
    const dispatcher = new SocksDispatcher(
      async ({ host }) => (host === '127.0.0.1' ? undefined : on.one.url),
      {
        Agent,
      },
    );
    on.one.requests.length = 0;
    expect(await get(`http://127.0.0.1:${on.http.port}/`, dispatcher)).toBe('hello');
    expect(await get(`http://any.test:${on.http.port}/`, dispatcher)).toBe('hello');
    expect(on.one.requests).toEqual([`any.test:${on.http.port}`]);
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
  ])('makes %s of the selector the error of its own request alone', async (__, failing) => {
    let select: ProxySelector = async () => on.one.url;
    const dispatcher = new SocksDispatcher((...call) => select(...call), { Agent, connections: 1 });
    const url = `http://any.test:${on.http.port}/`;
    const first = get(url, dispatcher);
    select = failing;
    const second = cause(get(url, dispatcher));
    select = () => on.one.url;
    const third = get(url, dispatcher);
    expect(await second).toMatchObject({ name: 'RangeError', message: 'no proxy today' });
    expect(await Promise.all([first, third])).toEqual(['hello', 'hello']);
    await dispatcher.close();
  });

  test.each([undefined, null, 'text', 0, Symbol('a'), Object.create(null)])(
    'passes on whatever a selector throws: %o',
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
        const error = await cause(get(`http://any.test:${on.http.port}/`, dispatcher));
        expect(error).toBeInstanceOf(Error);
        expect(error.cause).toBe(thrown);
        await dispatcher.close();
      }
    },
  );

  test.each([42, {}, [], null, 'http://127.0.0.1:1'])(
    'fails the request when the answer is no proxy: %o',
    async (answer) => {
      for (const selector of [() => answer, async () => answer]) {
        const dispatcher = new SocksDispatcher(selector as never, { Agent });
        expect(await cause(get(`http://127.0.0.1:${on.http.port}/`, dispatcher))).toMatchObject({
          code: 'ERR_SOCKS_INVALID_PROXY',
        });
        await dispatcher.close();
      }
    },
  );

  test('ends a request that is aborted while its selector has not answered', async () => {
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

  test.each<[string, (abort: AbortController, dispatcher: SocksDispatcher) => unknown, unknown]>([
    ['its request is aborted', (abort) => abort.abort(), { name: 'AbortError' }],
    [
      'the dispatcher is destroyed',
      (_abort, dispatcher) => dispatcher.destroy(),
      { name: expect.any(String) },
    ],
    [
      'the dispatcher is destroyed with an error',
      (_abort, dispatcher) => dispatcher.destroy(new Error('that is all')),
      { message: 'that is all' },
    ],
    ['connectTimeout is over', () => {}, { code: 'ERR_SOCKS_TIMEOUT' }],
  ])('aborts the signal of a selector when %s', async (_case, end, reason) => {
    const called = deferred<AbortSignal>();
    const dispatcher = new SocksDispatcher(
      (_destination, { signal }) => {
        called.resolve(signal);
        return never();
      },
      { Agent, connectTimeout: 50 },
    );
    const abort = new AbortController();
    const failed = cause(get('http://any.test/', dispatcher, { signal: abort.signal }));
    const signal = await called.promise;
    expect(signal.aborted).toBe(false);
    const aborted = once(signal, 'abort');
    end(abort, dispatcher);
    await aborted;
    expect(signal.reason).toMatchObject(reason as object);
    await failed;
    await dispatcher.destroy();
  });

  test('counts the wait for the selector into connectTimeout, and leaves the rest to the handshake', async () => {
    await using hanging = await startHangingProxy();
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
    // Node's timers count whole milliseconds, so one of 300 ms can end after 299.5 ms.
    expect(Number.parseInt(detail, 10)).toBeLessThanOrEqual(701);
    await silent.close();
    await slow.close();
  });

  test('ends in destroy() every request whose selector has not answered, though a consumer throws', async () => {
    for (const reason of [new RangeError('enough'), undefined]) {
      const dispatcher = new SocksDispatcher(never, { Agent });
      const thrown = new Error('thrown by a consumer');
      const errors: unknown[] = [];
      for (let i = 0; i < 3; i++) {
        const onError = (error: unknown): void => {
          errors.push(error);
          if (i === 1) throw thrown;
        };
        dispatcher.dispatch(
          { origin: 'http://any.test', path: '/', method: 'GET' },
          { onConnect() {}, onError },
        );
      }
      await expect(dispatcher.destroy(reason)).rejects.toBe(thrown);
      const told = reason ?? expect.objectContaining({ code: 'UND_ERR_DESTROYED' });
      expect(errors).toEqual([told, told, told]);
    }
  });

  test('closes its connections in close(), though a consumer throws when its selector rejects', async () => {
    let reject: (reason: unknown) => void = () => {};
    const later = new AsyncLocalStorage<boolean>();
    const dispatcher = new SocksDispatcher(
      () =>
        later.getStore() ? new Promise<string>((_resolve, rejected) => (reject = rejected)) : on.one.url,
      { Agent },
    );
    expect(await get(`http://any.test:${on.http.port}/`, dispatcher)).toBe('hello');
    const onError = (): never => {
      throw new Error('thrown by a consumer');
    };
    later.run(true, () =>
      dispatcher.dispatch(
        { origin: 'http://any.test', path: '/', method: 'GET' },
        { onConnect() {}, onError },
      ),
    );
    const closed = dispatcher.close();
    reject(new Error('thrown by the selector'));
    await closed;
    await on.one.idle();
  });

  test('ends in destroy() a request whose selector has not answered', async () => {
    for (const reason of [new RangeError('enough'), undefined]) {
      const dispatcher = new SocksDispatcher(never, { Agent });
      const failed = cause(get('http://any.test/', dispatcher));
      await nextTurn();
      await dispatcher.destroy(reason);
      expect(await failed).toMatchObject(reason ? { name: 'RangeError' } : { code: 'UND_ERR_DESTROYED' });
    }
  });

  test('waits in close() for a request whose selector has not answered, and refuses later requests', async () => {
    let answer: (proxy: string) => void = () => {};
    const dispatcher = new SocksDispatcher(() => new Promise<string>((resolve) => (answer = resolve)), {
      Agent,
    });
    const page = get(`http://any.test:${on.http.port}/`, dispatcher);
    await nextTurn();
    const closed = dispatcher.close();
    expect(await cause(get('http://any.test/', dispatcher))).toMatchObject({ code: 'UND_ERR_CLOSED' });
    answer(on.one.url);
    expect(await page).toBe('hello');
    await closed;
  });

  test('closes the pool of an old answer when nothing is left in the pool', async () => {
    let answer = on.one.url;
    const dispatcher = new SocksDispatcher(() => answer, { Agent, keepAliveMaxTimeout: 5, maxOrigins: 1 });
    // Several answers for one origin are one origin.
    expect(await get(`http://any.test:${on.http.port}/`, dispatcher)).toBe('hello');
    answer = on.two.url;
    const disconnected = once(dispatcher, 'disconnect');
    expect(await get(`http://any.test:${on.http.port}/`, dispatcher)).toBe('hello');
    expect(await cause(get(`http://other.test:${on.http.port}/`, dispatcher))).toMatchObject({
      code: 'UND_ERR_MAX_ORIGINS_REACHED',
    });
    await disconnected;
    await Promise.all([on.one.idle(), on.two.idle()]);
    await nextTurn();
    await nextTurn();
    expect(await get(`http://other.test:${on.http.port}/`, dispatcher)).toBe('hello');
    await dispatcher.close();
  });

  test('resumes TLS sessions for the same answer, and for no other', async () => {
    let answer: string | undefined;
    const dispatcher = new SocksDispatcher(() => answer, {
      Agent,
      allowH2: false,
      connect: { ca: CERTIFICATE },
    });
    const reused: boolean[] = [];
    for (answer of [on.one.url, on.one.url, on.two.url, undefined, on.one.url, on.two.url, undefined]) {
      const host = answer === undefined ? '127.0.0.1' : 'origin.test';
      const { body } = await dispatcher.request({
        origin: `https://${host}:${on.https.port}`,
        path: '/',
        method: 'GET',
        headers: { connection: 'close', host: 'origin.test' },
      });
      expect(await body.text()).toBe('hello');
      reused.push(on.https.secured.at(-1)?.reused ?? false);
    }
    expect(reused).toEqual([false, true, false, false, true, true, true]);
    await dispatcher.close();
  });

  test('does not resume TLS sessions for other credentials', async () => {
    const server = await startServer({ users: { a: 'x', b: 'x' }, names: { 'origin.test': '127.0.0.1' } });
    let user = 'a';
    const dispatcher = new SocksDispatcher(() => `socks5://${user}:x@127.0.0.1:${server.port}`, {
      Agent,
      allowH2: false,
      connect: { ca: CERTIFICATE },
    });
    const reused: boolean[] = [];
    for (user of ['a', 'b', 'a', 'b']) {
      const request = { origin: `https://origin.test:${on.https.port}`, path: '/', method: 'GET' };
      const { body } = await dispatcher.request({ ...request, headers: { connection: 'close' } });
      expect(await body.text()).toBe('hello');
      reused.push(on.https.secured.at(-1)?.reused ?? false);
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
    await using from = await startSite();
    const calls: string[] = [];
    const dispatcher = new SocksDispatcher(
      ({ host }) => {
        calls.push(host);
        return on.one.url;
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

test('socksConnector() aborts the signal of a selector in close()', async () => {
  let given: AbortSignal | undefined;
  const connect = socksConnector((_destination, { signal }) => {
    given = signal;
    return never();
  });
  const failed = new Promise((resolve) =>
    connect({ hostname: 'any.test', host: 'any.test', protocol: 'http:', port: '80' }, (...result) =>
      resolve(result),
    ),
  );
  expect(given?.aborted).toBe(false);
  await connect.close();
  expect(given?.reason).toMatchObject({ code: 'ERR_SOCKS_CLOSED' });
  await failed;
});

test('socksConnector() calls a selector for each connection', async () => {
  const [[, { Agent, request }]] = [...undicis] as [[string, any]];
  const calls: unknown[] = [];
  const connect = socksConnector(async (destination) => {
    calls.push(destination);
    return on.one.url;
  });
  const agent = new Agent({ connect, connections: 1 });
  for (let i = 0; i < 2; i++) {
    const { body } = await request(`http://any.test:${on.http.port}/`, { dispatcher: agent });
    expect(await body.text()).toBe('hello');
  }
  expect(calls).toEqual([{ host: 'any.test', port: on.http.port, protocol: 'http:' }]);
  await agent.close();
});
