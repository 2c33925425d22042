// SocksAgent where Node or other packages make an agent or read one: `agent: false`, `defaultPort`, and options that
// are copied from another agent.

import { once } from 'node:events';
import http from 'node:http';
import type { ClientRequest, IncomingMessage } from 'node:http';
import https from 'node:https';
import type { TLSSocket } from 'node:tls';
import { inspect } from 'node:util';
import { CERTIFICATE, startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SocksAgent } from '../src/index.ts';
import type { SocksAgentOptions } from '../src/index.ts';

const names = { 'origin.test': '127.0.0.1' };
let site: Site;
let proxy: SocksServer;
let other: SocksServer;
beforeAll(async () => {
  [site, proxy, other] = await Promise.all([startSite(), startServer({ names }), startServer({ names })]);
});
afterAll(() => Promise.all([site.close(), proxy.close(), other.close()]));

async function answered(req: ClientRequest): Promise<string | undefined> {
  const [response] = (await once(req, 'response')) as [IncomingMessage];
  response.resume();
  await once(req, 'close');
  return response.headers['x-host'] as string | undefined;
}

/** Runs with this agent as the global one. */
async function asGlobal<T>(
  module: { globalAgent: unknown },
  agent: SocksAgent,
  act: () => Promise<T>,
): Promise<T> {
  const before = module.globalAgent;
  module.globalAgent = agent;
  try {
    return await act();
  } finally {
    module.globalAgent = before;
    agent.destroy();
  }
}

describe.each([
  ['http', http],
  ['https', https],
] as const)('a request with agent: false under a SocksAgent as %s.globalAgent', (protocol, module) => {
  const options = (): https.RequestOptions => ({ host: 'origin.test', port: site[protocol], agent: false });
  const make = (server: SocksServer, more: SocksAgentOptions = {}): SocksAgent =>
    new SocksAgent(server.url('socks5'), { protocol: `${protocol}:`, ca: CERTIFICATE, ...more });

  test('is sent through the same proxy, on a connection of its own', async () => {
    const before = proxy.log.length;
    await asGlobal(module, make(proxy, { keepAlive: true, maxSockets: 1 }), async () => {
      await answered(module.get(options()));
      const req = module.get(options());
      expect(req.shouldKeepAlive).toBe(false);
      expect((req as unknown as { agent: object }).agent).toBeInstanceOf(SocksAgent);
      await answered(req);
    });
    expect(proxy.log.length).toBe(before + 2);
  });

  test('is sent through the proxy of the agent that is global now, when there are several agents', async () => {
    const counts = (): number[] => [proxy.log.length, other.log.length];
    const before = counts();
    const first = make(proxy);
    await asGlobal(module, make(other), async () => {
      await asGlobal(module, first, () => answered(module.get(options())));
      expect(counts()).toEqual([(before[0] ?? 0) + 1, before[1]]);
      await answered(module.get(options()));
    });
    expect(counts()).toEqual([(before[0] ?? 0) + 1, (before[1] ?? 0) + 1]);
  });

  test('calls the selector of that agent', async () => {
    const calls: unknown[] = [];
    const agent = new SocksAgent(
      (destination) => {
        calls.push(destination);
        return Promise.resolve(proxy.url('socks5'));
      },
      { protocol: `${protocol}:`, ca: CERTIFICATE },
    );
    await asGlobal(module, agent, () => answered(module.get(options())));
    expect(calls).toEqual([{ host: 'origin.test', port: site[protocol], protocol: `${protocol}:` }]);
  });
});

