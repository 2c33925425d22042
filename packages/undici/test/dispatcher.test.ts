// SocksDispatcher by itself: options, names, TLS, errors, aborts, the end. On the Agent inside Node.

import { EventEmitter, once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SocksDispatcher } from '../src/index.ts';
import type { SocksDispatcherOptions } from '../src/index.ts';
import { agents } from './cells.ts';
import { cert, startOrigin } from './origin.ts';
import type { Origin } from './origin.ts';
import { startProxy } from './proxy.ts';
import type { TestProxy } from './proxy.ts';

let proxy: TestProxy;
let http: Origin;
let https: Origin;

beforeAll(async () => {
  [proxy, http, https] = await Promise.all([startProxy(), startOrigin(), startOrigin('https')]);
});
afterAll(async () => {
  await Promise.all([
    proxy[Symbol.asyncDispose](),
    http[Symbol.asyncDispose](),
    https[Symbol.asyncDispose](),
  ]);
});

/** fetch as JavaScript calls it: the declared types of undici are the subject of types.test-d.ts. */
const get = (url: string, dispatcher: SocksDispatcher, init: RequestInit = {}): Promise<Response> =>
  fetch(url, { ...init, dispatcher });

const collectGarbage = (): void => {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
};

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no failure',
    (error: unknown) => error,
  );

const abortable = (): { signal: AbortSignal; abort: () => void } => {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
};

const closedPort = async (): Promise<number> => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
};

describe('construction', () => {
  test('throws at once on a proxy that is not valid', () => {
    expect(() => new SocksDispatcher('http://127.0.0.1:1080')).toThrow(
      expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }),
    );
  });

  test.each<[string, unknown, string]>([
    ['a deadline', { connectTimeout: -1 }, 'ERR_INVALID_ARG_VALUE'],
    ['a connector of its own', { connect: () => {} }, 'ERR_INVALID_ARG_TYPE'],
    ['an Agent', { Agent: EventEmitter }, 'ERR_INVALID_ARG_TYPE'],
    ['a pool option', { connections: -1 }, 'UND_ERR_INVALID_ARG'],
    ['a client option', { headersTimeout: 'soon' }, 'UND_ERR_INVALID_ARG'],
  ])('throws at once on %s that is not valid', (_, options, code) => {
    expect(() => new SocksDispatcher(proxy.url, options as SocksDispatcherOptions)).toThrow(
      expect.objectContaining({ code }),
    );
  });

  test('does no IO', async () => {
    await using silent = await startProxy();
    const dispatcher = new SocksDispatcher(silent.url);
    await dispatcher.close();
    expect(silent.accepted).toBe(0);
  });

  test('shows no secret', () => {
    const dispatcher = new SocksDispatcher('socks5://alice:secret@127.0.0.1:1080', {
      connect: { key: 'secret', passphrase: 'secret' },
    });
    const shown = [inspect(dispatcher, { showHidden: true, depth: 9 }), JSON.stringify(dispatcher)];
    expect(shown.join()).not.toContain('secret');
    expect(inspect({ dispatcher }, { depth: 9 })).not.toContain('secret');
  });
});

