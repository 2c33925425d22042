// WebSocket: HTTP/1.1 even where HTTP/2 is offered. EventSource: a response that does not end.

import { once } from 'node:events';
import { expect, test } from 'vitest';
import { SocksDispatcher } from '../src/index.ts';
import { agents, nodeMajor, undicis } from './cells.ts';
import { cert, startOrigin } from './origin.ts';
import { startProxy } from './proxy.ts';

// Node 20 has no WebSocket of its own.
const sockets = [
  ...(nodeMajor >= 22 ? [[`Node ${nodeMajor}`, globalThis.WebSocket] as const] : []),
  ...[...undicis].map(([name, { WebSocket }]) => [name, WebSocket] as const),
];

for (const [agentName, Agent] of agents) {
  for (const kind of ['http', 'h2'] as const) {
    test.each(sockets)(`the WebSocket of %s to ${kind}, through ${agentName}`, async (_, WebSocket) => {
      await using proxy = await startProxy();
      await using origin = await startOrigin(kind);
      const dispatcher = new SocksDispatcher(proxy.url, { Agent, allowH2: true, connect: { ca: cert } });
      const url = `${kind === 'http' ? 'ws' : 'wss'}://origin.test:${origin.port}/`;
      const socket = new WebSocket(url, { dispatcher });
      const [message] = (await once(socket, 'message')) as [MessageEvent];
      expect(message.data).toBe('hello');
      await once(socket, 'close');
      expect(proxy.requests).toEqual([`origin.test:${origin.port}`]);
      if (kind === 'h2') expect(origin.secured).toMatchObject([{ alpn: 'http/1.1' }]);
      await dispatcher.close();
    });
  }
  for (const [name, { EventSource }] of undicis) {
    if (EventSource === undefined) continue;
    test(`the EventSource of ${name}, through ${agentName}`, async () => {
      await using proxy = await startProxy();
      await using origin = await startOrigin();
      const dispatcher = new SocksDispatcher(proxy.url, { Agent });
      const source = new EventSource(`http://origin.test:${origin.port}/events`, { dispatcher });
      const [message] = (await once(source, 'message')) as [MessageEvent];
      expect(message.data).toBe('hello');
      source.close();
      expect(proxy.requests).toEqual([`origin.test:${origin.port}`]);
      await dispatcher.destroy();
    });
  }
}
