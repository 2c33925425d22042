// Pools of origins: a pool is closed when nothing is left in it, and is kept while it is in use.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { listen, outputOf } from '@socksify/support';
import { describe, expect, test } from 'vitest';
import { SocksDispatcher } from '../src/index.ts';
import { agents, undicis } from './combinations.ts';
import type { Undici } from './combinations.ts';
import { startForFile } from './file-servers.ts';
import { startSite } from './site.ts';
import { startProxy } from './recorded-proxy.ts';

const on = startForFile({ proxy: startProxy, site: () => startSite() });

const child = fileURLToPath(new URL('many-origins.js', import.meta.url));
const copies = [
  ["Node's own Agent", []],
  ...[...undicis.keys()].map((name) => [name, [import.meta.resolve(name.replace(' ', ''))]] as const),
] as const;

test.each(copies)(
  '2,000 origins leave no pool and no memory behind: %s',
  { timeout: 60_000 },
  async (_, undici) => {
    const args = ['--expose-gc', '--no-warnings', child, on.proxy.url, String(on.site.port), ...undici];
    const stdout = await outputOf(process.execPath, args);
    const { pools, grown } = JSON.parse(stdout) as { pools: number; grown: number };
    // The prototype of the class may count as one. When every pool was kept, the heap grew by 43 MB.
    expect(pools).toBeLessThanOrEqual(1);
    expect(grown).toBeLessThan(4 * 1024 * 1024);
  },
);

describe.each(agents)('a dispatcher on %s', (_name, Agent) => {
  test('loses no request of an origin whose pool is closed while it is used again', async () => {
    // Every connection ends with its response, so that the origin goes after every request but those just beginning.
    const closing = createServer((_, response) =>
      response.writeHead(200, { connection: 'close' }).end('bye'),
    );
    const port = await listen(closing);
    const dispatcher = new SocksDispatcher(on.proxy.url, { Agent });
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

  test('keeps the pool of an origin while there is a connection or a response', async () => {
    const dispatcher = new SocksDispatcher(on.proxy.url, { Agent });
    const before = on.proxy.accepted;
    const at = (path: string): object => ({
      origin: `http://stays.test:${on.site.port}`,
      path,
      method: 'GET',
    });
    const drip = await dispatcher.request(at('/drip'));
    for (let i = 0; i < 3; i++) {
      expect(await (await dispatcher.request(at('/'))).body.text()).toBe('hello');
      await nextTurn();
      await nextTurn();
    }
    for (const response of on.site.pending.splice(0)) response.end(' last');
    expect(await drip.body.text()).toBe('first last');
    expect(on.proxy.accepted - before).toBe(2);
    await dispatcher.close();
  });

  test('counts the origins in use for maxOrigins', async () => {
    const dispatcher = new SocksDispatcher(on.proxy.url, { Agent, maxOrigins: 1, keepAliveMaxTimeout: 5 });
    const get = async (name: string): Promise<string> => {
      const request = { origin: `http://${name}.test:${on.site.port}`, path: '/', method: 'GET' };
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

test('a dispatcher follows the redirects of undici 6 to another origin', async () => {
  await using other = await startSite();
  const from = createServer((_, response) =>
    response.writeHead(302, { location: `http://other.test:${other.port}/` }).end(),
  );
  const port = await listen(from);
  const { Agent, request } = undicis.get('undici 6') as Undici;
  const dispatcher = new SocksDispatcher(on.proxy.url, { Agent });
  const url = `http://from.test:${port}/`;
  expect(await (await request(url, { dispatcher, maxRedirections: 1 })).body.text()).toBe('hello');
  await dispatcher.close();
  from.close();
});
