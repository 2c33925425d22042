// TLS to the destination: what ALPN offers, and when a session is resumed.

import { once } from 'node:events';
import tls, { createServer } from 'node:tls';
import type { Server, TLSSocket } from 'node:tls';
import type { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { CERTIFICATE, listen, outputOf, stopListening, TLS } from '@socksify/support';
import { describe, expect, test, vi } from 'vitest';
import { checkAgent } from '../src/base-agent.ts';
import { socksConnector, SocksDispatcher } from '../src/index.ts';
import type { SocksConnectorOptions, SocksDispatcherOptions } from '../src/index.ts';
import { agents, nodeMajor, undicis } from './combinations.ts';
import { startForFile } from './file-servers.ts';
import { startProxy } from './recorded-proxy.ts';

const on = startForFile({ proxy: startProxy });

interface Site extends AsyncDisposable {
  readonly server: Server;
  readonly port: number;
  /** The protocols that each client offered, in its order. */
  readonly offers: string[][];
  readonly reused: boolean[];
  readonly sockets: TLSSocket[];
  /** Below those of TLS. */
  readonly raw: Socket[];
}

/** Speaks HTTP/1.1 whatever it is offered. */
async function startSite(version: 'TLSv1.2' | 'TLSv1.3' = 'TLSv1.3'): Promise<Site> {
  const offers: string[][] = [];
  const sockets: TLSSocket[] = [];
  const reused: boolean[] = [];
  const raw: Socket[] = [];
  const server = createServer(
    {
      key: TLS.key,
      cert: TLS.cert,
      minVersion: version,
      maxVersion: version,
      ALPNCallback: ({ protocols }) => {
        offers.push(protocols);
        return 'http/1.1';
      },
    },
    (socket) => {
      reused.push(socket.isSessionReused());
      sockets.push(socket);
      socket.on('error', () => {});
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'));
    },
  );
  server.on('connection', (socket: Socket) => raw.push(socket.on('error', () => {})));
  server.on('tlsClientError', () => {});
  const port = await listen(server);
  return {
    server,
    offers,
    reused,
    sockets,
    raw,
    port,
    [Symbol.asyncDispose]: () => stopListening(server, sockets),
  };
}

const BOTH = ['http/1.1', 'h2'];

describe.each(agents)('a dispatcher on %s', (_, Agent) => {
  const page = async (dispatcher: SocksDispatcher, site: Site): Promise<string> => {
    const request = { origin: `https://origin.test:${site.port}`, path: '/', method: 'GET' };
    return (await dispatcher.request(request)).body.text();
  };
  const byDefault = checkAgent(Agent, {}) === 'modern' ? BOTH : ['http/1.1'];

  test.each<[string, SocksDispatcherOptions, string[]]>([
    ['by default', {}, byDefault],
    ['with allowH2', { allowH2: true }, BOTH],
    ['without allowH2', { allowH2: false }, ['http/1.1']],
    ['with connect: { allowH2 }', { connect: { allowH2: true } }, BOTH],
    ['with preferH2', { allowH2: true, connect: { preferH2: true } }, BOTH.toReversed()],
    [
      'with preferH2 alone, where HTTP/2 is off',
      { allowH2: false, connect: { preferH2: true } },
      ['http/1.1'],
    ],
  ])('offers what the Agent offers %s', async (__, { connect, ...options }, offer) => {
    await using site = await startSite();
    const dispatcher = new SocksDispatcher(on.proxy.url, {
      Agent,
      ...options,
      connect: { ca: CERTIFICATE, ...connect },
    });
    expect(await page(dispatcher, site)).toBe('hello');
    expect(site.offers).toEqual([offer]);
    await dispatcher.close();
  });

  test('makes one SecureContext for all connections with its certificates', async () => {
    await using site = await startSite();
    await using other = await startSite();
    const dispatcher = new SocksDispatcher(on.proxy.url, { Agent, connect: { ca: CERTIFICATE } });
    const made = vi.spyOn(tls, 'createSecureContext');
    for (const each of [site, other]) expect(await page(dispatcher, each)).toBe('hello');
    expect(made).toHaveBeenCalledOnce();
    made.mockRestore();
    await dispatcher.close();
  });

  describe.each(['TLSv1.2', 'TLSv1.3'] as const)('a session of %s', (version) => {
    test.each<[string, (site: Site) => unknown]>([
      ['ends', ({ sockets }) => sockets.at(-1)?.end()],
      ['resets', ({ raw }) => raw.at(-1)?.resetAndDestroy()],
      ['destroys', ({ sockets }) => sockets.at(-1)?.destroy()],
    ])('is resumed when the server %s an idle connection', async (__, close) => {
      await using site = await startSite(version);
      const dispatcher = new SocksDispatcher(on.proxy.url, { Agent, connect: { ca: CERTIFICATE } });
      for (let i = 0; i < 4; i++) {
        expect(await page(dispatcher, site)).toBe('hello');
        await nextTurn();
        const disconnected = once(dispatcher, 'disconnect');
        close(site);
        await disconnected;
      }
      expect(site.reused).toEqual([false, true, true, true]);
      await dispatcher.close();
    });

    test('is dropped when a handshake with it fails', async () => {
      await using site = await startSite(version);
      const dispatcher = new SocksDispatcher(on.proxy.url, { Agent, connect: { ca: CERTIFICATE } });
      const broken: boolean[] = [false, true, false];
      for (const breaks of broken) {
        if (breaks) site.server.prependOnceListener('connection', (socket) => socket.destroy());
        const text = await page(dispatcher, site).catch((error: NodeJS.ErrnoException) => error.code);
        expect(text).toBe(breaks ? 'ECONNRESET' : 'hello');
        if (breaks) {
          await on.proxy.idle();
          await nextTurn();
          continue;
        }
        const disconnected = once(dispatcher, 'disconnect');
        site.sockets.at(-1)?.end();
        await disconnected;
      }
      expect(site.reused).toEqual([false, false]);
      await dispatcher.close();
    });
  });
});

test.each([...undicis.keys()])(
  'a dispatcher offers what the fetch of Node offers, though %s was loaded first',
  async (name) => {
    await using site = await startSite();
    const code = `await import('${import.meta.resolve(name.replace(' ', ''))}');
    const { SocksDispatcher } = await import('${new URL('../dist/index.js', import.meta.url).href}');
    const dispatcher = new SocksDispatcher('${on.proxy.url}', { connect: { rejectUnauthorized: false } });
    await (await fetch('https://origin.test:${site.port}/', { dispatcher })).text();
    await dispatcher.close();`;
    await outputOf(process.execPath, ['--no-warnings', '--input-type=module', '--eval', code]);
    expect(site.offers).toEqual([nodeMajor >= 26 ? BOTH : ['http/1.1']]);
  },
);

test.each<[string, SocksConnectorOptions, string[]]>([
  ['by default', {}, ['http/1.1']],
  ['with allowH2', { allowH2: true }, BOTH],
  ['with preferH2', { allowH2: true, preferH2: true }, BOTH.toReversed()],
])('socksConnector offers, %s, what the one of undici offers', async (_, options, offer) => {
  await using site = await startSite();
  for (const [, { Agent, request }] of undicis) {
    const connect = socksConnector(on.proxy.url, { tls: { ca: CERTIFICATE }, ...options });
    const agent = new Agent({ connect });
    const { body } = await request(`https://origin.test:${site.port}/`, { dispatcher: agent });
    expect(await body.text()).toBe('hello');
    await agent.close();
  }
  expect(site.offers).toEqual([...undicis].map(() => offer));
});
