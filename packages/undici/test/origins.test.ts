// Origins come and go: nothing stays of those that are gone, and none goes while it is in use.

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SocksDispatcher } from '../src/index.ts';
import { agents, undicis } from './cells.ts';
import type { Undici } from './cells.ts';
import { startOrigin } from './origin.ts';
import type { Origin } from './origin.ts';
import { startProxy } from './proxy.ts';
import type { TestProxy } from './proxy.ts';

let proxy: TestProxy;
let origin: Origin;

beforeAll(async () => {
  [proxy, origin] = await Promise.all([startProxy(), startOrigin()]);
});
afterAll(async () => {
  await Promise.all([proxy[Symbol.asyncDispose](), origin[Symbol.asyncDispose]()]);
});

const child = fileURLToPath(new URL('many-origins.js', import.meta.url));
const copies = [
  ["Node's own Agent", []],
  ...[...undicis.keys()].map((name) => [name, [import.meta.resolve(name.replace(' ', ''))]] as const),
] as const;

test.each(copies)(
  '2,000 origins leave no pool and no memory behind: %s',
  { timeout: 60_000 },
  async (_, undici) => {
    const args = ['--expose-gc', '--no-warnings', child, proxy.url, String(origin.port), ...undici];
    const { stdout } = await promisify(execFile)(process.execPath, args);
    const { pools, grown } = JSON.parse(stdout) as { pools: number; grown: number };
    // The prototype of the class may count as one. When every pool was kept, the heap grew by 43 MB.
    expect(pools).toBeLessThanOrEqual(1);
    expect(grown).toBeLessThan(4 * 1024 * 1024);
  },
);

describe.each(agents)('through %s', (_name, Agent) => {
  test('an origin that goes while it is used again loses no request', async () => {
    // Every connection ends with its response, so that the origin goes after every request but those just beginning.
    const closing = createServer((_, response) =>
      response.writeHead(200, { connection: 'close' }).end('bye'),
    );
    closing.listen(0, '127.0.0.1');
    await once(closing, 'listening');
    const { port } = closing.address() as AddressInfo;
    const dispatcher = new SocksDispatcher(proxy.url, { Agent });
    const get = async (): Promise<string> => {
      const request = { origin: `http://closing.test:${port}`, path: '/', method: 'GET' };
      return (await dispatcher.request(request)).body.text();
    };

    const pages: string[] = [];
    const loop = async (turns: number): Promise<void> => {
      for (let i = 0; i < 50; i++) {
        pages.push(await get());
        for (let turn = 0; turn < turns; turn++) await nextTurn();
      }
    };
    for (const turns of [0, 1, 2, 3]) await loop(turns);
    await Promise.all([loop(0), loop(1), loop(2)]);
    // In the very call that tells of the end.
    const again = new Promise<string>((resolve) => dispatcher.once('disconnect', () => resolve(get())));
    await get();
    expect(await again).toBe('bye');
    expect(pages).toEqual(Array.from({ length: 350 }, () => 'bye'));
    await dispatcher.close();
    closing.close();
  });

  test('an origin stays while a connection or a response does', async () => {
    const dispatcher = new SocksDispatcher(proxy.url, { Agent });
    const before = proxy.accepted;
    const at = (path: string): object => ({
      origin: `http://stays.test:${origin.port}`,
      path,
      method: 'GET',
    });
    const drip = await dispatcher.request(at('/drip'));
    for (let i = 0; i < 3; i++) {
      expect(await (await dispatcher.request(at('/'))).body.text()).toBe('hello');
      await nextTurn();
      await nextTurn();
    }
    for (const response of origin.pending.splice(0)) response.end(' last');
    expect(await drip.body.text()).toBe('first last');
    expect(proxy.accepted - before).toBe(2);
    await dispatcher.close();
  });

  test('maxOrigins counts the origins in use', async () => {
    const dispatcher = new SocksDispatcher(proxy.url, { Agent, maxOrigins: 1, keepAliveMaxTimeout: 5 });
    const get = async (name: string): Promise<string> => {
      const request = { origin: `http://${name}.test:${origin.port}`, path: '/', method: 'GET' };
      return (await dispatcher.request(request)).body.text();
    };
    const gone = once(dispatcher, 'disconnect');
    const first = get('one');
    await expect(get('two')).rejects.toMatchObject({ code: 'UND_ERR_MAX_ORIGINS_REACHED' });
    expect(await first).toBe('hello');
    await gone;
    await nextTurn();
    expect(await get('two')).toBe('hello');
    await dispatcher.close();
  });
});

test('follows the redirects of undici 6 to another origin', async () => {
  await using other = await startOrigin();
  const from = createServer((_, response) =>
    response.writeHead(302, { location: `http://other.test:${other.port}/` }).end(),
  );
  from.listen(0, '127.0.0.1');
  await once(from, 'listening');
  const { Agent, request } = undicis.get('undici 6') as Undici;
  const dispatcher = new SocksDispatcher(proxy.url, { Agent });
  const url = `http://from.test:${(from.address() as AddressInfo).port}/`;
  expect(await (await request(url, { dispatcher, maxRedirections: 1 })).body.text()).toBe('hello');
  await dispatcher.close();
  from.close();
});