describe('the way', () => {
  test.each(['socks5', 'socks4a'])('goes through %s', async (scheme) => {
    const dispatcher = new SocksDispatcher(`${scheme}://127.0.0.1:${proxy.port}`);
    proxy.requests.length = 0;
    expect(await (await get(`http://any.test:${http.port}/`, dispatcher)).text()).toBe('hello');
    expect(proxy.requests).toEqual([`any.test:${http.port}`]);
    await dispatcher.close();
  });

  test('goes through a chain', async () => {
    await using second = await startProxy();
    const dispatcher = new SocksDispatcher([proxy.url, second.url]);
    proxy.requests.length = 0;
    expect(await (await get(`http://any.test:${http.port}/`, dispatcher)).text()).toBe('hello');
    expect([proxy.requests, second.requests]).toEqual([
      [`127.0.0.1:${second.port}`],
      [`any.test:${http.port}`],
    ]);
    await dispatcher.destroy();
  });

  test('asks a selector, once for each connection; undefined means directly', async () => {
    const asked: unknown[] = [];
    const dispatcher = new SocksDispatcher(
      (destination) => {
        asked.push(destination);
        return destination.host === '127.0.0.1' ? undefined : proxy.url;
      },
      { connect: { ca: cert } },
    );
    proxy.requests.length = 0;
    await (await get(`http://127.0.0.1:${http.port}/`, dispatcher)).text();
    await (await get(`https://origin.test:${https.port}/`, dispatcher)).text();
    expect(asked).toEqual([
      { host: '127.0.0.1', port: http.port, protocol: 'http:' },
      { host: 'origin.test', port: https.port, protocol: 'https:' },
    ]);
    expect(proxy.requests).toEqual([`origin.test:${https.port}`]);
    await dispatcher.close();
  });

  test('what a selector throws is the cause, and nothing goes directly', async () => {
    const dispatcher = new SocksDispatcher(() => {
      throw new RangeError('no proxy for you');
    });
    await expect(get(`http://127.0.0.1:${http.port}/`, dispatcher)).rejects.toMatchObject({
      cause: { name: 'RangeError' },
    });
    await dispatcher.close();
  });

  test('heeds pool options: two requests over one connection', async () => {
    const dispatcher = new SocksDispatcher(proxy.url, { connections: 1 });
    const before = proxy.accepted;
    const pages = ['/', '/', '/'].map(async (path) =>
      (await get(`http://any.test:${http.port}${path}`, dispatcher)).text(),
    );
    expect(await Promise.all(pages)).toEqual(['hello', 'hello', 'hello']);
    expect(proxy.accepted - before).toBe(1);
    await dispatcher.close();
  });

  test('heeds headersTimeout', async () => {
    const dispatcher = new SocksDispatcher(proxy.url, { headersTimeout: 50 });
    await expect(get(`http://any.test:${http.port}/hang`, dispatcher)).rejects.toMatchObject({
      cause: { code: 'UND_ERR_HEADERS_TIMEOUT' },
    });
    await dispatcher.destroy();
  });
});

describe('TLS to the destination', () => {
  const secure = (options: SocksDispatcherOptions = {}): SocksDispatcher =>
    new SocksDispatcher(proxy.url, { connect: { ca: cert }, ...options });

  test('sends the name as SNI, and offers HTTP/1.1 only when told so', async () => {
    const dispatcher = secure({ allowH2: false });
    await (await get(`https://origin.test:${https.port}/`, dispatcher)).text();
    expect(https.secured.at(-1)).toMatchObject({ servername: 'origin.test', alpn: 'http/1.1' });
    await dispatcher.close();
  });

  test('sends no SNI to an IP address', async () => {
    const dispatcher = secure();
    await (await get(`https://127.0.0.1:${https.port}/`, dispatcher)).text();
    expect(https.secured.at(-1)).toMatchObject({ servername: false });
    await dispatcher.close();
  });

  test('heeds servername, and the Host header before it', async () => {
    const dispatcher = secure({ connect: { ca: cert, servername: 'given.test' } });
    await (await get(`https://127.0.0.1:${https.port}/`, dispatcher)).text();
    expect(https.secured.at(-1)).toMatchObject({ servername: 'given.test' });
    const { body } = await dispatcher.request({
      origin: `https://127.0.0.1:${https.port}`,
      path: '/',
      method: 'GET',
      headers: { host: 'header.test' },
    });
    await body.text();
    expect(https.secured.at(-1)).toMatchObject({ servername: 'header.test' });
    await dispatcher.close();
  });

  test('an unknown certificate is refused with the error of Node', async () => {
    const dispatcher = new SocksDispatcher(proxy.url);
    await expect(get(`https://origin.test:${https.port}/`, dispatcher)).rejects.toMatchObject({
      cause: { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
    });
    await dispatcher.close();
  });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'resumes a %s session, even after a collection',
    async (version) => {
      const dispatcher = secure({
        allowH2: false,
        connect: { ca: cert, minVersion: version, maxVersion: version },
      });
      const url = `https://origin.test:${https.port}/`;
      const headers = { connection: 'close' };
      const page = async (): Promise<void> => {
        const { body } = await dispatcher.request({
          origin: new URL(url).origin,
          path: '/',
          method: 'GET',
          headers,
        });
        await body.text();
      };
      await page();
      collectGarbage();
      await page();
      expect(https.secured.slice(-2).map(({ reused }) => reused)).toEqual([false, true]);
      await dispatcher.close();
    },
  );
});

