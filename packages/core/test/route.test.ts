// Routes: selectors that answer at once, later, never, or with an error, and the key that names a chain by its value.

import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { IN_ORDER, rejection, startEcho } from '@socksify/support';
import type { TcpDestination } from '@socksify/support';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { chainKey, connect, proxyGroup, SocksClient } from '../src/index.ts';
import type { ProxyChoice, ProxyGroup, ProxyRoute, ProxySelector, SocksProxy } from '../src/index.ts';
import { checkRoute, LazyContext, selectChain } from '../src/route.ts';
import { runCore } from './core-program.ts';

const HOST = 'echo.test';
let server: SocksServer;
let echo: TcpDestination;
let port: number;
beforeAll(async () => {
  server = await startServer({ names: { [HOST]: '127.0.0.1' } });
  echo = await startEcho();
  ({ port } = echo);
});
afterAll(async () => {
  await echo.close();
  await server.close();
});
const destination = () => ({ host: HOST, port });

describe('a selector that returns a promise', () => {
  test.each<[string, () => ProxyChoice]>([
    ['a URL', () => server.url('socks5')],
    ['a chain', () => [server.url('socks4a'), server.url('socks5')]],
  ])('is waited for when it resolves to %s', async (_, choice) => {
    const { socket } = await connect(async () => choice(), destination());
    socket.destroy();
    expect(server.log.at(-1)).toMatchObject({ host: HOST });
  });

  test('leads to a direct connection when it resolves to undefined', async () => {
    const before = server.log.length;
    const { socket } = await connect(async () => undefined, { host: '127.0.0.1', port });
    socket.destroy();
    expect(server.log.length).toBe(before);
  });

  test.each<[string, unknown]>([
    ['an error', new Error('no proxy today')],
    ['undefined', undefined],
    ['null', null],
    ['text', 'no proxy today'],
  ])('rejects the call with just the reason when it rejects with %s', async (_, reason) => {
    // oxlint-disable-next-line prefer-promise-reject-errors -- what a caller may do
    const route: ProxyRoute = () => Promise.reject(reason);
    const caught = await connect(route, destination()).then(
      () => 'a tunnel',
      (error: unknown) => [error],
    );
    expect(caught).toEqual([reason]);
  });

  test.each<[string, unknown]>([
    ['null', null],
    ['an empty chain', []],
    ['text that is no URL', 'proxy'],
    ['a function', () => 'socks5://a'],
  ])('rejects the call with ERR_SOCKS_INVALID_PROXY when it resolves to %s', async (_, value) => {
    await expect(connect(async () => value as ProxyChoice, destination())).rejects.toMatchObject({
      code: 'ERR_SOCKS_INVALID_PROXY',
    });
  });

  test('counts into the time limit', async () => {
    await expect(connect(() => new Promise(() => {}), destination(), { timeout: 20 })).rejects.toMatchObject({
      code: 'ERR_SOCKS_TIMEOUT',
      phase: 'input',
      destination: `${HOST}:${port}`,
    });
  });

  test('is not waited for after an abort', async () => {
    const abort = new AbortController();
    const attempt = connect(() => new Promise(() => {}), destination(), { signal: abort.signal });
    const reason = new Error('enough');
    abort.abort(reason);
    await expect(attempt).rejects.toBe(reason);
  });

  test('is not waited for after the client was closed', async () => {
    const client = new SocksClient(() => new Promise(() => {}));
    const [tunnel, choice] = [client.connect(destination()), client.select(destination())];
    await client.close();
    await expect(tunnel).rejects.toMatchObject({ code: 'ERR_SOCKS_CLOSED' });
    await expect(choice).rejects.toMatchObject({ code: 'ERR_SOCKS_CLOSED' });
  });

  test('may return a thenable of another library', async () => {
    const route = (() => ({
      // oxlint-disable-next-line unicorn/no-thenable -- that is the point
      then: (resolve: (url: string) => void) => resolve(server.url('socks5')),
    })) as never;
    const { socket } = await connect(route, destination());
    socket.destroy();
    expect(server.log.at(-1)).toMatchObject({ host: HOST });
  });
});