test('the constructor of an agent is not enumerable, and differs from its class only in new without arguments', () => {
  class Special extends SocksAgent {}
  const agent = new Special('socks5://user:hunter2@127.0.0.1:1', { timeout: 5 });
  expect(Object.keys(agent)).not.toContain('constructor');
  expect(agent.constructor.name).toBe('Special');
  const Bound = agent.constructor as new (...options: unknown[]) => SocksAgent;
  const made = new Bound();
  expect(made).toBeInstanceOf(Special);
  expect(made.options).not.toHaveProperty('timeout');
  expect(new (made.constructor as typeof Bound)()).toBeInstanceOf(Special);
  expect(new Bound('socks4://127.0.0.1:1', { timeout: 7 }).options).toHaveProperty('timeout', 7);
  expect(() => new Bound('http://127.0.0.1:1')).toThrow(
    expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }),
  );
  expect(inspect(agent, { depth: 9, showHidden: true })).not.toContain('hunter2');
});

test('a request with agent: false uses the route of a global agent whose constructor takes other arguments', async () => {
  class Named extends SocksAgent {
    constructor(port: number) {
      super(`socks5://127.0.0.1:${port}`);
    }
  }
  const before = proxy.log.length;
  await asGlobal(http, new Named(proxy.port), () =>
    answered(http.get({ host: 'origin.test', port: site.http, agent: false })),
  );
  expect(proxy.log).toHaveLength(before + 1);
});

test('the error of a bad proxy names the line of the caller first', () => {
  const make = (): SocksAgent => new SocksAgent('socks5://127.0.0.1:0');
  let stack: string | undefined;
  try {
    make();
  } catch (error) {
    ({ stack } = error as Error);
  }
  expect(stack).toMatch(/^SocksError: .*\n +at make .*global\.test\.ts/);
});

describe('defaultPort', () => {
  test('is a number that leaves the port to the protocol in code that builds URLs', () => {
    const agent = new SocksAgent('socks5://127.0.0.1:1');
    expect(agent.defaultPort).toBe(0);
    const url = (protocol: string): string =>
      new URL(`${protocol}//origin.test${agent.defaultPort ? `:${agent.defaultPort}` : ''}/`).href;
    for (const protocol of ['https:', 'http:']) {
      expect(url(protocol)).toBe(`${protocol}//origin.test/`);
      // A request between the two reads must not change the result.
      const module = protocol === 'https:' ? https : http;
      module.get(`${protocol}//origin.test/`, { agent }).on('error', () => {});
      module.get(`${protocol}//origin.test/`, { agent, defaultPort: 81 }).on('error', () => {});
    }
    expect(agent.defaultPort).toBe(0);
    expect(new SocksAgent('socks5://127.0.0.1:1', { protocol: 'https:' }).defaultPort).toBe(443);
    expect(new SocksAgent('socks5://127.0.0.1:1', { protocol: 'http:' }).defaultPort).toBe(80);
    agent.destroy();
  });

  test('can be assigned, as on an agent of Node', () => {
    const agent = new SocksAgent('socks5://127.0.0.1:1');
    agent.defaultPort = 8080;
    agent.protocol = 'https:';
    expect([agent.defaultPort, agent.protocol]).toEqual([8080, 'https:']);
  });
});

describe('the options of an agent', () => {
  test('can be those of another agent, proxyEnv included, which is dropped', async () => {
    const env = { http_proxy: 'http://user:word@127.0.0.1:1', https_proxy: 'http://127.0.0.1:1' };
    for (const proxyEnv of [undefined, env]) {
      const agent = new SocksAgent(proxy.url('socks5'), {
        ...https.globalAgent.options,
        protocol: undefined,
        defaultPort: undefined,
        proxyEnv,
      } as SocksAgentOptions);
      const req = http.get({ host: 'origin.test', port: site.http, agent });
      expect(await answered(req)).toBe(`origin.test:${site.http}`);
      expect(req.path).toBe('/');
      expect(req.getHeader('proxy-authorization')).toBeUndefined();
      agent.destroy();
    }
  });

  test('were not given when they are undefined', async () => {
    const options = { host: undefined, ca: undefined, timeout: undefined, connectTimeout: undefined };
    const agent = new SocksAgent(proxy.url('socks5'), { ...options, maxCachedSessions: undefined });
    const req = https.get({
      host: 'origin.test',
      port: site.https,
      agent,
      ca: CERTIFICATE,
      checkServerIdentity: undefined,
    } as object);
    expect(await answered(req)).toBe(`origin.test:${site.https}`);
    agent.destroy();
  });

  test('name connectTimeout in the error for a bad one', () => {
    expect(() => new SocksAgent('socks5://127.0.0.1:1', { connectTimeout: -1 })).toThrow(
      /^connectTimeout is 0 to 2147483647 milliseconds, not -1$/,
    );
  });

  test.each([null, '', undefined])('were given without socketPath when it is %s', async (socketPath) => {
    for (const [ofAgent, ofRequest] of [
      [{ socketPath }, {}],
      [{}, { socketPath }],
    ]) {
      const agent = new SocksAgent(proxy.url('socks5'), ofAgent as object);
      const req = http.get({ host: 'origin.test', port: site.http, agent, ...ofRequest } as object);
      expect(await answered(req)).toBe(`origin.test:${site.http}`);
      agent.destroy();
    }
  });
});

