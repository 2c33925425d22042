// An abort ends the connection attempts for which no request waits any more, and no others.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { CERTIFICATE, listen, rejection, stopListening, turns } from '@socksify/support';
import { describe, expect, test } from 'vitest';
import { SocksDispatcher } from '../src/index.ts';
import type { SocksDispatcherOptions } from '../src/index.ts';
import { agents, undicis } from './combinations.ts';
import { startForFile } from './file-servers.ts';
import { startSite } from './site.ts';
import { startProxy } from './recorded-proxy.ts';
import type { RecordedProxy } from './recorded-proxy.ts';

const on = startForFile({ proxy: startProxy, http: () => startSite(), h2: () => startSite('h2') });

const get = async (url: string, dispatcher: SocksDispatcher, init: RequestInit = {}): Promise<string> =>
  (await fetch(url, { ...init, dispatcher })).text();

const rows = agents.flatMap(([name, Agent]) =>
  (['http', 'https'] as const).map((scheme) => [scheme, name, Agent] as const),
);

describe.each(agents)('a request that waits for a new connection after an abort, on %s', (_, Agent) => {
  const begin = async (gate: Awaited<ReturnType<typeof startGate>>) => {
    const url = `http://origin.test:${on.http.port}/`;
    const dispatcher = new SocksDispatcher(gate.url, { Agent, connections: 1 });
    const controller = new AbortController();
    gate.open();
    const aborted = rejection(get(`${url}hang`, dispatcher, { signal: controller.signal }));
    await once(on.http.server, 'hanging');
    const page = get(url, dispatcher);
    await turns(2);
    gate.close();
    controller.abort();
    await aborted;
    await gate.reached(2);
    return { dispatcher, page };
  };

  test('is waited for by close()', async () => {
    await using gate = await startGate(on.proxy);
    const { dispatcher, page } = await begin(gate);
    const closed = dispatcher.close();
    await turns(2);
    gate.open();
    expect(await page).toBe('hello');
    await closed;
  });

  test('fails with the error of destroy(error)', async () => {
    await using gate = await startGate(on.proxy);
    const { dispatcher, page } = await begin(gate);
    const failed = rejection(page);
    await dispatcher.destroy(new Error('enough'));
    expect(await failed).toMatchObject({ cause: { message: 'enough' } });
    await gate.leftOpen(0);
  });
});

test.each(agents)(
  'a request has the whole connectTimeout for a new connection, though a later one has waited for its selector, on %s',
  async (_, Agent) => {
    await using gate = await startGate(on.proxy);
    const selections: Promise<unknown>[] = [];
    const dispatcher = new SocksDispatcher(
      async () => {
        await selections.shift();
        return gate.url;
      },
      { Agent, connections: 1, connectTimeout: 300 },
    );
    const url = `http://origin.test:${on.http.port}/`;
    const controller = new AbortController();
    gate.open();
    const aborted = rejection(get(`${url}hang`, dispatcher, { signal: controller.signal }));
    await once(on.http.server, 'hanging');
    gate.close();
    // Both wait for the connection. When it is lost, undici opens another one.
    const later = delay(200);
    selections.push(Promise.resolve(), later);
    const errors = [1, 2].map(() => rejection(get(url, dispatcher)));
    await later;
    await turns(2);
    controller.abort();
    await aborted;
    for (const { cause } of await Promise.all(errors)) {
      expect(cause).toMatchObject({ code: 'ERR_SOCKS_TIMEOUT', detail: expect.stringMatching(/^300 ms/) });
    }
    await dispatcher.close();
  },
);