describe('the signal of a selector', () => {
  afterEach(() => vi.unstubAllGlobals());

  /** A selector that answers never, and the signals that it was given. */
  const silent = () => {
    const signals: AbortSignal[] = [];
    const route: ProxySelector = (_, { signal }) => {
      signals.push(signal);
      return new Promise(() => {});
    };
    return { route, signals };
  };
  const failed = (promise: unknown) => Promise.resolve(promise).catch((error: unknown) => error);

  test('aborts with the reason of the call, of connect() and of select()', async () => {
    const { route, signals } = silent();
    const abort = new AbortController();
    const { signal } = abort;
    const calls = [
      connect(route, destination(), { signal }),
      new SocksClient(route).select(destination(), { signal }),
    ];
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, false]);
    const reason = new Error('enough');
    abort.abort(reason);
    expect(await Promise.all(calls.map(failed))).toEqual([reason, reason]);
    expect(signals.map((each) => each.reason)).toEqual([reason, reason]);
  });

  test('aborts when the time limit ends the call, with its error', async () => {
    const { route, signals } = silent();
    const client = new SocksClient(route, { timeout: 20 });
    const errors = await Promise.all(
      [client.connect(destination()), client.select(destination())].map(failed),
    );
    expect(errors).toMatchObject([{ code: 'ERR_SOCKS_TIMEOUT' }, { code: 'ERR_SOCKS_TIMEOUT' }]);
    expect(signals.map(({ reason }) => reason)).toEqual(errors);
  });

  test('aborts when the client is closed', async () => {
    const { route, signals } = silent();
    const client = new SocksClient(route);
    const calls = [client.connect(destination()), client.select(destination())].map(failed);
    await client.close();
    expect(await Promise.all(calls)).toMatchObject(signals.map(({ reason }) => ({ code: reason.code })));
    expect(signals.map(({ reason }) => reason.code)).toEqual(['ERR_SOCKS_CLOSED', 'ERR_SOCKS_CLOSED']);
  });

  test('is aborted also when it is first read after the abort', async () => {
    const reason = new Error('enough');
    const abort = new AbortController();
    const read = new Promise<AbortSignal>((resolve) => {
      const route: ProxySelector = async (_, context) => {
        await new Promise((next) => abort.signal.addEventListener('abort', next));
        resolve(context.signal);
        return undefined;
      };
      connect(route, destination(), { signal: abort.signal }).catch(() => {});
    });
    abort.abort(reason);
    expect((await read).reason).toBe(reason);
  });

  test('ends what the selector waits for', async () => {
    const abort = new AbortController();
    const ended: unknown[] = [];
    const route: ProxySelector = async (_, { signal }) => {
      await new Promise((_resolve, reject) => signal.addEventListener('abort', reject)).catch(() =>
        ended.push(signal.reason),
      );
      return server.url('socks5');
    };
    const call = failed(connect(route, destination(), { signal: abort.signal }));
    abort.abort('enough');
    expect([await call, ended]).toEqual(['enough', ['enough']]);
  });

  test('does not abort when the selector has answered or rejected, whatever comes then', async () => {
    const signals: AbortSignal[] = [];
    const client = new SocksClient((_, { signal }) => {
      signals.push(signal);
      if (signals.length === 1) return 'socks5://127.0.0.1:1';
      return signals.length === 2
        ? Promise.resolve('socks5://127.0.0.1:1')
        : Promise.reject(new Error('no proxy today'));
    });
    for (let i = 0; i < 3; i++) await failed(client.connect(destination()));
    await client.close();
    expect(signals.map(({ aborted }) => aborted)).toEqual([false, false, false]);
  });

  test('is made when the selector reads it, once', async () => {
    let made = 0;
    vi.stubGlobal(
      'AbortController',
      class extends AbortController {
        constructor() {
          super();
          made++;
        }
      },
    );
    const client = new SocksClient((_, context) => ('signal' in context ? undefined : server.url('socks5')));
    expect(client.select(destination())).toBe('direct');
    (await client.connect({ host: '127.0.0.1', port })).socket.destroy();
    expect(made).toBe(0);
    const reader = new SocksClient((_, context) =>
      Object.is(context.signal, context.signal) ? undefined : server.url('socks5'),
    );
    expect(reader.select(destination())).toBe('direct');
    expect(made).toBe(1);
  });

  test('warns of no leak, however many calls share the signal of their caller', async () => {
    const warnings: Error[] = [];
    const onWarning = (warning: Error) => warnings.push(warning);
    process.on('warning', onWarning);
    const abort = new AbortController();
    const { route, signals } = silent();
    const calls = Array.from({ length: 30 }, () =>
      failed(connect(route, destination(), { signal: abort.signal })),
    );
    abort.abort();
    await Promise.all(calls);
    await new Promise(setImmediate);
    process.off('warning', onWarning);
    expect(signals.filter(({ aborted }) => aborted)).toHaveLength(30);
    expect(warnings).toEqual([]);
  });
});

