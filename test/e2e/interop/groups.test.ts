// Real servers as members of one group, one of which is killed and started again while requests are in progress. tor has
// no network here, so that it negotiates and then serves nobody. FULL=1 gives it a network of its own, and sends 2,000
// requests in place of 200.

import { once } from 'node:events';
import { get as getHttp } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { SocksAgent } from '@socksify/agent';
import { proxyGroup } from '@socksify/core';
import type { ProxyGroup } from '@socksify/core';
import { countSockets, freePort, startSite } from '@socksify/support';
import { SocksDispatcher } from '@socksify/undici';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mustSkip } from './servers.ts';
import type { InteropServer, RunningServer } from './servers.ts';
import { dante } from './servers/dante.ts';
import { microsocks } from './servers/microsocks.ts';
import { openssh } from './servers/openssh.ts';
import { torNetwork } from './servers/tor-network.ts';
import { tor } from './servers/tor.ts';
import { defineServer } from './server-process.ts';

const FULL = process.env['FULL'] === '1';
const REQUESTS = FULL ? 2000 : 200;
const AT_A_TIME = 20;

const members = [dante, openssh, FULL ? torNetwork : tor];

describe.skipIf([microsocks, ...members].some(mustSkip))('dante, microsocks, OpenSSH and tor', () => {
  let others: RunningServer[] = [];
  let killed: RunningServer;
  let restart: () => Promise<RunningServer>;

  beforeAll(async () => {
    const port = await freePort();
    // On the same port each time.
    const sturdy: InteropServer = defineServer({
      ...microsocks,
      setUp: async ({ start }) => {
        await start({ port }, 'microsocks', '-i', '127.0.0.1', '-p', `${port}`);
        return { port };
      },
    });
    restart = () => sturdy.start();
    killed = await restart();
    others = await Promise.all(members.map((server) => server.start()));
  }, 200_000);
  afterAll(async () => {
    for (const server of [killed, ...others]) await server?.stop();
  });

  const urlOf = ({ port }: RunningServer): string => `socks5://127.0.0.1:${port}`;

  interface Client {
    readonly get: (url: string) => Promise<string>;
    readonly close: () => unknown;
  }
  const clients: readonly (readonly [string, (group: ProxyGroup) => Client])[] = [
    [
      'the agent',
      (group) => {
        const agent = new SocksAgent(group, { connectTimeout: 2000 });
        return {
          get: async (url) => {
            const [response] = (await once(getHttp(url, { agent }), 'response')) as [IncomingMessage];
            return text(response);
          },
          close: () => agent.destroy(),
        };
      },
    ],
    [
      'fetch',
      (group) => {
        const dispatcher = new SocksDispatcher(group, { connectTimeout: 2000, pipelining: 0 });
        return {
          get: async (url) => (await fetch(url, { dispatcher })).text(),
          close: () => dispatcher.destroy(),
        };
      },
    ],
  ];

  test.each(clients)(
    'serve every request of %s, although one of them is killed and started again',
    async (_, open) => {
      const [first, second, third] = others.map(urlOf);
      const returned = urlOf(killed);
      const group = proxyGroup([first ?? '', returned, second ?? '', third ?? ''], {
        order: 'rotate',
        rest: 200,
        stagger: 200,
      });
      const seen: number[] = [];
      const site = await startSite((request, response) => {
        seen.push(request.socket.remotePort ?? 0);
        response.end(`hello ${request.url}`);
      });
      const socketsBefore = countSockets();
      const client = open(group);
      const stateOfReturned = (): string | undefined =>
        group.state().find(({ proxies }) => proxies[0] === returned)?.state;
      const failures: unknown[] = [];
      /** Requests on a tunnel that was open when its proxy was killed. No group can save them; they are sent again. */
      let broken = 0;
      const direct: number[] = [];
      const changes: Promise<unknown>[] = [];
      let [next, done] = [0, 0];
      const work = async (): Promise<void> => {
        while (next < REQUESTS) {
          const i = next++;
          // The name exists for the proxies alone: a direct request would fail.
          const url = `http://origin.test:${site.http}/${i}`;
          const again = (error: Error & { code?: string; cause?: { code?: string } }): Promise<string> => {
            if (`${error.code} ${error.cause?.code}`.includes('ERR_SOCKS')) throw error;
            broken++;
            return client.get(url);
          };
          try {
            const body = await client.get(url).catch(again);
            if (body !== `hello /${i}`) direct.push(i);
          } catch (error) {
            failures.push(error);
          }
          done++;
          if (done === Math.floor(REQUESTS / 4)) changes.push(killed.stop());
          if (done === Math.floor(REQUESTS / 2)) changes.push(Promise.all(changes).then(start));
        }
      };
      const start = async (): Promise<void> => {
        expect(stateOfReturned()).not.toBe('ready');
        killed = await restart();
      };
      await Promise.all(Array.from({ length: AT_A_TIME }, work));
      await Promise.all(changes);
      expect(failures).toEqual([]);
      expect(direct).toEqual([]);
      expect(broken).toBeLessThanOrEqual(AT_A_TIME);
      expect(seen.length).toBeGreaterThanOrEqual(REQUESTS);
      // It serves again: all others rest, and it is ready.
      for (let tries = 0; stateOfReturned() !== 'ready' && tries < 200; tries++)
        await client.get(`http://origin.test:${site.http}/again`);
      expect(stateOfReturned()).toBe('ready');
      for (const url of [first, second, third]) group.rest(url ?? '', 60_000);
      const before = seen.length;
      await client.get(`http://origin.test:${site.http}/back`);
      expect(seen.length).toBe(before + 1);
      expect(stateOfReturned()).toBe('ready');
      await client.close();
      await site.close();
      await expect.poll(countSockets, { timeout: 5000 }).toBeLessThanOrEqual(socketsBefore);
      console.log(`the site got ${seen.length} requests; ${broken} were sent again`);
    },
    FULL ? 400_000 : 60_000,
  );
});
