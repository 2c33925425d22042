// The interceptors, wrappers, mocks and globals of undici 6, 7 and 8, around a SocksDispatcher and beside it. The
// dispatcher is built on the Agent of the same undici or on the one inside Node.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CERTIFICATE as ca } from '@socksify/support';
import { setGlobalDispatcher, socksConnector, SocksDispatcher } from '@socksify/undici';
import type { AgentClass } from '@socksify/undici';
import { afterEach, describe, expect, test } from 'vitest';
import { startProxiedSite } from './proxied-site.ts';

interface Dispatcher {
  dispatch(options: any, handler: any): boolean;
  close(): Promise<unknown>;
}
interface Mock extends Dispatcher {
  get(origin: string): { intercept(options: object): { reply(status: number, body: string): void } };
  enableNetConnect(): void;
  disableNetConnect(): void;
}

/** Of each undici what is used here: its own types differ from version to version. */
interface Undici {
  readonly Agent: AgentClass;
  readonly fetch: (url: string, init?: object) => Promise<Response>;
  readonly request: (
    url: string,
    options?: object,
  ) => Promise<{ statusCode: number; headers: Record<string, string>; body: { text(): Promise<string> } }>;
  readonly interceptors: Readonly<Record<string, (options?: object) => (dispatch: any) => any>>;
  readonly RetryAgent: new (dispatcher: Dispatcher, options?: object) => Dispatcher;
  readonly MockAgent: new (options?: object) => Mock;
  readonly SnapshotAgent?: new (options: object) => Dispatcher & { saveSnapshots(): Promise<void> };
  readonly install?: () => void;
  readonly setGlobalDispatcher: (dispatcher: Dispatcher) => void;
}

const NODE_MAJOR = Number(process.versions.node.split('.')[0]);
/** The newest first: undici fills the older one too, with a wrapper. */
const PLACES = [Symbol.for('undici.globalDispatcher.2'), Symbol.for('undici.globalDispatcher.1')];
const INSTALLED = ['fetch', 'Headers', 'Response', 'Request', 'FormData', 'WebSocket', 'CloseEvent'].concat([
  'ErrorEvent',
  'MessageEvent',
  'EventSource',
]);
const NodeAgent = findNodeAgent();

const undicis: readonly (readonly [string, Undici])[] = [
  ['undici 6', (await import('undici6')) as unknown as Undici],
  ['undici 7', (await import('undici7')) as unknown as Undici],
  // undici 8 needs Node 22.19.
  ...(NODE_MAJOR >= 22 ? [['undici 8', (await import('undici8')) as unknown as Undici] as const] : []),
];
const rows = undicis.flatMap(([name, undici]) => [
  { name: `${name} on its own Agent`, undici, Agent: undici.Agent },
  { name: `${name} on Node's Agent`, undici, Agent: NodeAgent },
]);

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0).toReversed()) await each();
});