describe('addRequest', () => {
  test('takes host, port and localAddress as separate arguments, as Node does', async () => {
    const agent = new SocksAgent(proxy.url('socks5'));
    const req = new http.ClientRequest({
      host: 'origin.test',
      port: site.http,
      agent: { addRequest: () => {}, defaultPort: 80, protocol: 'http:' } as unknown as http.Agent,
    });
    agent.addRequest(req, 'origin.test', site.http, '127.0.0.1');
    req.end();
    await answered(req);
    expect(proxy.log.at(-1)).toMatchObject({ host: 'origin.test', port: site.http });
    agent.destroy();
  });
});

test.each([null, 5, 'text'])('an agent refuses %j in place of its options', (options) => {
  expect(() => new SocksAgent('socks5://127.0.0.1', options as never)).toThrowError(
    expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }),
  );
});

test('an agent for both protocols as https.globalAgent speaks TLS', async () => {
  const fresh = await startSite();
  const server = await startServer({ names: { 'origin.test': '127.0.0.1' } });
  const { globalAgent } = https;
  https.globalAgent = new SocksAgent(server.url('socks5'), { ca: CERTIFICATE });
  try {
    const [response] = (await once(https.get({ host: 'origin.test', port: fresh.https }), 'response')) as [
      IncomingMessage,
    ];
    response.resume();
    expect((response.socket as TLSSocket).authorized).toBe(true);
    const plain = https.get({ host: 'origin.test', port: fresh.http, headers: { authorization: 'secret' } });
    await expect(once(plain, 'response')).rejects.toMatchObject({ code: /SSL|EPROTO/ });
  } finally {
    https.globalAgent.destroy();
    https.globalAgent = globalAgent;
    await server.close();
    await fresh.close();
  }
});

test('a selector may send a request over the same agent, and stop waiting for it', async () => {
  const fresh = await startSite();
  const server = await startServer({ names: { 'origin.test': '127.0.0.1' } });
  let calls = 0;
  const agent = new SocksAgent(async () => {
    calls++;
    if (calls === 1) {
      const inner = http.get(`http://origin.test:${fresh.http}/inner`, { agent });
      inner.on('error', () => {}).destroy();
    }
    return server.url('socks5');
  });
  try {
    const [response] = (await once(http.get(`http://origin.test:${fresh.http}/`, { agent }), 'response')) as [
      IncomingMessage,
    ];
    response.resume();
    expect(response.statusCode).toBe(200);
  } finally {
    agent.destroy();
    await server.close();
    await fresh.close();
  }
});

test('createConnection() refuses a socketPath as a request does', () => {
  const agent = new SocksAgent('socks5://127.0.0.1:1');
  expect(() => agent.createConnection({ socketPath: '/run/s' })).toThrowError(
    expect.objectContaining({ code: 'ERR_SOCKS_INVALID_DESTINATION' }),
  );
});
