// TLS sessions: resumed within the same origin and the same answer of the selector, however the last connection ended;
// never across proxies, credentials or TLS options.

import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import type { Socket } from 'node:net';
import tls from 'node:tls';
import type { TLSSocket } from 'node:tls';
import type { ProxyChoice } from '@socksify/core';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { CERTIFICATE, closed, listen, outputOf, TLS } from '@socksify/support';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { SocksAgent } from '../src/index.ts';

const names = { 'origin.test': '127.0.0.1', 'dual.test': '127.0.0.1' };
let proxy: SocksServer;
let other: SocksServer;
beforeAll(async () => {
  const options = { names, users: 'any', allowAnonymous: true } as const;
  [proxy, other] = await Promise.all([startServer(options), startServer(options)]);
});
afterAll(() => Promise.all([proxy.close(), other.close()]));

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('a session of %s', (maxVersion) => {
  let site: https.Server;
  let port: number;
  let sockets: Socket[];
  beforeEach(async () => {
    sockets = [];
    site = https.createServer({ ...TLS, maxVersion }, (req, res) =>
      req.resume().on('end', () => res.end('x')),
    );
    site.on('connection', (socket: Socket) => sockets.push(socket.on('error', () => {})));
    site.on('secureConnection', (socket: Socket) => socket.on('error', () => {}));
    port = await listen(site);
  });
  afterEach(() => {
    site.close();
    site.closeAllConnections();
  });

  /** Sends one request, leaves its socket open, and says whether a session was resumed. */
  const send = async (agent: http.Agent, options: https.RequestOptions = {}) => {
    const req = https.get({ host: 'origin.test', port, agent, ca: CERTIFICATE, ...options });
    const [res] = (await once(req, 'response')) as [http.IncomingMessage];
    const socket = req.socket as TLSSocket;
    const reused = socket.isSessionReused();
    res.resume();
    await once(req, 'close');
    await new Promise(setImmediate);
    expect(req.reusedSocket).toBe(false);
    return { socket, resumed: reused };
  };
  const resumed = async (agent: http.Agent, options?: https.RequestOptions): Promise<boolean> =>
    (await send(agent, options)).resumed;

  const ENDINGS: Readonly<Record<string, (socket: Socket, client: Socket) => void>> = {
    'the server closed the idle connection': (socket) => void socket.end(),
    'the server reset the idle connection': (socket) => void socket.resetAndDestroy(),
    'the client destroyed the connection with an error': (_, client) =>
      void client.destroy(new Error('mine')),
  };

  test.each(Object.entries(ENDINGS))('is resumed after %s', async (_, end) => {
    const agent = new SocksAgent(proxy.url('socks5'), { keepAlive: true });
    const expected = [false, true, true];
    for (const [i, value] of expected.entries()) {
      const sent = await send(agent);
      expect(sent.resumed).toBe(value);
      end(sockets[i] as Socket, sent.socket);
      await closed(sent.socket);
    }
    agent.destroy();
  });

  test.each<[string, (url: (of: SocksServer, username?: string) => string) => [ProxyChoice, ProxyChoice]]>([
    ['two proxies', (url) => [url(proxy), url(other)]],
    ['two users', (url) => [url(proxy, 'alice'), url(proxy, 'bob')]],
    ['a proxy and a chain', (url) => [url(proxy), [url(other), url(proxy)]]],
  ])('is not resumed across %s', async (_, make) => {
    const choices = make((of, username) =>
      username === undefined ? of.url('socks5') : of.url('socks5', { username, password: 'x' }),
    );
    let choice = choices[0];
    const agent = new SocksAgent(() => Promise.resolve(choice));
    expect(await resumed(agent)).toBe(false);
    [, choice] = choices;
    expect(await resumed(agent)).toBe(false);
    for (choice of choices) expect(await resumed(agent)).toBe(true);
    agent.destroy();
  });

  test.each<[string, https.RequestOptions]>([
    ['rejectUnauthorized', { rejectUnauthorized: false }],
    ['CA', { ca: [CERTIFICATE, CERTIFICATE] }],
    ['client certificate', TLS],
    ['servername', { servername: 'given.test' }],
    ['ciphers', { ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256' }],
    ['host', { host: 'dual.test' }],
  ])('is not resumed with another %s', async (_, options) => {
    const agent = new SocksAgent(proxy.url('socks5'));
    expect(await resumed(agent)).toBe(false);
    expect(await resumed(agent, options)).toBe(false);
    expect(await resumed(agent)).toBe(true);
    expect(await resumed(agent, options)).toBe(true);
    agent.destroy();
  });

  test('needs no SecureContext of its own when the certificates are those of the last request', async () => {
    const agent = new SocksAgent(proxy.url('socks5'));
    const made = vi.spyOn(tls, 'createSecureContext');
    const counts: number[] = [];
    for (const options of [
      {},
      { servername: 'given.test' },
      TLS,
      TLS,
      { ca: undefined },
      { ca: undefined },
    ]) {
      await send(agent, { rejectUnauthorized: false, ...options });
      counts.push(made.mock.calls.length);
    }
    // Without ca, the default certificates of Node count, which a program can replace.
    expect(counts).toEqual([1, 1, 2, 2, 3, 4]);
    made.mockRestore();
    agent.destroy();
  });

  test('outlives garbage collection', async () => {
    const script = `
      import https from 'node:https';
      import { once } from 'node:events';
      import { SocksAgent } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
      const agent = new SocksAgent(() => ({ version: 5, host: '127.0.0.1', port: ${proxy.port}, dns: 'remote' }));
      for (let i = 0; i < 3; i++) {
        const req = https.get({ host: 'origin.test', port: ${port}, agent, rejectUnauthorized: false });
        req.on('response', (res) => res.resume());
        await once(req, 'response');
        console.log(req.socket.isSessionReused());
        if (!req.closed) await once(req, 'close');
        await new Promise(setImmediate);
        gc();
      }`;
    const args = ['--expose-gc', '--input-type=module', '--eval', script];
    const stdout = await outputOf(process.execPath, args);
    expect(stdout.trim().split('\n')).toEqual(['false', 'true', 'true']);
  });
});
