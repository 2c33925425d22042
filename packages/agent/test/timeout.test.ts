// Timeouts and TLS options that are out of range or of the wrong type: what Node does with them, with nothing left open.

import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type { RequestOptions } from 'node:https';
import type { Socket } from 'node:net';
import { startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { startScript, startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SocksAgent } from '../src/index.ts';

const MAX = 2 ** 31 - 1;
let site: Site;
let proxy: SocksServer;
beforeAll(async () => {
  [site, proxy] = await Promise.all([startSite(), startServer({ names: { 'origin.test': '127.0.0.1' } })]);
});
afterAll(() => Promise.all([site.close(), proxy.close()]));

const LONG: Readonly<Record<string, (timeout: number) => [agent: object, request: RequestOptions]>> = {
  'the timeout of an agent': (timeout) => [{ timeout }, {}],
  'the timeout of a request': (timeout) => [{}, { timeout }],
};

describe.each([MAX, MAX + 1, 2 ** 32 + 1, Number.MAX_VALUE])('a timeout of %d milliseconds', (timeout) => {
  test.each(Object.entries(LONG))('fires neither in the handshake nor later as %s', async (_, make) => {
    const [ofAgent, ofRequest] = make(timeout);
    const agent = new SocksAgent(proxy.url('socks5'), ofAgent);
    const req = http.get({ host: 'origin.test', port: site.http, agent, ...ofRequest });
    req.on('timeout', () => req.destroy(new Error('timeout')));
    const [socket] = (await once(req, 'socket')) as [Socket];
    expect(socket.timeout).toBeGreaterThanOrEqual(MAX);
    req.on('response', (res) => res.resume());
    await once(req, 'close');
    agent.destroy();
  });

  test('fires neither in the handshake nor later when setTimeout() sets it', async () => {
    const agent = new SocksAgent(proxy.url('socks5'));
    const req = http.get({ host: 'origin.test', port: site.http, agent });
    req.setTimeout(timeout, () => req.destroy(new Error('timeout')));
    const [socket] = (await once(req, 'socket')) as [Socket];
    expect(socket.timeout).toBe(MAX);
    req.on('response', (res) => res.resume());
    await once(req, 'close');
    agent.destroy();
  });
});

const caught = (act: () => unknown): unknown => {
  try {
    act();
    return undefined;
  } catch (error) {
    const { name, code, message } = error as NodeJS.ErrnoException;
    return { name, code, message };
  }
};

describe.each(['5000', -1, Infinity, true, {}, 5n, '', null, NaN, 0, 0.5] as unknown[])(
  'a timeout of %o',
  (timeout) => {
    test.each<[string, object, object]>([
      ['of an agent', { timeout }, {}],
      ['of a request', {}, { timeout }],
    ])(
      'has the effect that it has with an agent of Node, before anything is dialled, as an option %s',
      async (_, of, request) => {
        const server = await startScript([]);
        const nodes = new http.Agent(of);
        const ours = new SocksAgent(server.url('socks5'), of);
        const send = (agent: http.Agent, end = true) =>
          caught(() => {
            const req = http.get({ host: '127.0.0.1', port: site.http, agent, ...request } as object);
            req.on('error', () => {});
            if (end) req.destroy();
          });
        const expected = send(nodes);
        expect(send(ours)).toEqual(expected);
        if (expected !== undefined) {
          expect(ours).toMatchObject({ totalSocketCount: 0, sockets: {} });
          // A connection of another request is the first that the server sees.
          const agent = new SocksAgent(server.url('socks5'));
          http.get({ host: '127.0.0.1', agent }).on('error', () => {});
          await server.connection();
          expect(server.connections).toHaveLength(1);
          agent.destroy();
        }
        nodes.destroy();
        ours.destroy();
        await server.close();
      },
    );

    test('has the effect that it has with an agent of Node when setTimeout() sets it', async () => {
      const server = await startScript([]);
      const nodes = new http.Agent();
      const ours = new SocksAgent(server.url('socks5'));
      const send = (agent: http.Agent) => {
        const req = http.get({ host: '127.0.0.1', port: site.http, agent }).on('error', () => {});
        const error = caught(() => req.setTimeout(timeout as number));
        req.destroy();
        return error;
      };
      expect(send(ours)).toEqual(send(nodes));
      nodes.destroy();
      ours.destroy();
      await server.close();
    });
  },
);

test('a bad timeout of a request that waited in the queue is its error alone', async () => {
  const agent = new SocksAgent(proxy.url('socks5'), { maxSockets: 1 });
  const get = () => http.get({ host: 'origin.test', port: site.http, agent });
  const first = get().on('error', () => {});
  const second = Object.assign(get(), { timeout: 'long' });
  const third = get();
  third.on('response', (res) => res.resume());
  first.destroy();
  const [error] = (await once(second, 'error')) as [NodeJS.ErrnoException];
  expect(error.code).toBe('ERR_INVALID_ARG_TYPE');
  await once(third, 'close');
  expect(agent.requests).toEqual({});
  agent.destroy();
});

test('a bad timeout is thrown before the selector is called', () => {
  const agent = new SocksAgent(
    () => {
      throw new Error('called');
    },
    { timeout: '5000' } as object,
  );
  expect(() => http.get({ host: 'origin.test', agent })).toThrow(
    expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }),
  );
});

