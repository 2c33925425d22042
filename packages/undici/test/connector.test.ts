// socksConnector, for Agents, Pools and Clients that people build themselves.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { socksConnector } from '../src/index.ts';
import type { SocksConnectorOptions } from '../src/index.ts';
import { undicis } from './cells.ts';
import { cert, startOrigin } from './origin.ts';
import type { Origin } from './origin.ts';
import { startProxy } from './proxy.ts';
import type { TestProxy } from './proxy.ts';

let proxy: TestProxy;
let http: Origin;
let h2: Origin;

beforeAll(async () => {
  [proxy, http, h2] = await Promise.all([startProxy(), startOrigin(), startOrigin('h2')]);
});
afterAll(async () => {
  await Promise.all([proxy[Symbol.asyncDispose](), http[Symbol.asyncDispose](), h2[Symbol.asyncDispose]()]);
});

const failure = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'no failure',
    (error: unknown) => error,
  );

test('throws at once on a proxy that is not valid', () => {
  expect(() => socksConnector('ftp://127.0.0.1')).toThrow(
    expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }),
  );
});

describe.each([...undicis])('%s', (_, { Agent, Pool, Client, BalancedPool, request }) => {
  const page = async (dispatcher: unknown, origin: string): Promise<unknown[]> => {
    const { headers, body } = await request(`${origin}/`, { dispatcher });
    return [headers['x-version'], await body.text()];
  };

  test('http, through an Agent, a Pool, a BalancedPool and a Client', async () => {
    const connect = socksConnector(proxy.url);
    const origin = `http://any.test:${http.port}`;
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
  ])('https, with HTTP/%s', async (version, options) => {
    const connect = socksConnector(proxy.url, { tls: { ca: cert }, ...options });
    const agent = new Agent({ connect, allowH2: options.allowH2 ?? false });
    expect(await page(agent, `https://origin.test:${h2.port}`)).toEqual([version, 'hello']);
    await agent.close();
  });

  test('an IPv6 address goes out without brackets', async () => {
    await using refusing = await startProxy(5);
    const agent = new Agent({ connect: socksConnector(refusing.url) });
    await expect(request('http://[::1]/', { dispatcher: agent })).rejects.toMatchObject({
      code: 'ERR_SOCKS_CONNECTION_REFUSED',
    });
    expect(refusing.requests).toEqual(['::1:80']);
    await agent.close();
  });

  test('close() ends a handshake under way', async () => {
    await using hanging = await startProxy('hang');
    const connect = socksConnector(hanging.url);
    const agent = new Agent({ connect });
    const failed = failure(request('http://any.test/', { dispatcher: agent }));
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
])('the default port of %s', async (protocol, port) => {
  await using refusing = await startProxy(2);
  const connect = socksConnector(refusing.url);
  const error = await new Promise((resolve) => {
    connect({ hostname: 'any.test', host: 'any.test', protocol, port: '' }, (...result) =>
      resolve(result[0]),
    );
  });
  expect(error).toMatchObject({ code: 'ERR_SOCKS_NOT_ALLOWED', destination: `any.test${port}` });
});

test.each([undefined, 'text', null])('calls back with an Error when a selector throws %s', async (thrown) => {
  const connect = socksConnector(() => {
    throw thrown;
  });
  const error = await new Promise((resolve) => {
    connect({ hostname: 'any.test', protocol: 'http:', port: 80 }, (...result) => resolve(result[0]));
  });
  expect(error).toBeInstanceOf(Error);
});