describe('errors', () => {
  test('a refused destination', async () => {
    await using refusing = await startProxy(5);
    const dispatcher = new SocksDispatcher(refusing.url);
    await expect(get('http://any.test/', dispatcher)).rejects.toMatchObject({
      name: 'TypeError',
      cause: { code: 'ERR_SOCKS_CONNECTION_REFUSED' },
    });
    await dispatcher.close();
  });

  test('an unreachable proxy', async () => {
    const dispatcher = new SocksDispatcher(`socks5://127.0.0.1:${await closedPort()}`);
    await expect(get('http://any.test/', dispatcher)).rejects.toMatchObject({
      cause: { code: 'ERR_SOCKS_PROXY_UNREACHABLE', cause: { code: 'ECONNREFUSED' } },
    });
    await dispatcher.close();
  });

  test('the deadline, which ends the connection to the proxy', async () => {
    await using hanging = await startProxy('hang');
    const dispatcher = new SocksDispatcher(hanging.url, { connectTimeout: 50 });
    await expect(get('http://any.test/', dispatcher)).rejects.toMatchObject({
      cause: { code: 'ERR_SOCKS_TIMEOUT' },
    });
    await hanging.idle();
    await dispatcher.close();
  });

  test.each(agents)('are final: one connection for one request, through %s', async (_, Agent) => {
    await using refusing = await startProxy(1);
    const dispatcher = new SocksDispatcher(refusing.url, { Agent });
    for (const url of ['http://any.test/', 'https://any.test/']) {
      await expect(get(url, dispatcher)).rejects.toMatchObject({
        cause: { code: 'ERR_SOCKS_GENERAL_FAILURE' },
      });
    }
    await dispatcher.close();
    expect(refusing.accepted).toBe(2);
  });

  test.each(agents)(
    'do not make %s reconnect for ever, whatever code a selector throws',
    async (_, Agent) => {
      for (const code of ['UND_ERR_SOCKET', 'UND_ERR_INFO']) {
        let asked = 0;
        const dispatcher = new SocksDispatcher(
          () => {
            if (++asked > 3) process.exit(1);
            throw Object.assign(new Error('of undici'), { code });
          },
          { Agent },
        );
        await expect(get('http://any.test/', dispatcher)).rejects.toMatchObject({
          cause: { cause: { code } },
        });
        expect(asked).toBe(1);
        await dispatcher.close();
      }
    },
  );
});

