// socksConnector, for Agents, Pools and Clients that a program builds itself.

import type { Socket } from 'node:net';
import { startScript } from '@socksify/server';
import type { ScriptStep } from '@socksify/server';
import type { ConnectionOptions } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { CERTIFICATE, outputOf, rejection } from '@socksify/support';
import { describe, expect, test, vi } from 'vitest';
import { socksConnector, SocksDispatcher } from '../src/index.ts';
import type { SocksConnectorOptions } from '../src/index.ts';
import { agents, undicis } from './combinations.ts';
import { startForFile } from './file-servers.ts';
import { startSite } from './site.ts';
import { startHangingProxy, startProxy, startRefusingProxy } from './recorded-proxy.ts';

const child = fileURLToPath(new URL('late-parser.js', import.meta.url));

const on = startForFile({ proxy: startProxy, http: () => startSite(), h2: () => startSite('h2') });

test('socksConnector throws at once on a proxy that is not valid', () => {
  expect(() => socksConnector('ftp://127.0.0.1')).toThrow(
    expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }),
  );
});

describe.each([...undicis])('socksConnector with %s', (_, { Agent, Pool, Client, BalancedPool, request }) => {
  const page = async (dispatcher: unknown, origin: string): Promise<unknown[]> => {
    const { headers, body } = await request(`${origin}/`, { dispatcher });
    return [headers['x-version'], await body.text()];
  };

  test('carries http for an Agent, a Pool, a BalancedPool and a Client', async () => {
    const connect = socksConnector(on.proxy.url);
    const origin = `http://any.test:${on.http.port}`;
    const Own = Pool as unknown as new (origin: string, options: object) => InstanceType<typeof Agent>;
    const One = Client as unknown as typeof Own;
    const Balanced = BalancedPool as unknown as typeof Own;
    for (const dispatcher of [
      new Agent({ connect }),
      new Own(origin, { connect }),
      new Balanced(origin, { connect }),
      new One(origin, { connect }),
    ]) {
      expect(await page(dispatcher, origin)).toEqual(['1.1', 'hello']);
      await dispatcher.close();
    }
  });

  test.each<[string, SocksConnectorOptions]>([
    ['1.1', {}],
    ['2.0', { allowH2: true }],
  ])('carries https with HTTP/%s', async (version, options) => {
    const connect = socksConnector(on.proxy.url, { tls: { ca: CERTIFICATE }, ...options });
    const agent = new Agent({ connect, allowH2: options.allowH2 ?? false });
    expect(await page(agent, `https://origin.test:${on.h2.port}`)).toEqual([version, 'hello']);
    await agent.close();
  });

  test('keeps the TLS options that it was given, whatever is changed in them later', async () => {
    const options: ConnectionOptions = { ca: CERTIFICATE };
    const agent = new Agent({ connect: socksConnector(on.proxy.url, { tls: options }) });
    delete options.ca;
    expect(await page(agent, `https://origin.test:${on.h2.port}`)).toEqual(['1.1', 'hello']);
    await agent.close();
  });

  test('sends an IPv6 address without brackets', async () => {
    await using refusing = await startRefusingProxy();
    const agent = new Agent({ connect: socksConnector(refusing.url) });
    await expect(request('http://[::1]/', { dispatcher: agent })).rejects.toMatchObject({
      code: 'ERR_SOCKS_NOT_ALLOWED',
    });
    expect(refusing.requests).toEqual(['::1:80']);
    await agent.close();
  });

  test('ends a handshake in progress in close()', async () => {
    await using hanging = await startHangingProxy();
    const connect = socksConnector(hanging.url);
    const agent = new Agent({ connect });
    const failed = rejection(request('http://any.test/', { dispatcher: agent }));
    await hanging.reached(1);
    await connect.close();
    expect(await failed).toMatchObject({
      code: 'ERR_SOCKS_CLOSED',
    });
    await hanging.idle();
    await agent.close();
  });
});

