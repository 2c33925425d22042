// Every event of a request comes in the async context in which the request was made, also when it waited in the queue.

import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import http from 'node:http';
import type { Agent, ClientRequest, IncomingMessage } from 'node:http';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { closed, startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SocksAgent } from '../src/index.ts';
import type { SocksAgentOptions } from '../src/index.ts';

const store = new AsyncLocalStorage<string>();
let site: Site;
let proxy: SocksServer;
beforeAll(async () => {
  site = await startSite();
  proxy = await startServer({
    names: { 'origin.test': '127.0.0.1', 'other.test': '127.0.0.1' },
    allow: ({ host }) => host !== 'refused.test',
  });
});
afterAll(() => Promise.all([site.close(), proxy.close()]));

const EVENTS = ['socket', 'response', 'timeout', 'error', 'close'] as const;

class Recorder {
  readonly seen: string[] = [];
  readonly #requests: ClientRequest[] = [];

  send(name: string, agent: Agent, options: http.RequestOptions = {}): ClientRequest {
    return store.run(name, () => {
      const req = http.get({ host: 'origin.test', port: site.http, agent, ...options });
      for (const event of EVENTS) req.on(event, () => this.#note(name, event));
      req.on('response', (res: IncomingMessage) => {
        res.resume().on('end', () => this.#note(name, 'end'));
      });
      this.#requests.push(req);
      return req;
    });
  }

  #note(name: string, event: string): void {
    const context = store.getStore();
    this.seen.push(context === name ? `${name} ${event}` : `${name} ${event} in the context of ${context}`);
  }

  /** The events, when all requests are over: in the order of the requests. */
  async all(): Promise<string[]> {
    await Promise.all(this.#requests.map(closed));
    return this.seen.toSorted();
  }
}

const succeeded = (name: string) => ['close', 'end', 'response', 'socket'].map((e) => `${name} ${e}`);
const failed = (name: string) => ['close', 'error'].map((event) => `${name} ${event}`);

const LIMITS: Readonly<Record<string, SocksAgentOptions>> = {
  'maxSockets 1': { maxSockets: 1 },
  'maxSockets 1 with keep-alive': { maxSockets: 1, keepAlive: true },
  'maxTotalSockets 1': { maxTotalSockets: 1 },
};

describe.each(Object.entries(LIMITS))('an agent with %s', (_, options) => {
  /** Its look-up of the proxy never ends. */
  const waitingAgent = (): SocksAgent => {
    const unknown = { version: 5, host: 'proxy.test', port: 1, dns: 'remote' } as const;
    return new SocksAgent(unknown, { ...options, lookup: () => {} });
  };

  test('emits the events of requests that succeed in their own contexts', async () => {
    const agent = new SocksAgent(proxy.url('socks5'), options);
    const recorder = new Recorder();
    for (const name of ['a', 'b', 'c']) recorder.send(name, agent);
    expect(await recorder.all()).toEqual(['a', 'b', 'c'].flatMap(succeeded));
    agent.destroy();
  });

  test('emits the events of requests that are refused one after the other in their own contexts', async () => {
    const agent = new SocksAgent(proxy.url('socks5'), options);
    const recorder = new Recorder();
    for (const name of ['a', 'b', 'c']) recorder.send(name, agent, { host: 'refused.test' });
    expect(await recorder.all()).toEqual(['a', 'b', 'c'].flatMap(failed));
    agent.destroy();
  });

  test('emits the events of a request that follows one of another origin in its own context', async () => {
    const agent = new SocksAgent(proxy.url('socks5'), options);
    const recorder = new Recorder();
    recorder.send('a', agent, { host: 'refused.test' });
    recorder.send('b', agent, { host: 'other.test' });
    recorder.send('c', agent, { host: 'refused.test' });
    expect(await recorder.all()).toEqual([...failed('a'), ...succeeded('b'), ...failed('c')]);
    agent.destroy();
  });

  test('emits the events of requests that are destroyed from another context in their own contexts', async () => {
    const agent = waitingAgent();
    const recorder = new Recorder();
    const requests = ['a', 'b'].map((name) => recorder.send(name, agent));
    for (const req of requests) {
      store.run('somebody', () => req.destroy());
      await closed(req);
    }
    expect(await recorder.all()).toEqual(['a', 'b'].flatMap(failed));
    agent.destroy();
  });

  test('emits timeouts in the context of their request, wherever they were set', async () => {
    const agent = waitingAgent();
    const recorder = new Recorder();
    const first = recorder.send('a', agent, { timeout: 20 });
    const second = recorder.send('b', agent, { timeout: 20 });
    await once(first, 'timeout');
    first.destroy();
    await closed(first);
    // From here on, the socket of the second request is being opened.
    store.run('somebody', () => second.setTimeout(30));
    await once(second, 'timeout');
    second.destroy();
    expect(await recorder.all()).toEqual([...failed('a'), 'a timeout', ...failed('b'), 'b timeout']);
    agent.destroy();
  });
});

describe('a selector', () => {
  test.each([
    ['answers at once', (url: string) => url],
    ['answers later', (url: string) => new Promise<string>((resolve) => setImmediate(resolve, url))],
  ])(
    'is called in the context of its request when it %s, and the events come there too',
    async (_, answer) => {
      const stores: unknown[] = [];
      const agent = new SocksAgent(
        () => {
          stores.push(store.getStore());
          return answer(proxy.url('socks5'));
        },
        { maxSockets: 1 },
      );
      const recorder = new Recorder();
      for (const name of ['a', 'b', 'c']) recorder.send(name, agent);
      expect(stores).toEqual(['a', 'b', 'c']);
      expect(await recorder.all()).toEqual(['a', 'b', 'c'].flatMap(succeeded));
      agent.destroy();
    },
  );

  test('has its rejection emitted in the context of the request', async () => {
    const agent = new SocksAgent(() => Promise.reject(new Error('mine')));
    const recorder = new Recorder();
    for (const name of ['a', 'b']) recorder.send(name, agent);
    expect(await recorder.all()).toEqual(['a', 'b'].flatMap(failed));
    agent.destroy();
  });
});
