// HTTP clients with agents or redirects of their own.

import { createRequire } from 'node:module';
import http from 'node:http';
import https from 'node:https';
import { CERTIFICATE as ca } from '@socksify/support';
import { SocksAgent } from '@socksify/agent';
import KeepAliveAgent from 'agentkeepalive';
import { describe, expect, test } from 'vitest';
import { get, startProxiedSite } from './proxied-site.ts';

interface Superagent {
  get(url: string): SuperagentRequest;
  agent(): Superagent;
}
interface SuperagentRequest extends PromiseLike<{ status: number; text: string }> {
  agent(agent: http.Agent): this;
}

// Neither of them has types.
const require = createRequire(import.meta.url);
const superagent = require('superagent') as Superagent;
const follow = require('follow-redirects') as { http: typeof http; https: typeof https };

/** Puts agents in the place of Node's global ones until the end of the scope. */
function globalAgents(proxy: string): Disposable {
  const before = [http.globalAgent, https.globalAgent] as const;
  const plain = new SocksAgent(proxy, { protocol: 'http:' });
  const secure = new SocksAgent(proxy, { protocol: 'https:', ca });
  http.globalAgent = plain;
  https.globalAgent = secure;
  return {
    [Symbol.dispose]() {
      [http.globalAgent, https.globalAgent] = before;
      plain.destroy();
      secure.destroy();
    },
  };
}

describe('superagent', () => {
  test('sends requests through an agent that it is given, redirects included', async () => {
    await using site = await startProxiedSite();
    const agent = new SocksAgent(site.proxy, { ca });
    const { status, text: body } = await superagent.get(`${site.http}to-https`).agent(agent);
    expect(`${status} ${body}`).toBe('200 hello');
    site.expectProxied('http', 'https');
  });

  test('has no agent of its own, and sends requests through the global one', async () => {
    await using site = await startProxiedSite();
    using _ = globalAgents(site.proxy);
    for (const url of [site.http, site.https]) {
      const { status, text: body } = await superagent.get(url);
      expect(`${status} ${body}`).toBe('200 hello');
    }
    site.expectProxied('http', 'https');
  });

  test('follows redirects through the global agents', async () => {
    await using site = await startProxiedSite();
    using _ = globalAgents(site.proxy);
    const browser = superagent.agent();
    expect((await browser.get(`${site.http}to-https`)).text).toBe('hello');
    expect((await browser.get(`${site.http}redirect`)).text).toBe('hello');
    site.expectProxied('http', 'https', 'http', 'http');
  });
});

describe('follow-redirects', () => {
  test('follows from http to https through one agent', async () => {
    await using site = await startProxiedSite();
    const agent = new SocksAgent(site.proxy, { ca });
    expect(await get(`${site.http}to-https`, { agents: { http: agent, https: agent } }, follow)).toBe(
      '200 hello',
    );
    site.expectProxied('http', 'https');
  });

  test('follows through the global agents', async () => {
    await using site = await startProxiedSite();
    using _ = globalAgents(site.proxy);
    expect(await get(`${site.http}to-https`, {}, follow)).toBe('200 hello');
    site.expectProxied('http', 'https');
  });

  test('reports an error of the tunnel as the error of the request', async () => {
    await using site = await startProxiedSite();
    const agent = new SocksAgent(site.proxy);
    await expect(get('http://unknown.test/', { agent }, follow)).rejects.toMatchObject({
      code: 'ERR_SOCKS_HOST_UNREACHABLE',
    });
  });
});

describe('agentkeepalive', () => {
  test('keeps its own direct connections beside those of a SocksAgent', async () => {
    await using site = await startProxiedSite();
    const port = Number(new URL(site.http).port);
    const direct = new KeepAliveAgent();
    const socks = new SocksAgent(site.proxy, { keepAlive: true });
    for (let i = 0; i < 2; i++) {
      expect(await get(site.http, { agent: socks })).toBe('200 hello');
      await expect(get(site.http, { agent: direct })).rejects.toThrow('getaddrinfo');
      expect(await get(`http://127.0.0.1:${port}/`, { agent: direct })).toBe('200 hello');
    }
    expect(direct.getCurrentStatus()).toMatchObject({ createSocketCount: 3, createSocketErrorCount: 0 });
    direct.destroy();
    socks.destroy();
  });
});