test.each([
  ['http:', ':80'],
  ['https:', ':443'],
])('socksConnector requests the default port of %s', async (protocol, port) => {
  await using refusing = await startRefusingProxy();
  const connect = socksConnector(refusing.url);
  const error = await new Promise((resolve) => {
    connect({ hostname: 'any.test', host: 'any.test', protocol, port: '' }, (...result) =>
      resolve(result[0]),
    );
  });
  expect(error).toMatchObject({ code: 'ERR_SOCKS_NOT_ALLOWED', destination: `any.test${port}` });
});

test.each([undefined, 'text', null])(
  'socksConnector calls back with an Error when a selector throws %s',
  async (thrown) => {
    const connect = socksConnector(() => {
      throw thrown;
    });
    const error = await new Promise((resolve) => {
      connect({ hostname: 'any.test', protocol: 'http:', port: 80 }, (...result) => resolve(result[0]));
    });
    expect(error).toBeInstanceOf(Error);
  },
);

describe.each(agents)('a dispatcher on %s', (_, Agent) => {
  const hex = (text: string): string => Buffer.from(text).toString('hex');
  const GRANTED = '0500 0001 7f000001 0050';
  const answer = hex('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly');

  test.each<[string, string, ScriptStep]>([
    ['an answer', answer, { stall: true }],
    ['an answer, and the end', answer, { close: true }],
    ['the head of an answer, and then its body', answer.slice(0, -10), { send: answer.slice(-10) }],
  ])('reads bytes in the segment of the reply when they are %s', async (__, early, then) => {
    const { text, attempts } = await fetched([{ send: GRANTED + early }, then]);
    expect([text, attempts]).toEqual(['early', 1]);
  });

  test.each(['close', 'stall'] as const)(
    'fails in one attempt when the bytes in the segment of the reply are no answer, and a %s follows',
    async (then) => {
      const { text, attempts } = await fetched([
        { send: GRANTED + hex('220 ready\r\n') },
        { [then]: true } as never,
      ]);
      expect([text, attempts]).toEqual(['fetch failed', 1]);
    },
  );

  async function fetched(answers: readonly ScriptStep[]): Promise<{ text: string; attempts: number }> {
    const server = await startScript([{ read: 3 }, { send: '0500' }, { read: 10 }, ...answers]);
    const dispatcher = new SocksDispatcher(server.url('socks5'), { Agent });
    const text = await fetch('http://127.0.0.1/', { dispatcher })
      .then((response) => response.text())
      .catch((error: Error) => error.message);
    const attempts = server.connections.length;
    await dispatcher.destroy();
    await server.close();
    return { text, attempts };
  }
});

describe.each([
  ["Node's own undici", []],
  ...[...undicis.keys()].map((name) => [name, [import.meta.resolve(name.replace(' ', ''))]] as const),
] as const)('%s, whose parser is not compiled yet', (_name, undici) => {
  const kinds = undici.length > 0 ? ['dispatcher', 'connector'] : ['dispatcher'];

  test.each(kinds)('fails the request of a %s whose socket has closed meanwhile', async (kind) => {
    expect(await late(kind, 'end')).toBe('UND_ERR_SOCKET');
    expect(await late(kind, 'reset')).toMatch(/^(?:ECONNRESET|UND_ERR_SOCKET)$/);
  });

  test('leaves no socket of a dispatcher open that was destroyed meanwhile', async () => {
    expect(await late('dispatcher', 'destroy')).toBe('UND_ERR_DESTROYED');
  });

  async function late(kind: string, event: string): Promise<string> {
    const args = ['--no-warnings', child, kind, event, ...undici];
    return (await outputOf(process.execPath, args)).trim();
  }
});

describe.each([
  ['SocksDispatcher', (options: never, route: string) => new SocksDispatcher(route, options)],
  ['socksConnector', (options: never, route: string) => socksConnector(route, options)],
])('%s', (_, start) => {
  const make = (options: unknown, route = 'socks5://127.0.0.1'): unknown => start(options as never, route);

  test.each([null, 5, 'text'])('refuses %j in place of options', (options) => {
    expect(() => make(options)).toThrowError(
      expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }),
    );
  });

  test('the error of a bad proxy names the line of the caller first', () => {
    let stack: string | undefined;
    try {
      make({}, 'socks5://127.0.0.1:0');
    } catch (error) {
      ({ stack } = error as Error);
    }
    expect(stack).toMatch(/^SocksError: .*\n +at .*connector\.test\.ts/);
  });

  test('names connectTimeout when it is not valid', () => {
    expect(() => make({ connectTimeout: '10' })).toThrowError(/^connectTimeout is 0 to/);
  });
});