const REFUSED: Readonly<Record<string, object>> = {
  'ciphers that do not exist': { ciphers: 'bogus' },
  'a minVersion that does not exist': { minVersion: 'x' },
  'a maxVersion that does not exist': { maxVersion: 'TLSv9' },
  'a cert that is none': { cert: 'none' },
  'a key that is none': { key: 'none' },
  'a pfx that is none': { pfx: Buffer.from('none') },
  'a ca of the wrong type': { ca: 5 },
  'a crl that is none': { crl: 'none' },
  'ALPNProtocols of the wrong type': { ALPNProtocols: [5] },
  'a secureContext that is none': { secureContext: {} },
  'a curve that does not exist': { ecdhCurve: 'bogus' },
  'sigalgs that do not exist': { sigalgs: 'bogus' },
  'a session of the wrong type': { session: 5 },
};

/** The error that a request ends with, thrown or emitted. */
async function failure(agent: http.Agent, options: object): Promise<unknown> {
  try {
    const req = https.get({ host: '127.0.0.1', port: site.https, agent, ...options });
    const [error] = (await once(req, 'error')) as [NodeJS.ErrnoException];
    return { name: error.name, code: error.code };
  } catch (error) {
    return { name: (error as Error).name, code: (error as NodeJS.ErrnoException).code };
  }
}

describe.each(Object.entries(REFUSED))('an option with %s', (_, options) => {
  test.each([
    ['of an agent', options, {}],
    ['of a request', {}, options],
  ])('%s gives the request the error of https.Agent, and leaves nothing open', async (__, of, request) => {
    const nodes = new https.Agent(of);
    const ours = new SocksAgent(proxy.url('socks5'), of);
    expect(await failure(ours, request)).toEqual(await failure(nodes, request));
    await proxy.idle();
    expect(ours).toMatchObject({ totalSocketCount: 0, sockets: {} });
    nodes.destroy();
    ours.destroy();
  });
});

// https.Agent itself leaves a socket open then.
test('a servername of the wrong type is an error of the request, and nothing stays open', async () => {
  const agent = new SocksAgent(proxy.url('socks5'));
  expect(await failure(agent, { servername: 1 })).toEqual({
    name: 'TypeError',
    code: 'ERR_INVALID_ARG_TYPE',
  });
  await proxy.idle();
  expect(agent).toMatchObject({ totalSocketCount: 0, sockets: {} });
  agent.destroy();
});
