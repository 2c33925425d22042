// WebSocket: HTTP/1.1 even where HTTP/2 is offered. EventSource: a response that does not end.

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { CERTIFICATE, freePort } from '@socksify/support';
import { expect, test } from 'vitest';
import { SocksDispatcher } from '../src/index.ts';
import { agents, nodeMajor, undicis } from './combinations.ts';
import { startSite } from './site.ts';
import { startProxy } from './recorded-proxy.ts';

// Node 20 has no WebSocket of its own.
const sockets = [
  ...(nodeMajor >= 22 ? [[`Node ${nodeMajor}`, globalThis.WebSocket] as const] : []),
  ...[...undicis].map(([name, { WebSocket }]) => [name, WebSocket] as const),
];

for (const [agentName, Agent] of agents) {
  for (const kind of ['http', 'h2'] as const) {
    test.each(sockets)(
      `the WebSocket of %s opens a connection to a site that speaks ${kind}, with ${agentName}`,
      async (_, WebSocket) => {
        await using proxy = await startProxy();
        await using site = await startSite(kind);
        const dispatcher = new SocksDispatcher(proxy.url, {
          Agent,
          allowH2: true,
          connect: { ca: CERTIFICATE },
        });
        const url = `${kind === 'http' ? 'ws' : 'wss'}://origin.test:${site.port}/`;
        const socket = new WebSocket(url, { dispatcher });
        const [message] = (await once(socket, 'message')) as [MessageEvent];
        expect(message.data).toBe('hello');
        await once(socket, 'close');
        expect(proxy.requests).toEqual([`origin.test:${site.port}`]);
        if (kind === 'h2') expect(site.secured).toMatchObject([{ alpn: 'http/1.1' }]);
        await dispatcher.close();
      },
    );
  }
  for (const [name, { EventSource }] of undicis) {
    if (EventSource === undefined) continue;
    test(`the EventSource of ${name} gets events, with ${agentName}`, async () => {
      await using proxy = await startProxy();
      await using site = await startSite();
      const dispatcher = new SocksDispatcher(proxy.url, { Agent });
      const source = new EventSource(`http://origin.test:${site.port}/events`, { dispatcher });
      const [message] = (await once(source, 'message')) as [MessageEvent];
      expect(message.data).toBe('hello');
      source.close();
      expect(proxy.requests).toEqual([`origin.test:${site.port}`]);
      await dispatcher.destroy();
    });
  }
}

test.each(sockets)(
  'the error of the WebSocket of %s has no code and no cause, and a channel has the reason',
  async (_, WebSocket) => {
    const reasons: unknown[] = [];
    const note = (message: unknown): void => void reasons.push((message as { error: unknown }).error);
    subscribe('socksify:tunnel:error', note);
    const dispatcher = new SocksDispatcher(`socks5://127.0.0.1:${await freePort()}`);
    const socket = new WebSocket('ws://origin.test:8080/', { dispatcher });
    const [event] = (await once(socket, 'error')) as [{ error?: { code?: unknown; cause?: unknown } }];
    unsubscribe('socksify:tunnel:error', note);
    expect([event.error?.code, event.error?.cause]).toEqual([undefined, undefined]);
    expect(reasons).toMatchObject([{ code: 'ERR_SOCKS_PROXY_UNREACHABLE' }]);
    await dispatcher.close();
  },
);