test.each<[string, unknown]>([
  ['undefined', undefined],
  ['null', null],
  ['an error', new Error('no proxy today')],
])('a selector that throws %s rejects the call with just that', async (_, reason) => {
  const route: ProxyRoute = () => {
    throw reason;
  };
  const caught = await connect(route, destination()).then(
    () => 'a tunnel',
    (error: unknown) => [error],
  );
  expect(caught).toEqual([reason]);
});

describe('a group of another copy of this package', () => {
  // The tests use the source, and this is the built copy.
  const foreign = async () => {
    const built = await import('@socksify/core');
    return built.proxyGroup([server.url('socks5')]) as object as ProxyGroup;
  };

  test.each<[string, (group: ProxyGroup) => ProxyRoute]>([
    ['as the route', (group) => group],
    ['selected, as the route', (group) => group.select()],
    ['from a selector', (group) => () => group],
    ['selected, from a selector', (group) => () => group.select()],
    ['as a proxy of a chain', (group) => [group as never]],
  ])('is refused %s, and the error says what to do', async (_, make) => {
    const before = server.log.length;
    const group = await foreign();
    const caught = await rejection((async () => connect(make(group), destination()))());
    expect(caught).toMatchObject({
      code: 'ERR_SOCKS_INVALID_PROXY',
      detail: expect.stringMatching(/another copy of @socksify\/core.*install one/),
    });
    expect(server.log.length).toBe(before);
  });

  test('is told apart from a group of this copy, which is no proxy of a chain either', () => {
    const group = proxyGroup([server.url('socks5')]);
    expect(() => new SocksClient([group as never])).toThrowError(
      /a proxy is a URL or an object .*, not function/,
    );
  });
});

test('a selector that fails concerns its caller alone, and not the process', async () => {
  const source = `
    const reasons = [new Error('no proxy today'), undefined, null, 'no proxy today', 0];
    const never = new Promise(() => {});
    let tooLate = 0;
    let allRejected;
    const rejections = new Promise((resolve) => (allRejected = resolve));
    const later = () => new Promise((_, reject) => setTimeout(() => {
      reject(new Error('too late'));
      if (++tooLate === 4) allRejected();
    }, 20));
    const { connect, SocksClient } = core;
    const to = { host: '127.0.0.1', port: 9 };
    const rejection = (attempt) => attempt.then(() => { throw new Error('a tunnel'); }, (reason) => reason);
    for (const reason of reasons) {
      for (const select of [() => { throw reason; }, () => Promise.reject(reason), async () => { throw reason; }]) {
        if ((await rejection(connect(select, to))) !== reason) throw new Error('another reason');
        if ((await rejection(new SocksClient(select, { standby: 1 }).connect(to))) !== reason) throw new Error('another reason');
      }
    }
    for (const value of [5, null, {}, [], [Promise.resolve('socks5://h')], Symbol('x')]) {
      for (const select of [() => value, async () => value]) {
        if ((await rejection(connect(select, to))).code !== 'ERR_SOCKS_INVALID_PROXY') throw new Error(String(value));
      }
    }
    // Rejections that come when nobody waits any more.
    const controller = new AbortController();
    const client = new SocksClient(later);
    const attempts = [connect(later, to, { timeout: 5 }), connect(later, to, { signal: controller.signal }), client.connect(to), client.select(to)];
    const all = Promise.all(attempts.map(rejection));
    controller.abort();
    await client.close();
    await all;
    await rejections;
    await new Promise(setImmediate);
    void connect(() => never, to, { timeout: 5 }).catch(() => {});
  `;
  expect(await runCore(source)).toEqual(IN_ORDER);
});

test('select() returns no promise when the selector returns none', () => {
  const client = new SocksClient(() => 'socks5://proxy.test');
  expect(client.select({ host: 'h', port: 1 })).toMatchObject([{ host: 'proxy.test' }]);
});

test.each([{}, 'x', null, 5, { aborted: false }])(
  'select() refuses %j as a signal before the selector is called',
  (signal) => {
    const selector = vi.fn<ProxySelector>(async () => 'socks5://h');
    const client = new SocksClient(selector);
    expect(() => client.select({ host: 'a.test', port: 80 }, { signal } as never)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }),
    );
    expect(selector).not.toHaveBeenCalled();
  },
);

