// nock 14 and MSW 2 take the place of Node's agents and of fetch. Requests that they mock must not get to the proxy;
// requests that they let pass must be sent through it.

import http from 'node:http';
import { CERTIFICATE as ca } from '@socksify/support';
import { SocksAgent } from '@socksify/agent';
import { setGlobalDispatcher, SocksDispatcher } from '@socksify/undici';
import { http as mock, HttpResponse, passthrough } from 'msw';
import { setupServer } from 'msw/node';
import nock from 'nock';
import { afterEach, describe, expect, test } from 'vitest';
import { get, startProxiedSite } from './proxied-site.ts';

interface Mocks {
  /** Answers GET requests of this URL with 200 mocked; all others pass. */
  start(url: string): void;
  stop(): void;
}

const msw = setupServer();
let listening = false;

const libraries: readonly (readonly [string, Mocks])[] = [
  [
    'nock',
    {
      start(url) {
        const { origin, pathname } = new URL(url);
        if (!nock.isActive()) nock.activate();
        nock(origin, { allowUnmocked: true }).persist().get(pathname).reply(200, 'mocked');
      },
      stop() {
        nock.cleanAll();
        nock.restore();
      },
    },
  ],
  [
    'MSW',
    {
      start(url) {
        msw.use(
          mock.get(url, () => HttpResponse.text('mocked')),
          mock.get('*', () => passthrough()),
        );
        if (!listening) msw.listen({ onUnhandledRequest: 'error' });
        listening = true;
      },
      stop() {
        msw.resetHandlers();
        msw.close();
        listening = false;
      },
    },
  ],
];

describe.each(libraries)('%s', (_, mocks) => {
  const undo: (() => void)[] = [];
  afterEach(() => {
    mocks.stop();
    for (const each of undo.splice(0)) each();
  });

  test('mocks a request through a SocksAgent, and the proxy sees nothing', async () => {
    await using site = await startProxiedSite();
    mocks.start(`${site.http}mocked`);
    const agent = new SocksAgent(site.proxy);
    expect(await get(`${site.http}mocked`, { agent })).toBe('200 mocked');
    site.expectProxied();
  });

  test('mocks a request to a URL without a port, through a SocksAgent', async () => {
    await using site = await startProxiedSite();
    const agent = new SocksAgent(site.proxy);
    for (const url of ['http://origin.test/mocked', 'https://origin.test/mocked']) {
      mocks.start(url);
      expect(await get(url, { agent })).toBe('200 mocked');
    }
    site.expectProxied();
  });

  test('mocks a request that is given by options, through a SocksAgent', async () => {
    await using site = await startProxiedSite();
    mocks.start('http://origin.test/mocked');
    const agent = new SocksAgent(site.proxy);
    const options = { host: 'origin.test', path: '/mocked', agent };
    const status = await new Promise((resolve, reject) => {
      http.get(options, (response) => resolve(response.resume().statusCode)).on('error', reject);
    });
    expect(status).toBe(200);
    site.expectProxied();
  });

  test('lets http requests pass through a SocksAgent', async () => {
    await using site = await startProxiedSite();
    mocks.start(`${site.http}mocked`);
    const agent = new SocksAgent(site.proxy);
    expect(await get(site.http, { agent })).toBe('200 hello');
    site.expectProxied('http');
  });

  test('lets https requests pass through a SocksAgent', async () => {
    await using site = await startProxiedSite();
    mocks.start(`${site.https}mocked`);
    const agent = new SocksAgent(site.proxy, { ca });
    expect(await get(site.https, { agent })).toBe('200 hello');
    site.expectProxied('https');
  });

  test('gives the error of the tunnel to a request that it lets pass', async () => {
    await using site = await startProxiedSite();
    mocks.start(`${site.http}mocked`);
    const agent = new SocksAgent(site.proxy);
    await expect(get('http://unknown.test/', { agent })).rejects.toMatchObject({
      code: 'ERR_SOCKS_HOST_UNREACHABLE',
    });
    site.expectProxied('unknown');
  });

  test('mocks a fetch, and lets the others pass to the global dispatcher', async () => {
    await using site = await startProxiedSite();
    undo.push(setGlobalDispatcher(new SocksDispatcher(site.proxy, { connect: { ca } })));
    mocks.start(`${site.http}mocked`);
    expect(await (await fetch(`${site.http}mocked`)).text()).toBe('mocked');
    site.expectProxied();
    expect(await (await fetch(site.http)).text()).toBe('hello');
    expect(await (await fetch(site.https)).text()).toBe('hello');
    site.expectProxied('http', 'https');
  });

  test('lets a dispatcher be made while the mocks are in place', async () => {
    await using site = await startProxiedSite();
    mocks.start(`${site.http}mocked`);
    undo.push(setGlobalDispatcher(new SocksDispatcher(site.proxy)));
    expect(await (await fetch(`${site.http}mocked`)).text()).toBe('mocked');
    expect(await (await fetch(site.http)).text()).toBe('hello');
    site.expectProxied('http');
  });
});