describe.each([...undicis])(
  'what drops the connector is refused with %s',
  (_, { Agent, Pool: PoolClass, request }) => {
    const Pool = PoolClass as new (origin: string, options?: object) => object;
    const Dropping: readonly (readonly [string, (options: any) => any])[] = [
      ['all options', () => ({})],
      ['connect', ({ connect: _connect, ...others }) => others],
      ['connect for its own', (options) => ({ ...options, connect: { timeout: 1000 } })],
    ];

    test.each(Dropping)('a subclass of Agent that drops %s', (__, change) => {
      class Other extends Agent {
        constructor(options: any) {
          super(change(options));
        }
      }
      expect(() => new SocksDispatcher('socks5://127.0.0.1:1', { Agent: Other })).toThrow(
        expect.objectContaining({
          code: 'ERR_INVALID_ARG_TYPE',
          message: expect.stringContaining('connect'),
        }),
      );
    });

    test('a factory that makes Pools without it: each request fails, and nothing is connected', async () => {
      const factory = (origin: string): object => new Pool(origin);
      const dispatcher = new SocksDispatcher(on.proxy.url, { Agent, factory });
      const connected = vi.fn<() => void>();
      on.http.server.on('connection', connected);
      const failed = await rejection(request(`http://localhost:${on.http.port}/`, { dispatcher }));
      expect(failed).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' });
      expect(failed.message).toContain('factory');
      expect(connected).not.toHaveBeenCalled();
      on.http.server.off('connection', connected);
      await dispatcher.close();
    });

    test.each<[string, (origin: string, options: any) => object]>([
      ['all its options', (origin, options) => new Pool(origin, options)],
      ['a copy of them', (origin, options) => new Pool(origin, { ...options, connections: 1 })],
      ['connect alone', (origin, { connect }) => new Pool(origin, { connect })],
    ])('but a factory that passes on %s is not', async (__, factory) => {
      const dispatcher = new SocksDispatcher(on.proxy.url, { Agent, factory });
      const { body } = await request(`http://localhost:${on.http.port}/`, { dispatcher });
      expect(await body.text()).toBe('hello');
      await dispatcher.close();
      expect(on.proxy.requests.pop()).toBe(`localhost:${on.http.port}`);
    });
  },
);

test.each(['EnvHttpProxyAgent', 'ProxyAgent', 'MockAgent'])(
  '%s of undici is refused as the Agent option',
  async (name) => {
    const { [name]: Agent } = (await import('undici7')) as unknown as Record<string, never>;
    expect(() => new SocksDispatcher('socks5://127.0.0.1', { Agent } as never)).toThrowError(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }),
    );
  },
);

test.each([
  ['that only dispatches', Object.assign(() => {}, { prototype: { dispatch: () => true } })],
  ['without methods', Object],
  ['that is no class', {}],
])('a value %s is no Agent to build on', (_, Agent) => {
  expect(() => new SocksDispatcher('socks5://127.0.0.1', { Agent } as never)).toThrowError(
    expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' }),
  );
});

/** What a connector gives for a destination of undici. */
const given = (connect: ReturnType<typeof socksConnector>, destination: object): Promise<unknown[]> =>
  new Promise((resolve) => {
    connect({ protocol: 'http:', hostname: 'any.test', port: '80', ...destination }, (...result) =>
      resolve(result),
    );
  });

test('a connector refuses an open connection of undici, because it opens its own', async () => {
  const [error] = await given(socksConnector(on.proxy.url), { httpSocket: {} });
  expect(error).toMatchObject({ message: expect.stringContaining('httpSocket') });
});

test('a connector dials the proxy from the local address that undici names', async () => {
  const [error, socket] = await given(socksConnector(on.proxy.url), {
    port: on.http.port,
    localAddress: '127.0.0.9',
  });
  expect([error, (socket as Socket).localAddress]).toEqual([null, '127.0.0.9']);
  (socket as Socket).destroy();
});