test('a text that a selector gives again is not parsed again, while it is one of the last hundred', () => {
  let text = 'socks5://alice:secret@proxy.test';
  const client = new SocksClient(() => text);
  const selected = (): unknown => {
    const [proxy] = client.select({ host: 'h', port: 1 }) as readonly unknown[];
    return proxy;
  };
  const first = selected();
  for (let account = 0; account < 99; account++) {
    text = `socks5://account-${account}@proxy.test`;
    selected();
  }
  text = 'socks5://alice:secret@proxy.test';
  expect(selected()).toBe(first);
  for (let account = 0; account < 100; account++) {
    text = `socks5://account-${account}@proxy.test`;
    selected();
  }
  text = 'socks5://alice:secret@proxy.test';
  expect(selected()).not.toBe(first);
  expect(selected()).toEqual(first);
});

test('a selector cannot change the destination, which has been checked', async () => {
  const route: ProxyRoute = (given) => {
    expect(Object.isFrozen(given)).toBe(true);
    Reflect.set(given, 'host', `${'x'.repeat(300)}\0`);
    return server.url('socks5');
  };
  (await connect(route, destination())).socket.destroy();
  expect(server.log.at(-1)).toMatchObject({ host: HOST });
});

test('a selector may answer while the global Promise is another class', async () => {
  const { Promise: own } = globalThis;
  const client = new SocksClient(async () => server.url('socks5'));
  globalThis.Promise = class extends own<unknown> {} as PromiseConstructor;
  try {
    (await client.connect(destination())).socket.destroy();
    expect(await client.select(destination())).toHaveLength(1);
  } finally {
    globalThis.Promise = own;
  }
});

test.each([1, 2])('a chain of %d with a hole is refused', (length) => {
  const chain = Object.assign(Array.from({ length }), ['socks5://a']);
  Reflect.deleteProperty(chain, 0);
  expect(() => checkRoute(chain as never)).toThrowError(
    expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }),
  );
});

describe('chainKey', () => {
  const keyOf = (choice: ProxyChoice) =>
    chainKey(selectChain(() => choice, destination(), new LazyContext()) as never);
  const v5: SocksProxy = { version: 5, host: 'a', port: 1080, dns: 'remote' };

  test.each<[string, ProxyChoice, ProxyChoice]>([
    ['a URL and the object it means', 'socks5://a', { ...v5 }],
    ['two chains of equal URLs', ['socks5://a', 'socks4a://b'], ['socks5://a', 'socks4a://b']],
    ['equal credentials', 'socks5://u:p@a', { ...v5, credentials: { username: 'u', password: 'p' } }],
    ['equal TLS options', { ...v5, tls: { ca: Buffer.from('x') } }, { ...v5, tls: { ca: Buffer.from('x') } }],
    [
      'TLS options in another order',
      { ...v5, tls: { ca: 'x', cert: 'y' } },
      { ...v5, tls: { cert: 'y', ca: 'x' } },
    ],
    ['direct and direct', undefined, undefined],
  ])('is equal for %s', (_, one, other) => expect(keyOf(one)).toBe(keyOf(other)));

  test.each<[string, ProxyChoice, ProxyChoice]>([
    ['a proxy and a direct connection', 'socks5://a', undefined],
    ['two versions', 'socks5://a', 'socks4a://a'],
    ['two ports', 'socks5://a', 'socks5://a:1081'],
    ['two passwords', 'socks5://u:p@a', 'socks5://u:q@a'],
    ['two user names', 'socks5://u:p@a', 'socks5://v:p@a'],
    ['an empty password and none', 'socks5://u@a', { ...v5, credentials: { username: 'u', password: '' } }],
    ['a chain and its first hop', ['socks5://a', 'socks5://b'], 'socks5://a'],
    ['a chain and its reverse', ['socks5://a', 'socks5://b'], ['socks5://b', 'socks5://a']],
    ['TLS and none', 'socks5s://a', 'socks5://a'],
    ['two certificates', { ...v5, tls: { ca: Buffer.from('x') } }, { ...v5, tls: { ca: Buffer.from('y') } }],
    ['text and bytes', { ...v5, tls: { ca: 'x' } }, { ...v5, tls: { ca: Buffer.from('x') } }],
    ['local and remote names', { ...v5, dns: 'local' }, { ...v5 }],
    ['a Unix socket and TCP', 'socks5://localhost/run/s', 'socks5://localhost'],
  ])('differs for %s', (_, one, other) => expect(keyOf(one)).not.toBe(keyOf(other)));

  test.each([null, 'socks5://a', ['socks5://a'], [{ version: 5, host: 'a' }], 5])(
    'refuses %j, which select() did not return',
    (chain) => {
      expect(() => chainKey(chain as never)).toThrowError(
        expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }),
      );
    },
  );

  test('shows no credential', () => {
    expect(keyOf('socks5://alice:hunter2@a')).not.toMatch(/alice|hunter2/);
  });
});