describe.each(rows)('with $name,', ({ undici, Agent }) => {
  const { interceptors, request } = undici;
  // Features that an undici does not have are not tested with it.
  const only = (name: string) => (interceptors[name] ? test : () => {});

  function dispatcherFor(proxy: string): SocksDispatcher {
    const dispatcher = new SocksDispatcher(proxy, { Agent, connect: { ca } });
    undo.push(() => dispatcher.close());
    return dispatcher;
  }

  test('the retry interceptor hands over the answer to a request that it does not repeat', async () => {
    await using site = await startProxiedSite();
    const retry = interceptors['retry']?.({ minTimeout: 1, maxRetries: 2 });
    const dispatcher = dispatcherFor(site.proxy).compose(retry);
    const { statusCode, body } = await request(`${site.http}missing`, { dispatcher });
    expect(`${statusCode} ${await body.text()}`).toBe('404 missing');
    site.expectProxied('http');
  });

  test('the retry interceptor repeats a request that was answered with 503', async () => {
    await using site = await startProxiedSite();
    const retry = interceptors['retry']?.({ minTimeout: 1, maxRetries: 2 });
    const dispatcher = dispatcherFor(site.proxy).compose(retry);
    for (const url of [`${site.http}fails-once`, `${site.https}fails-once-too`]) {
      const { statusCode, body } = await request(url, { dispatcher });
      expect(`${statusCode} ${await body.text()}`).toBe('200 hello');
    }
    expect(site.paths).toEqual(['/fails-once', '/fails-once', '/fails-once-too', '/fails-once-too']);
  });

  test('RetryAgent repeats a request that was answered with 503', async () => {
    await using site = await startProxiedSite();
    const dispatcher = new undici.RetryAgent(dispatcherFor(site.proxy), { minTimeout: 1, maxRetries: 2 });
    const { statusCode, body } = await request(`${site.http}fails-once`, { dispatcher });
    expect(`${statusCode} ${await body.text()}`).toBe('200 hello');
    expect(site.paths).toEqual(['/fails-once', '/fails-once']);
  });

  test('the redirect interceptor follows from http to https', async () => {
    await using site = await startProxiedSite();
    const dispatcher = dispatcherFor(site.proxy).compose(interceptors['redirect']?.({ maxRedirections: 2 }));
    const { statusCode, body } = await request(`${site.http}to-https`, { dispatcher });
    expect(`${statusCode} ${await body.text()}`).toBe('200 hello');
    site.expectProxied('http', 'https');
  });

  test('the dump interceptor drops the body of the response', async () => {
    await using site = await startProxiedSite();
    const dispatcher = dispatcherFor(site.proxy).compose(interceptors['dump']?.({ maxSize: 1024 }));
    const { statusCode, body } = await request(site.http, { dispatcher });
    expect(`${statusCode} ${await body.text()}`).toBe('200 ');
    site.expectProxied('http');
  });

  test('the dns interceptor resolves locally, and the request of the proxy has the address', async () => {
    await using site = await startProxiedSite();
    const lookup = (_origin: unknown, _options: unknown, done: (error: null, found: object[]) => void) =>
      done(null, [{ address: '127.0.0.1', family: 4, ttl: 1000 }]);
    const dispatcher = dispatcherFor(site.proxy).compose(
      interceptors['dns']?.({ lookup, dualStack: false, affinity: 4 }),
    );
    const { statusCode, headers, body } = await request(site.http, { dispatcher });
    expect(`${statusCode} ${await body.text()}`).toBe('200 hello');
    // undici 6 leaves the port out.
    expect(headers['x-host']).toMatch(/^origin\.test(?::\d+)?$/);
    site.expectProxied({ ip: '127.0.0.1' });
  });

  only('cache')('the cache interceptor answers the second request', async () => {
    await using site = await startProxiedSite();
    const dispatcher = dispatcherFor(site.proxy).compose(interceptors['cache']?.());
    for (let i = 0; i < 2; i++) {
      const { statusCode, body } = await request(`${site.http}cached`, { dispatcher });
      expect(`${statusCode} ${await body.text()}`).toBe('200 cached');
    }
    expect(site.paths).toEqual(['/cached']);
    site.expectProxied('http');
  });

  only('decompress')('the decompress interceptor unzips a response for request()', async () => {
    await using site = await startProxiedSite();
    const dispatcher = dispatcherFor(site.proxy).compose(interceptors['decompress']?.());
    const { statusCode, headers, body } = await request(`${site.http}gzip`, { dispatcher });
    expect(`${statusCode} ${await body.text()}`).toBe('200 zipped');
    expect(headers).not.toHaveProperty('content-encoding');
    site.expectProxied('http');
  });

  for (const [name, fetch] of [
    ['its fetch()', undici.fetch],
    ["Node's fetch()", globalThis.fetch],
  ] as const) {
    only('decompress')(
      `the decompress interceptor unzips a response for ${name}, which does not do so again`,
      async () => {
        await using site = await startProxiedSite();
        const dispatcher = dispatcherFor(site.proxy).compose(interceptors['decompress']?.());
        const response = await fetch(`${site.http}gzip`, { dispatcher });
        expect(`${response.status} ${await response.text()}`).toBe('200 zipped');
        expect(response.headers.get('content-encoding')).toBe(null);
        site.expectProxied('http');
      },
    );
  }

  only('deduplicate')('the deduplicate interceptor makes one request of two', async () => {
    await using site = await startProxiedSite();
    const dispatcher = dispatcherFor(site.proxy).compose(interceptors['deduplicate']?.());
    const answers = [1, 2].map(async () => {
      const { statusCode, body } = await request(site.http, { dispatcher });
      return `${statusCode} ${await body.text()}`;
    });
    expect(await Promise.all(answers)).toEqual(['200 hello', '200 hello']);
    expect(site.paths).toEqual(['/']);
    site.expectProxied('http');
  });

  test('several interceptors work together', async () => {
    await using site = await startProxiedSite();
    const dispatcher = dispatcherFor(site.proxy)
      .compose(interceptors['retry']?.({ minTimeout: 1 }))
      .compose(interceptors['redirect']?.({ maxRedirections: 2 }));
    const { statusCode, body } = await request(`${site.http}redirect`, { dispatcher });
    expect(`${statusCode} ${await body.text()}`).toBe('200 hello');
    expect(site.paths).toEqual(['/redirect', '/']);
  });

  test('the interceptors give the error of the tunnel to the request', async () => {
    await using site = await startProxiedSite();
    for (const name of ['redirect', 'dump', 'cache', 'decompress', 'deduplicate'].filter(
      (each) => interceptors[each],
    )) {
      const dispatcher = dispatcherFor(site.proxy).compose(interceptors[name]?.());
      await expect(request('http://unknown.test/', { dispatcher }), name).rejects.toMatchObject({
        code: 'ERR_SOCKS_HOST_UNREACHABLE',
      });
    }
  });

  test('a MockAgent mocks, and a SocksDispatcher beside it sends requests through the proxy', async () => {
    await using site = await startProxiedSite();
    const mock = mockAgent(undici);
    mock.get(site.http.slice(0, -1)).intercept({ path: '/' }).reply(200, 'mocked');
    undo.push(keepGlobals());
    undici.setGlobalDispatcher(mock);
    const dispatcher = dispatcherFor(site.proxy);
    expect(await (await request(site.http)).body.text()).toBe('mocked');
    expect(await (await request(site.http, { dispatcher })).body.text()).toBe('hello');
    site.expectProxied('http');
  });
});

