// SocksDispatcher on the Agent inside Node: options, TLS, errors, aborts, close() and destroy().

import { EventEmitter, once } from 'node:events';
import { inspect } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { CERTIFICATE, freePort, rejection, turns } from '@socksify/support';
import { describe, expect, test } from 'vitest';
import { SocksDispatcher } from '../src/index.ts';
import type { SocksDispatcherOptions } from '../src/index.ts';
import { agents } from './combinations.ts';
import { startForFile } from './file-servers.ts';
import { startSite } from './site.ts';
import { startHangingProxy, startProxy, startRefusingProxy } from './recorded-proxy.ts';

const on = startForFile({ proxy: startProxy, http: () => startSite(), https: () => startSite('https') });

/** fetch as JavaScript calls it: the declared types of undici are the subject of types.test-d.ts. */
const get = (url: string, dispatcher: SocksDispatcher, init: RequestInit = {}): Promise<Response> =>
  fetch(url, { ...init, dispatcher });

const collectGarbage = (): void => {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
};

const abortable = (): { signal: AbortSignal; abort: () => void } => {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
};

describe('the constructor', () => {
  test('throws at once on a proxy that is not valid', () => {
    expect(() => new SocksDispatcher('http://127.0.0.1:1080')).toThrow(
      expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }),
    );
  });

  test.each<[string, unknown, string]>([
    ['a time limit', { connectTimeout: -1 }, 'ERR_INVALID_ARG_VALUE'],
    ['a connector of its own', { connect: () => {} }, 'ERR_INVALID_ARG_TYPE'],
    ['an Agent', { Agent: EventEmitter }, 'ERR_INVALID_ARG_TYPE'],
    ['a pool option', { connections: -1 }, 'UND_ERR_INVALID_ARG'],
    ['a client option', { headersTimeout: 'soon' }, 'UND_ERR_INVALID_ARG'],
  ])('throws at once on %s that is not valid', (_, options, code) => {
    expect(() => new SocksDispatcher(on.proxy.url, options as SocksDispatcherOptions)).toThrow(
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

describe('a request', () => {
  test.each(['socks5', 'socks4a'])('is sent over %s', async (scheme) => {
    const dispatcher = new SocksDispatcher(`${scheme}://127.0.0.1:${on.proxy.port}`);
    on.proxy.requests.length = 0;
    expect(await (await get(`http://any.test:${on.http.port}/`, dispatcher)).text()).toBe('hello');
    expect(on.proxy.requests).toEqual([`any.test:${on.http.port}`]);
    await dispatcher.close();
  });

  test('is sent through a chain', async () => {
    await using second = await startProxy();
    const dispatcher = new SocksDispatcher([on.proxy.url, second.url]);
    on.proxy.requests.length = 0;
    expect(await (await get(`http://any.test:${on.http.port}/`, dispatcher)).text()).toBe('hello');
    expect([on.proxy.requests, second.requests]).toEqual([
      [`127.0.0.1:${second.port}`],
      [`any.test:${on.http.port}`],
    ]);
    await dispatcher.destroy();
  });

  test('calls a selector once, and is sent directly when the selector returns undefined', async () => {
    const selected: unknown[] = [];
    const dispatcher = new SocksDispatcher(
      (destination) => {
        selected.push(destination);
        return destination.host === '127.0.0.1' ? undefined : on.proxy.url;
      },
      { connect: { ca: CERTIFICATE } },
    );
    on.proxy.requests.length = 0;
    await (await get(`http://127.0.0.1:${on.http.port}/`, dispatcher)).text();
    await (await get(`https://origin.test:${on.https.port}/`, dispatcher)).text();
    expect(selected).toEqual([
      { host: '127.0.0.1', port: on.http.port, protocol: 'http:' },
      { host: 'origin.test', port: on.https.port, protocol: 'https:' },
    ]);
    expect(on.proxy.requests).toEqual([`origin.test:${on.https.port}`]);
    await dispatcher.close();
  });

  test('fails with what a selector throws as the cause, and nothing is sent directly', async () => {
    const dispatcher = new SocksDispatcher(() => {
      throw new RangeError('no proxy for you');
    });
    await expect(get(`http://127.0.0.1:${on.http.port}/`, dispatcher)).rejects.toMatchObject({
      cause: { name: 'RangeError' },
    });
    await dispatcher.close();
  });

  test('follows the pool options: three requests use one connection', async () => {
    const dispatcher = new SocksDispatcher(on.proxy.url, { connections: 1 });
    const before = on.proxy.accepted;
    const pages = ['/', '/', '/'].map(async (path) =>
      (await get(`http://any.test:${on.http.port}${path}`, dispatcher)).text(),
    );
    expect(await Promise.all(pages)).toEqual(['hello', 'hello', 'hello']);
    expect(on.proxy.accepted - before).toBe(1);
    await dispatcher.close();
  });

  test('fails after headersTimeout', async () => {
    const dispatcher = new SocksDispatcher(on.proxy.url, { headersTimeout: 50 });
    await expect(get(`http://any.test:${on.http.port}/hang`, dispatcher)).rejects.toMatchObject({
      cause: { code: 'UND_ERR_HEADERS_TIMEOUT' },
    });
    await dispatcher.destroy();
  });
});

describe('TLS to the destination', () => {
  const secure = (options: SocksDispatcherOptions = {}): SocksDispatcher =>
    new SocksDispatcher(on.proxy.url, { connect: { ca: CERTIFICATE }, ...options });

  test('sends the name as SNI, and offers HTTP/1.1 alone with allowH2: false', async () => {
    const dispatcher = secure({ allowH2: false });
    await (await get(`https://origin.test:${on.https.port}/`, dispatcher)).text();
    expect(on.https.secured.at(-1)).toMatchObject({ servername: 'origin.test', alpn: 'http/1.1' });
    await dispatcher.close();
  });

  test('sends no SNI to an IP address', async () => {
    const dispatcher = secure();
    await (await get(`https://127.0.0.1:${on.https.port}/`, dispatcher)).text();
    expect(on.https.secured.at(-1)).toMatchObject({ servername: false });
    await dispatcher.close();
  });

  test('sends the servername option as SNI, and the Host header before it', async () => {
    const dispatcher = secure({ connect: { ca: CERTIFICATE, servername: 'given.test' } });
    await (await get(`https://127.0.0.1:${on.https.port}/`, dispatcher)).text();
    expect(on.https.secured.at(-1)).toMatchObject({ servername: 'given.test' });
    const { body } = await dispatcher.request({
      origin: `https://127.0.0.1:${on.https.port}`,
      path: '/',
      method: 'GET',
      headers: { host: 'header.test' },
    });
    await body.text();
    expect(on.https.secured.at(-1)).toMatchObject({ servername: 'header.test' });
    await dispatcher.close();
  });

  test('refuses an unknown certificate with the error of Node', async () => {
    const dispatcher = new SocksDispatcher(on.proxy.url);
    await expect(get(`https://origin.test:${on.https.port}/`, dispatcher)).rejects.toMatchObject({
      cause: { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
    });
    await dispatcher.close();
  });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'resumes a %s session, even after a garbage collection',
    async (version) => {
      const dispatcher = secure({
        allowH2: false,
        connect: { ca: CERTIFICATE, minVersion: version, maxVersion: version },
      });
      const url = `https://origin.test:${on.https.port}/`;
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
      expect(on.https.secured.slice(-2).map(({ reused }) => reused)).toEqual([false, true]);
      await dispatcher.close();
    },
  );
});

describe('the error of a request', () => {
  test('has the code of the refusal as its cause', async () => {
    const dispatcher = new SocksDispatcher(on.proxy.url);
    await expect(get(`http://any.test:${await freePort()}/`, dispatcher)).rejects.toMatchObject({
      name: 'TypeError',
      cause: { code: 'ERR_SOCKS_CONNECTION_REFUSED' },
    });
    await dispatcher.close();
  });

  test('has ERR_SOCKS_PROXY_UNREACHABLE as its cause when nothing listens on the port of the proxy', async () => {
    const dispatcher = new SocksDispatcher(`socks5://127.0.0.1:${await freePort()}`);
    await expect(get('http://any.test/', dispatcher)).rejects.toMatchObject({
      cause: { code: 'ERR_SOCKS_PROXY_UNREACHABLE', cause: { code: 'ECONNREFUSED' } },
    });
    await dispatcher.close();
  });

  test('has ERR_SOCKS_TIMEOUT as its cause after the time limit, which ends the connection to the proxy', async () => {
    await using hanging = await startHangingProxy();
    const dispatcher = new SocksDispatcher(hanging.url, { connectTimeout: 50 });
    await expect(get('http://any.test/', dispatcher)).rejects.toMatchObject({
      cause: { code: 'ERR_SOCKS_TIMEOUT' },
    });
    await hanging.idle();
    await dispatcher.close();
  });

  test.each(agents)('is final, so that one request makes one connection, with %s', async (_, Agent) => {
    await using refusing = await startRefusingProxy();
    const dispatcher = new SocksDispatcher(refusing.url, { Agent });
    for (const url of ['http://any.test/', 'https://any.test/']) {
      await expect(get(url, dispatcher)).rejects.toMatchObject({
        cause: { code: 'ERR_SOCKS_NOT_ALLOWED' },
      });
    }
    await dispatcher.close();
    expect(refusing.accepted).toBe(2);
  });

  test.each(agents)(
    'does not make %s reconnect for ever, whatever code a selector throws',
    async (_, Agent) => {
      for (const code of ['UND_ERR_SOCKET', 'UND_ERR_INFO']) {
        let selected = 0;
        const dispatcher = new SocksDispatcher(
          () => {
            if (++selected > 3) process.exit(1);
            throw Object.assign(new Error('of undici'), { code });
          },
          { Agent },
        );
        await expect(get('http://any.test/', dispatcher)).rejects.toMatchObject({
          cause: { cause: { code } },
        });
        expect(selected).toBe(1);
        await dispatcher.close();
      }
    },
  );
});

describe.each(agents)('an abort during the handshake, with %s', (_, Agent) => {
  test('closes the connection to the proxy', async () => {
    await using hanging = await startHangingProxy();
    const dispatcher = new SocksDispatcher(hanging.url, { Agent });
    const { signal, abort } = abortable();
    const failed = rejection(get('http://any.test/', dispatcher, { signal }));
    await hanging.reached(1);
    abort();
    expect(await failed).toMatchObject({
      name: 'AbortError',
    });
    await hanging.idle();
    await dispatcher.close();
  });

  test('closes the connection of request() to the proxy', async () => {
    await using hanging = await startHangingProxy();
    const dispatcher = new SocksDispatcher(hanging.url, { Agent });
    const { signal, abort } = abortable();
    const failed = rejection(
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
    const url = `http://any.test:${on.http.port}/`;
    const first = get(url, dispatcher, { signal }).catch((error: Error) => error.name);
    const queued = get(url, dispatcher, { signal }).catch((error: Error) => error.name);
    const kept = get(url, dispatcher);
    await slow.reached(1);
    abort();
    expect(await Promise.all([first, queued])).toEqual(['AbortError', 'AbortError']);
    expect(await (await kept).text()).toBe('hello');
    await dispatcher.close();
  });

  test('opens no connection for the aborted requests in the queue', async () => {
    await using hanging = await startHangingProxy();
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

describe.each(agents)('a dispatcher on %s', (_, Agent) => {
  test('ends a handshake in progress and its request in destroy()', async () => {
    await using hanging = await startHangingProxy();
    const dispatcher = new SocksDispatcher(hanging.url, { Agent });
    const failed = rejection(get('http://any.test/', dispatcher));
    await hanging.reached(1);
    await dispatcher.destroy();
    expect(await failed).toMatchObject({
      cause: { code: 'UND_ERR_DESTROYED' },
    });
    await hanging.idle();
    expect([dispatcher.closed, dispatcher.destroyed]).toEqual([true, true]);
  });

  test('ends a request in progress with the error of destroy(error)', async () => {
    const dispatcher = new SocksDispatcher(on.proxy.url, { Agent });
    const failed = rejection(get(`http://any.test:${on.http.port}/hang`, dispatcher));
    await once(on.http.server, 'hanging');
    await dispatcher.destroy(new Error('enough'));
    expect(await failed).toMatchObject({
      cause: { message: 'enough' },
    });
  });

  test('waits in close() for the requests in progress, and refuses new ones', async () => {
    await using own = await startProxy();
    const dispatcher = new SocksDispatcher(own.url, { Agent });
    const page = get(`http://any.test:${on.http.port}/hang`, dispatcher);
    await once(on.http.server, 'hanging');
    const closed = dispatcher.close();
    await expect(get('http://any.test/', dispatcher)).rejects.toMatchObject({
      cause: { code: 'UND_ERR_CLOSED' },
    });
    on.http.pending.at(-1)?.end('late');
    expect(await (await page).text()).toBe('late');
    await closed;
    await own.idle();
  });

  test('ends the requests that close() waits for in destroy(), and close() settles', async () => {
    await using own = await startProxy();
    const dispatcher = new SocksDispatcher(own.url, { Agent });
    const url = `http://any.test:${on.http.port}`;
    const half = await get(`${url}/drip`, dispatcher);
    const hanging = once(on.http.server, 'hanging');
    const failures = Promise.all([rejection(half.text()), rejection(get(`${url}/hang`, dispatcher))]);
    await hanging;
    const closed = dispatcher.close();
    await turns(2);
    await dispatcher.destroy(new Error('enough'));
    await closed;
    expect(await failures).toMatchObject([
      { cause: { message: 'enough' } },
      { cause: { message: 'enough' } },
    ]);
    await own.idle();
  });

  test('can be closed and destroyed again, and with a callback', async () => {
    const dispatcher = new SocksDispatcher(on.proxy.url, { Agent });
    await new Promise<void>((resolve) => dispatcher.close(resolve));
    await dispatcher.close();
    await dispatcher.destroy();
    await new Promise<void>((resolve) => dispatcher.destroy(resolve));
    await new Promise<void>((resolve) => dispatcher.destroy(null, resolve));
    await dispatcher.close();
    expect([dispatcher.closed, dispatcher.destroyed]).toEqual([true, true]);
  });
});