describe.each(agents)('an abort during the handshake, through %s', (_, Agent) => {
  test('closes the connection to the proxy', async () => {
    await using hanging = await startProxy('hang');
    const dispatcher = new SocksDispatcher(hanging.url, { Agent });
    const { signal, abort } = abortable();
    const failed = failure(get('http://any.test/', dispatcher, { signal }));
    await hanging.reached(1);
    abort();
    expect(await failed).toMatchObject({
      name: 'AbortError',
    });
    await hanging.idle();
    await dispatcher.close();
  });

  test('also for request()', async () => {
    await using hanging = await startProxy('hang');
    const dispatcher = new SocksDispatcher(hanging.url, { Agent });
    const { signal, abort } = abortable();
    const failed = failure(
      dispatcher.request({ origin: 'https://any.test', path: '/', method: 'GET', signal }),
    );
    await hanging.reached(1);
    abort();
    expect(await failed).toMatchObject({ name: 'AbortError' });
    await hanging.idle();
    await dispatcher.close();
  });

  test('leaves the connection to a request that still waits for it, and dials no more for those that do not', async () => {
    await using slow = await startProxy();
    const dispatcher = new SocksDispatcher(slow.url, { Agent, connections: 1 });
    const { signal, abort } = abortable();
    const url = `http://any.test:${http.port}/`;
    const first = get(url, dispatcher, { signal }).catch((error: Error) => error.name);
    const queued = get(url, dispatcher, { signal }).catch((error: Error) => error.name);
    const kept = get(url, dispatcher);
    await slow.reached(1);
    abort();
    expect(await Promise.all([first, queued])).toEqual(['AbortError', 'AbortError']);
    expect(await (await kept).text()).toBe('hello');
    await dispatcher.close();
  });

  test('an aborted queue opens no connection', async () => {
    await using hanging = await startProxy('hang');
    const dispatcher = new SocksDispatcher(hanging.url, { Agent, connections: 2 });
    const { signal, abort } = abortable();
    const all = Promise.allSettled(
      [1, 2, 3, 4, 5].map(() => get('http://any.test/', dispatcher, { signal })),
    );
    await hanging.reached(2);
    abort();
    expect((await all).map(({ status }) => status)).toEqual(Array.from({ length: 5 }, () => 'rejected'));
    await hanging.idle();
    await dispatcher.close();
    expect(hanging.accepted).toBe(2);
  });
});

describe.each(agents)('the end, through %s', (_, Agent) => {
  test('destroy() ends a handshake under way, and its request', async () => {
    await using hanging = await startProxy('hang');
    const dispatcher = new SocksDispatcher(hanging.url, { Agent });
    const failed = failure(get('http://any.test/', dispatcher));
    await hanging.reached(1);
    await dispatcher.destroy();
    expect(await failed).toMatchObject({
      cause: { code: 'UND_ERR_DESTROYED' },
    });
    await hanging.idle();
    expect([dispatcher.closed, dispatcher.destroyed]).toEqual([true, true]);
  });

  test('destroy(error) ends a request under way with that error', async () => {
    const dispatcher = new SocksDispatcher(proxy.url, { Agent });
    const failed = failure(get(`http://any.test:${http.port}/hang`, dispatcher));
    await once(http.server, 'hanging');
    await dispatcher.destroy(new Error('enough'));
    expect(await failed).toMatchObject({
      cause: { message: 'enough' },
    });
  });

  test('close() waits for the requests under way, and refuses new ones', async () => {
    await using own = await startProxy();
    const dispatcher = new SocksDispatcher(own.url, { Agent });
    const page = get(`http://any.test:${http.port}/hang`, dispatcher);
    await once(http.server, 'hanging');
    const closed = dispatcher.close();
    await expect(get('http://any.test/', dispatcher)).rejects.toMatchObject({
      cause: { code: 'UND_ERR_CLOSED' },
    });
    http.pending.at(-1)?.end('late');
    expect(await (await page).text()).toBe('late');
    await closed;
    await own.idle();
  });

  test('both can be called again, and with a callback', async () => {
    const dispatcher = new SocksDispatcher(proxy.url, { Agent });
    await new Promise<void>((resolve) => dispatcher.close(resolve));
    await dispatcher.close();
    await dispatcher.destroy();
    await new Promise<void>((resolve) => dispatcher.destroy(resolve));
    await new Promise<void>((resolve) => dispatcher.destroy(null, resolve));
    await dispatcher.close();
    expect([dispatcher.closed, dispatcher.destroyed]).toEqual([true, true]);
  });
});
