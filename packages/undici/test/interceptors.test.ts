// The consumer gets a response as the interceptors changed it, whichever undici the consumer and the interceptors come
// from.

import { createServer } from 'node:http';
import type { Server } from 'node:http';
import { gzipSync } from 'node:zlib';
import { listen } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SocksDispatcher } from '../src/index.ts';
import type { Interceptor } from '../src/index.ts';
import { agents, consumers, undicis } from './combinations.ts';
import { startForFile } from './file-servers.ts';
import { startProxy } from './recorded-proxy.ts';

const on = startForFile({ proxy: startProxy });
let site: Server;
let url: string;

beforeAll(async () => {
  site = createServer((_, response) => {
    response.writeHead(200, {
      'content-encoding': 'gzip',
      'x-kept': Buffer.from('é').toString('latin1'),
      'set-cookie': ['a=1', 'b=2'],
      'x-changed': 'before',
    });
    response.end(gzipSync('zipped'));
  });
  url = `http://any.test:${await listen(site)}/`;
});
afterAll(() => {
  site.closeAllConnections();
  site.close();
});

type ResponseStart = (
  controller: unknown,
  status: number,
  headers: Record<string, any>,
  text?: string,
) => unknown;

/** As undici 7 has them: the parsed headers are changed, the raw ones left alone. */
const changing =
  (change: (headers: Record<string, any>) => Record<string, any>): Interceptor =>
  (dispatch) =>
  (options: unknown, handler: any) => {
    const onResponseStart: ResponseStart = (controller, status, headers, text) =>
      handler.onResponseStart(controller, status, change(headers), text);
    return dispatch(
      options,
      new Proxy(handler, {
        get: (of, key) => (key === 'onResponseStart' ? onResponseStart : of[key]?.bind?.(of)),
      }),
    );
  };

const withoutEncoding = (headers: Record<string, any>): Record<string, any> => ({
  ...Object.fromEntries(Object.entries(headers).filter(([name]) => name !== 'content-encoding')),
  'x-changed': 'after',
  'x-added': 'new',
});
const inPlace = (headers: Record<string, any>): Record<string, any> => {
  delete headers['content-encoding'];
  headers['x-changed'] = 'after';
  headers['x-added'] = 'new';
  return headers;
};

const rows = agents.flatMap(([agent, Agent]) =>
  consumers.map((consumer) => [consumer.name, agent, consumer, Agent] as const),
);

describe.each(rows)('%s with %s', (_, __, { send }, Agent) => {
  test.each([...undicis].filter(([, { interceptors }]) => interceptors?.decompress))(
    'gets the body that decompress() of %s unzipped',
    async (___, { interceptors }) => {
      const dispatcher = new SocksDispatcher(on.proxy.url, { Agent });
      const composed = dispatcher.compose(interceptors?.decompress() as Interceptor);
      const response = await send(url, { dispatcher: composed });
      expect([await response.text(), response.header('content-encoding')]).toEqual(['zipped', null]);
      await dispatcher.close();
    },
  );

  test.each([
    ['replaced', withoutEncoding],
    ['changed in place', inPlace],
  ])('sees headers that were %s, and the others as they came', async (___, change) => {
    const dispatcher = new SocksDispatcher(on.proxy.url, { Agent });
    const response = await send(url, { dispatcher: dispatcher.compose(changing(change)) });
    expect(await response.bytes()).toEqual(new Uint8Array(gzipSync('zipped')));
    expect(['content-encoding', 'x-changed', 'x-added'].map((name) => response.header(name))).toEqual([
      null,
      'after',
      'new',
    ]);
    expect(response.cookies).toEqual(['a=1', 'b=2']);
    await dispatcher.close();
  });
});

describe.each(agents)('a dispatcher on %s', (_, Agent) => {
  /** The bytes that a handler of the old generation is given. */
  const raw = (change: (headers: Record<string, any>) => Record<string, any>): Promise<Buffer[]> =>
    new Promise((resolve, reject) => {
      const dispatcher = new SocksDispatcher(on.proxy.url, { Agent });
      dispatcher.compose(changing(change)).dispatch(
        { origin: new URL(url).origin, path: '/', method: 'GET' },
        {
          onConnect() {},
          onHeaders(__, headers: Buffer[]) {
            resolve(headers);
            return true;
          },
          onData: () => true,
          onComplete() {},
          onError: reject,
        },
      );
    });
  const valueOf = (headers: Buffer[], name: string): string | undefined =>
    headers[
      headers.findIndex((part, i) => i % 2 === 0 && part.toString().toLowerCase() === name) + 1
    ]?.toString('hex');

  test('keeps the bytes and the order of headers that no interceptor changed', async () => {
    const [same, changed] = await Promise.all([raw((headers) => headers), raw(withoutEncoding)]);
    expect(same.filter((__, i) => i % 2 === 0).map((name) => name.toString().toLowerCase())).toEqual([
      'content-encoding',
      'x-kept',
      'set-cookie',
      'set-cookie',
      'x-changed',
      'date',
      'connection',
      'keep-alive',
      'transfer-encoding',
    ]);
    expect([valueOf(same, 'x-kept'), valueOf(changed, 'x-kept')]).toEqual(['c3a9', 'c3a9']);
  });
});