describe.each(rows)('over %s, with %s', (scheme, _, Agent) => {
  const options: SocksDispatcherOptions = { Agent, connect: { ca: CERTIFICATE } };
  const url = (): string => `${scheme}://origin.test:${scheme === 'http' ? on.http.port : on.h2.port}/`;

  test('a request that is sent again after an abort, in the same turn, uses the same attempt', async () => {
    await using gate = await startGate(on.proxy);
    const dispatcher = new SocksDispatcher(gate.url, { ...options, connections: 1 });
    const controller = new AbortController();
    const again = get(url(), dispatcher, { signal: controller.signal }).catch(() => get(url(), dispatcher));
    await gate.reached(1);
    controller.abort();
    // Two turns later the abort has had its effect.
    await turns(2);
    gate.open();
    expect(await again).toBe('hello');
    expect(gate.accepted).toBe(1);
    await dispatcher.close();
  });

  test('a request that comes while an attempt is being ended gets a connection', async () => {
    await using gate = await startGate(on.proxy);
    const dispatcher = new SocksDispatcher(gate.url, options);
    for (let microtasks = 0; microtasks < 12; microtasks++) {
      const controller = new AbortController();
      const before = gate.accepted;
      gate.close();
      const aborted = get(url(), dispatcher, { signal: controller.signal }).catch(
        (error: Error) => error.name,
      );
      await gate.reached(before + 1);
      controller.abort();
      expect(await aborted).toBe('AbortError');
      // The attempt is ended in this turn; its end takes some microtasks.
      await new Promise((resolve) => setImmediate(resolve));
      for (let i = 0; i < microtasks; i++) await Promise.resolve();
      gate.open();
      expect(await get(url(), dispatcher)).toBe('hello');
      await dispatcherIdle(dispatcher);
    }
    await dispatcher.close();

    async function dispatcherIdle(used: SocksDispatcher): Promise<void> {
      // A connection that is kept alive would answer the next request without an attempt.
      const disconnected = once(used, 'disconnect');
      for (const socket of gate.sockets) socket.destroy();
      await disconnected;
    }
  });

  test('parallel aborts end every attempt, and parallel requests after them are answered', async () => {
    await using gate = await startGate(on.proxy);
    const dispatcher = new SocksDispatcher(gate.url, { ...options, connections: 3 });
    const controller = new AbortController();
    const aborted = [1, 2, 3, 4, 5].map(() =>
      get(url(), dispatcher, { signal: controller.signal }).catch((error: Error) => error.name),
    );
    await gate.reached(1);
    controller.abort();
    expect(new Set(await Promise.all(aborted))).toEqual(new Set(['AbortError']));
    const pages = [1, 2, 3, 4, 5].map(() => get(url(), dispatcher));
    gate.open();
    expect(await Promise.all(pages)).toEqual(['hello', 'hello', 'hello', 'hello', 'hello']);
    await dispatcher.close();
  });

  test('one of two requests gets its page when the other one is aborted', async () => {
    await using gate = await startGate(on.proxy);
    const dispatcher = new SocksDispatcher(gate.url, { ...options, connections: 1 });
    const controller = new AbortController();
    const first = get(url(), dispatcher, { signal: controller.signal }).catch((error: Error) => error.name);
    const second = get(url(), dispatcher);
    await gate.reached(1);
    controller.abort();
    expect(await first).toBe('AbortError');
    await turns(2);
    gate.open();
    expect(await second).toBe('hello');
    expect(gate.accepted).toBe(1);
    await dispatcher.close();
  });

  test('a retry right after AbortSignal.timeout() succeeds', async () => {
    await using gate = await startGate(on.proxy);
    const dispatcher = new SocksDispatcher(gate.url, options);
    const again = get(url(), dispatcher, { signal: AbortSignal.timeout(20) }).catch((error: Error) => {
      gate.open();
      expect(error.name).toBe('TimeoutError');
      return get(url(), dispatcher);
    });
    expect(await again).toBe('hello');
    await dispatcher.close();
  });

  test('an abort ends its attempt while another request waits for a response on a connection of its own', async () => {
    await using gate = await startGate(on.proxy);
    gate.open();
    const site = scheme === 'http' ? on.http : on.h2;
    // Over HTTP/2 one connection serves all, so there is no second attempt.
    const dispatcher = new SocksDispatcher(gate.url, { ...options, allowH2: false });
    const hanging = once(site.server, 'hanging');
    const slow = get(`${url()}hang`, dispatcher);
    await hanging;
    gate.close();
    const controller = new AbortController();
    const aborted = get(url(), dispatcher, { signal: controller.signal }).catch((error: Error) => error.name);
    await gate.reached(2);
    controller.abort();
    expect(await aborted).toBe('AbortError');
    await gate.leftOpen(1);
    site.pending.pop()?.end('late');
    expect(await slow).toBe('late');
    await dispatcher.close();
  });
});