describe.each(undicis)('with %s,', (_, undici) => {
  const { fetch, request } = undici;

  test('a MockAgent over socksConnector() lets requests pass through the proxy', async () => {
    await using site = await startProxiedSite();
    const mock = mockAgent(undici, { connect: socksConnector(site.proxy) });
    mock.get(site.http.slice(0, -1)).intercept({ path: '/mocked' }).reply(200, 'mocked');
    mock.enableNetConnect();
    expect(await (await request(`${site.http}mocked`, { dispatcher: mock })).body.text()).toBe('mocked');
    site.expectProxied();
    expect(await (await request(site.http, { dispatcher: mock })).body.text()).toBe('hello');
    site.expectProxied('http');
  });

  test('a SocksDispatcher can be made while a MockAgent is the global dispatcher', async () => {
    await using site = await startProxiedSite();
    undo.push(keepGlobals());
    undici.setGlobalDispatcher(mockAgent(undici));
    const dispatcher = new SocksDispatcher(site.proxy);
    undo.push(() => dispatcher.close());
    expect(await (await request(site.http, { dispatcher })).body.text()).toBe('hello');
    site.expectProxied('http');
  });

  const { SnapshotAgent, install } = undici;
  if (SnapshotAgent)
    test('a SnapshotAgent over socksConnector() records through the proxy, and plays back without it', async () => {
      await using site = await startProxiedSite();
      const folder = mkdtempSync(join(tmpdir(), 'socksify-snapshot-'));
      undo.push(() => rmSync(folder, { recursive: true }));
      const snapshotPath = join(folder, 'snapshot.json');
      for (const mode of ['record', 'playback']) {
        const connect = socksConnector(site.proxy);
        const agent = new SnapshotAgent({ mode, snapshotPath, connect });
        const { statusCode, body } = await request(site.http, { dispatcher: agent });
        expect(`${statusCode} ${await body.text()}`).toBe('200 hello');
        if (mode === 'record') await agent.saveSnapshots();
        await agent.close();
      }
      expect(site.paths).toEqual(['/']);
      site.expectProxied('http');
    });

  if (install)
    test('the fetch that install() makes global uses the global dispatcher', async () => {
      await using site = await startProxiedSite();
      undo.push(keepGlobals());
      install();
      expect(globalThis.fetch).toBe(fetch);
      const dispatcher = new SocksDispatcher(site.proxy, { connect: { ca } });
      undo.push(() => dispatcher.close(), setGlobalDispatcher(dispatcher));
      expect(await (await globalThis.fetch(new Request(`${site.http}to-https`))).text()).toBe('hello');
      site.expectProxied('http', 'https');
    });
});

function mockAgent(undici: Undici, options: object = {}): Mock {
  const mock = new undici.MockAgent(options);
  undo.push(() => mock.close());
  mock.disableNetConnect();
  return mock;
}

/** Gives back what a test puts into the places of the global dispatcher and of all that install() replaces. */
function keepGlobals(): () => void {
  const before = [...PLACES, ...INSTALLED].map(
    (key) => [key, Object.getOwnPropertyDescriptor(globalThis, key)] as const,
  );
  return () => {
    for (const [key, descriptor] of before) {
      if (descriptor) Object.defineProperty(globalThis, key, descriptor);
      else Reflect.deleteProperty(globalThis, key);
    }
  };
}

/** Before an undici from npm is imported: undici 8 replaces the global dispatcher of Node 22. */
function findNodeAgent(): AgentClass {
  Reflect.get(globalThis, 'Headers');
  for (const place of PLACES) {
    const dispatcher = Reflect.get(globalThis, place) as { constructor: AgentClass } | undefined;
    if (dispatcher) return dispatcher.constructor;
  }
  throw new Error('Node has set no global dispatcher');
}
