// A consumer that throws in a callback gets the same callbacks as from the Agent of undici, which gets the same
// requests.

import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { listen } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SocksDispatcher } from '../src/index.ts';
import type { AgentLike } from '../src/index.ts';
import { checkAgent } from '../src/base-agent.ts';
import { agents, undicis } from './combinations.ts';
import { startForFile } from './file-servers.ts';
import { startProxy } from './recorded-proxy.ts';

const on = startForFile({ proxy: startProxy });
let site: Server;
let origin: string;

beforeAll(async () => {
  site = createServer((request, response) => {
    request.resume();
    request.on('end', () => response.writeHead(200, { trailer: 'x-end' }).end('hello'));
  });
  // undici destroys the socket when the consumer throws here.
  site.on('upgrade', (_, socket) => {
    socket.on('error', () => {});
    socket.end('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n');
  });
  origin = `http://127.0.0.1:${await listen(site)}`;
});
afterAll(() => {
  site.closeAllConnections();
  site.close();
});

const LEGACY = ['onConnect', 'onHeaders', 'onData', 'onComplete', 'onUpgrade', 'onBodySent', 'onRequestSent'];
const MODERN = [
  'onRequestStart',
  'onResponseStart',
  'onResponseData',
  'onResponseEnd',
  'onRequestUpgrade',
  'onBodySent',
  'onRequestSent',
];
const ENDS: ReadonlySet<string> = new Set([
  'onComplete',
  'onResponseEnd',
  'onError',
  'onResponseError',
  'onUpgrade',
  'onRequestUpgrade',
]);

/** The names of the callbacks and the error of the last one, when `thrower` throws. */
async function callbacks(
  dispatcher: AgentLike,
  names: readonly string[],
  thrower: string,
): Promise<unknown[]> {
  const seen: unknown[] = [];
  const ended = new Promise<void>((resolve) => {
    const end = (name: string): void => {
      // A request that ends because a callback threw gets an error callback.
      if (ENDS.has(name) && name !== thrower) resolve();
    };
    const handler: Record<string, (...args: any[]) => unknown> = {};
    for (const name of names) {
      handler[name] = () => {
        seen.push(name);
        if (name === thrower) throw new RangeError(`thrown in ${name}`);
        end(name);
        return true;
      };
    }
    for (const name of names.includes('onConnect') ? ['onError'] : ['onResponseError']) {
      handler[name] = (...args) => {
        seen.push(name, (args.at(-1) as Error).message);
        end(name);
      };
    }
    const upgrade = /upgrade/i.test(thrower);
    dispatcher.dispatch(
      upgrade
        ? { origin, path: '/', method: 'GET', upgrade: 'echo' }
        : { origin, path: '/', method: 'POST', body: 'body' },
      handler,
    );
  });
  await ended;
  return seen;
}

describe.each(agents)('a dispatcher on %s', (_, Agent) => {
  const names = checkAgent(Agent, {}) === 'modern' ? MODERN : LEGACY;

  test.each(names)('passes what the consumer throws in %s to its error callback', async (thrower) => {
    const dispatcher = new SocksDispatcher(on.proxy.url, { Agent });
    const seen = await callbacks(dispatcher, names, thrower);
    expect(seen).toContain(`thrown in ${thrower}`);
    await dispatcher.destroy();
    // After an upgrade, some releases of undici call no error callback.
    if (/upgrade/i.test(thrower)) return;
    const own = new Agent();
    expect(seen).toEqual(await callbacks(own, names, thrower));
    await own.destroy();
  });

  test.each([LEGACY, MODERN].flat().filter((name) => !names.includes(name)))(
    'passes what a consumer of the other generation throws in %s to its error callback',
    async (thrower) => {
      const dispatcher = new SocksDispatcher(on.proxy.url, { Agent });
      const others = names === MODERN ? LEGACY : MODERN;
      expect((await callbacks(dispatcher, others, thrower)).at(-1)).toBe(`thrown in ${thrower}`);
      await dispatcher.destroy();
    },
  );

  test('ignores an abort in the last callback', async () => {
    const dispatcher = new SocksDispatcher(on.proxy.url, { Agent });
    const seen: string[] = [];
    await new Promise<void>((resolve) => {
      dispatcher.dispatch(
        { origin, path: '/', method: 'GET' },
        {
          onRequestStart() {},
          onResponseStart() {},
          onResponseData() {},
          onResponseEnd(controller) {
            seen.push('end');
            controller.abort(new Error('too late'));
            resolve();
          },
          onResponseError: () => seen.push('error'),
        },
      );
    });
    await dispatcher.close();
    expect(seen).toEqual(['end']);
  });
});

const retrying = [...undicis].filter(([name]) => name === 'undici 7' || name === 'undici 8');

describe.each(retrying)('the retries of %s', (_, copy) => {
  const RetryAgent = copy.RetryAgent as NonNullable<typeof copy.RetryAgent>;
  const interceptors = copy.interceptors as NonNullable<typeof copy.interceptors>;
  const options = { minTimeout: 1, maxTimeout: 1 };

  test.each(
    agents.flatMap(([name, Agent]) =>
      [429, 500, 502, 503, 504].map((status) => [status, name, Agent] as const),
    ),
  )('give the last response to the consumer after a %s, with %s', async (status, _name, Agent) => {
    let requests = 0;
    const failing = createServer((__, response) => {
      response.writeHead(requests++ % 2 === 0 ? status : 200).end('a page');
    });
    const url = `http://127.0.0.1:${await listen(failing)}/`;
    const dispatcher = new SocksDispatcher(on.proxy.url, { Agent });
    for (const retries of [
      new RetryAgent(dispatcher, options),
      dispatcher.compose(interceptors.retry(options)),
    ]) {
      const { statusCode, body } = await copy.request(url, { dispatcher: retries });
      expect([statusCode, await body.text()]).toEqual([200, 'a page']);
      const response = await copy.fetch(url, { dispatcher: retries });
      expect([response.status, await response.text()]).toEqual([200, 'a page']);
    }
    expect(requests).toBe(8);
    await dispatcher.destroy();
    failing.closeAllConnections();
    failing.close();
  });
});
