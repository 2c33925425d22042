// Every client through a real tor network. Names exist for the exit alone, so a reply proves who resolved them.

import { randomBytes } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect } from '@socksify/core';
import type { SocksCredentials, SocksProxy } from '@socksify/core';
import { countTrips, freePort, startDestination, startEcho, startSite } from '@socksify/support';
import type { Site, TcpDestination } from '@socksify/support';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startRelay } from '@socksify/server';
import { CLIENTS, codeOf } from '../clients.ts';
import type { Client } from '../clients.ts';
import { DELAY, EXPECTED, PROGRAMS } from '../first-byte.ts';
import type { Dialect } from './server-traits.ts';
import { mustSkip } from './servers.ts';
import { torNetwork } from './servers/tor-network.ts';
import type { TorNetwork } from './servers/tor-network.ts';

/** Milliseconds. On a busy machine a vote fails and the next one is 10 s later. */
const TIMEOUT = { start: 180_000, test: 60_000 } as const;

const DIALECTS = [4, '4a', 5] as const;
const BY_NAME = ['4a', 5] as const;
const GREETING = '220 origin.test speaks first\r\n';

// A circuit can break at any of its relays. Tor leaves it to the application to repeat the request.
describe.skipIf(mustSkip(torNetwork))('a tor network', { timeout: TIMEOUT.test, retry: 2 }, () => {
  let site: Site;
  let echo: TcpDestination;
  let greeter: TcpDestination;
  let closed: number;
  let network: TorNetwork;

  beforeAll(async () => {
    site = await startSite();
    echo = await startEcho();
    greeter = await startDestination((socket) => socket.end(GREETING), '::');
    closed = await freePort();
    const start = performance.now();
    network = await torNetwork.start();
    console.log(`tor network: bootstrapped in ${((performance.now() - start) / 1000).toFixed(1)} s`);
  }, TIMEOUT.start);

  let failed = false;
  beforeEach(({ onTestFailed }) => {
    onTestFailed(() => {
      failed = true;
    });
  });

  afterAll(async () => {
    if (failed) console.error(network.log());
    await network?.stop();
    await greeter.close();
    await echo.close();
    await site.close();
  });

  const proxy = (dialect: Dialect, credentials?: SocksCredentials): SocksProxy => ({
    version: dialect === 5 ? 5 : 4,
    dns: dialect === 4 ? 'local' : 'remote',
    host: network.host,
    port: network.port,
    ...(credentials && { credentials }),
  });

  const tunnel = async (port: number, route: SocksProxy): Promise<Socket> =>
    (await connect(route, { host: 'origin.test', port })).socket;

  test('resolves names that this process cannot', async () => {
    await expect(lookup('origin.test')).rejects.toMatchObject({ syscall: 'getaddrinfo' });
    const before = network.queried.length;
    (await tunnel(echo.port, proxy(5, { username: 'names' }))).destroy();
    expect(network.queried.slice(before)).toContain('origin.test');
  });

  describe.concurrent.each([
    ['without a password', undefined],
    ['with a password', { username: 'standby', password: 'p' }],
  ])('from standby, %s, the first byte comes as soon as without a proxy', (_, credentials) => {
    test.each(Object.entries(PROGRAMS))('%s', async (_name, start) => {
      const relay = await startRelay({ to: network.port, delay: DELAY });
      const program = start({ ...proxy(5, credentials), port: relay.port });
      const { protocol } = program;
      const counted = await countTrips(program, relay, `${protocol}://origin.test:${site[protocol]}/`);
      await relay.close();
      expect(counted).toEqual(EXPECTED[protocol]);
    });
  });

  describe.concurrent.each(CLIENTS)('$name', (client) => {
    const urls = (host: string) =>
      client.protocols.map((protocol) => `${protocol}://${host}:${site[protocol]}/`);

    test.each(BY_NAME)('connects to a name that only the exit knows over SOCKS%s', async (dialect) => {
      for (const url of urls('origin.test')) {
        const reply = await client.request(proxy(dialect), url);
        expect(reply).toMatchObject({ status: 200, host: new URL(url).host });
        expect(reply.body.toString()).toBe('hello');
      }
    });

    test.each(DIALECTS)('connects to an address over SOCKS%s', async (dialect) => {
      for (const url of urls('127.0.0.1')) {
        expect(await client.request(proxy(dialect), url)).toMatchObject({ status: 200 });
      }
    });

    test('connects to an IPv6 address', async () => {
      for (const url of urls('ip6.test')) {
        expect(await client.request(proxy(5), url)).toMatchObject({ status: 200 });
      }
    });

    test.each(BY_NAME)('carries a body of 100 kB in both directions over SOCKS%s', async (dialect) => {
      const body = randomBytes(100_000);
      for (const url of urls('origin.test')) {
        const reply = await client.request(proxy(dialect), url, { body });
        expect(reply.body.equals(body)).toBe(true);
      }
    });

    test.each(BY_NAME)('fails with the code of an unknown name over SOCKS%s', async (dialect) => {
      const url = `${client.protocols[0]}://nowhere.test:${site.http}/`;
      expect(await failure(client, proxy(dialect), url)).toBe(torNetwork.traits.unknownName[dialect]);
    });

    test.each(BY_NAME)('fails with the code of a refused connection over SOCKS%s', async (dialect) => {
      // A name of its own: tor counts the failures of a name, of all its ports together, and gives up at the third.
      const url = `${client.protocols[0]}://dual.test:${closed}/`;
      expect(await failure(client, proxy(dialect), url)).toBe(torNetwork.traits.refused[dialect]);
    });

    test('sends credentials', async () => {
      const username = client.name.replaceAll(/\W/g, '-');
      const route = proxy(5, { username, password: 'any' });
      for (const url of urls('origin.test')) {
        expect(await client.request(route, url)).toMatchObject({ status: 200 });
      }
      const circuits = (await network.getInfo('circuit-status')).join('\n');
      expect(circuits).toContain(`SOCKS_USERNAME="${username}" SOCKS_PASSWORD="any"`);
    });
  });

  test.each(BY_NAME)('no byte of a destination that speaks first is lost over SOCKS%s', async (dialect) => {
    const { port } = greeter;
    for (let i = 0; i < 10; i += 1) {
      const socket = await tunnel(port, proxy(dialect));
      let text = '';
      for await (const chunk of socket) text += String(chunk);
      expect(text).toBe(GREETING);
    }
  });

  test.each([
    ['password', 5, { username: 'alice', password: 'one' }, { username: 'alice', password: 'two' }],
    ['username', 5, { username: 'bob', password: 'one' }, { username: 'carol', password: 'one' }],
    ['user id', '4a', { username: 'dave' }, { username: 'eve' }],
  ] as const)('gives another %s another circuit over SOCKS%s', async (_, dialect, one, two) => {
    const sockets: Socket[] = [];
    const other = await startEcho();
    for (const credentials of [one, two]) {
      const socket = await tunnel(other.port, proxy(dialect, credentials));
      sockets.push(socket);
      socket.write('hello');
      expect(String(await once(socket, 'data'))).toBe('hello');
    }
    // The same credentials need not share one: tor may take a fresh circuit that is at hand.
    const [first, second] = await circuitsTo(other.port);
    expect(second).not.toBe(first);
    const names = await Promise.all([first, second].map(usernameOf));
    expect(names).toEqual([one.username, two.username]);
    for (const socket of sockets) socket.destroy();
    await other.close();
  });

  /** The circuits of the streams to a port, in the order in which these were opened. */
  async function circuitsTo(port: number): Promise<string[]> {
    const streams = (await network.getInfo('stream-status')).map((line) => line.split(' '));
    return streams
      .filter(([, status, , address]) => status === 'SUCCEEDED' && address?.endsWith(`:${port}`))
      .toSorted(([a], [b]) => Number(a) - Number(b))
      .map(([, , circuit = '']) => circuit);
  }

  async function usernameOf(circuit: string | undefined): Promise<string | undefined> {
    const line = (await network.getInfo('circuit-status')).find((text) =>
      text.startsWith(`${circuit} BUILT `),
    );
    return /SOCKS_USERNAME="([^"]*)"/.exec(line ?? '')?.[1];
  }
});

async function failure(client: Client, route: SocksProxy, url: string): Promise<string | undefined> {
  return client.request(route, url).then(
    () => 'no failure',
    (error: unknown) => codeOf(error),
  );
}