test.each([...undicis])(
  'a request that %s sends again on another connection gets one, also after an abort of another request',
  async (_, { Agent, request }) => {
    // The first connection is lost after the heads of two requests: undici fails the first one, and repeats the second.
    const site = createServer((socket) => {
      let heads = '';
      socket.on('error', () => {});
      socket.on('data', (chunk) => {
        heads += chunk.toString();
        const page = 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello';
        if (heads.endsWith('\r\n\r\n') && (lost || heads.includes('/first'))) {
          heads = '';
          socket.write(page);
        } else if (heads.includes('/1') && heads.includes('/2')) site.emit('both', socket);
      });
    });
    let lost = false;
    const origin = `http://any.test:${await listen(site)}`;
    const dispatcher = new SocksDispatcher(on.proxy.url, { Agent, connections: 1, pipelining: 2 });
    const controller = new AbortController();
    const read = (path: string, init: object = {}): Promise<string> =>
      request(`${origin}${path}`, { dispatcher, blocking: false, ...init })
        .then(({ body }) => body.text() as Promise<string>)
        .catch((error: Error) => error.name);
    // Only on a connection that has answered is a second request sent before the response to the first.
    expect(await read('/first')).toBe('hello');
    const both = once(site, 'both') as Promise<[Socket]>;
    const results = [read('/1'), read('/2')];
    const [socket] = await both;
    const third = read('/3', { signal: controller.signal });
    controller.abort();
    expect(await third).toBe('AbortError');
    await turns(2);
    lost = true;
    socket.destroy();
    expect(await Promise.all(results)).toEqual(['SocketError', 'hello']);
    await dispatcher.destroy();
    site.close();
  },
);

interface Gate extends AsyncDisposable {
  readonly url: string;
  readonly accepted: number;
  readonly sockets: ReadonlySet<Socket>;
  /** Forwards connections to the proxy, also those that wait. */
  open(): void;
  close(): void;
  reached(count: number): Promise<void>;
  leftOpen(count: number): Promise<void>;
}

/** In front of a proxy: while it is closed, connections are accepted and nothing is forwarded. */
async function startGate(proxy: RecordedProxy): Promise<Gate> {
  const sockets = new Set<Socket>();
  let waiting: (() => void)[] = [];
  let isOpen = false;
  let accepted = 0;
  const server: Server = createServer((socket) => {
    accepted++;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => {
      sockets.delete(socket);
      server.emit('closed');
    });
    // The socket is read at once, because otherwise its end is not reported.
    const early: Buffer[] = [];
    const keep = (chunk: Buffer): number => early.push(chunk);
    socket.on('data', keep);
    const forward = (): void => {
      const upstream = connect(proxy.port, '127.0.0.1');
      socket.off('data', keep);
      for (const chunk of early) upstream.write(chunk);
      upstream.on('error', () => socket.destroy()).on('close', () => socket.destroy());
      socket.on('close', () => upstream.destroy());
      socket.pipe(upstream).pipe(socket);
    };
    if (isOpen) forward();
    else waiting.push(forward);
  });
  const port = await listen(server);
  return {
    url: `socks5://127.0.0.1:${port}`,
    sockets,
    get accepted() {
      return accepted;
    },
    open() {
      isOpen = true;
      for (const forward of waiting) forward();
      waiting = [];
    },
    close() {
      isOpen = false;
    },
    async reached(count) {
      for (let now = accepted; now < count; now = accepted) await once(server, 'connection');
    },
    async leftOpen(count) {
      while (sockets.size > count) await once(server, 'closed');
    },
    [Symbol.asyncDispose]: () => stopListening(server, sockets),
  };
}
