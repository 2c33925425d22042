// Details in which a dispatcher is like the Agent of undici. Where possible, both get the same calls.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createHttp2Server } from 'node:http2';
import type { Server, Socket } from 'node:net';
import timers from 'node:timers';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { startScript } from '@socksify/server';
import { listen, rejection } from '@socksify/support';
import { afterEach, afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { SocksDispatcher } from '../src/index.ts';
import type { AgentLike, Handler, SocksDispatcherOptions } from '../src/index.ts';
import { agents } from './combinations.ts';
import { startForFile } from './file-servers.ts';
import { startSite } from './site.ts';
import { startHangingProxy, startProxy } from './recorded-proxy.ts';

const on = startForFile({ proxy: startProxy, http: () => startSite() });
/** Answers an upgrade and a CONNECT, and emits its side of the socket as `tunnel`. */
let tunnels: Server;
let tunnelPort: number;

beforeAll(async () => {
  tunnels = createServer();
  const accept =
    (head: string) =>
    (_: unknown, socket: Socket): void => {
      socket.on('error', () => {});
      socket.write(`HTTP/1.1 ${head}\r\n\r\n`);
      tunnels.emit('tunnel', socket);
    };
  tunnels.on('upgrade', accept('101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo'));
  tunnels.on('connect', accept('200 OK'));
  tunnelPort = await listen(tunnels);
});
afterAll(() => void tunnels.close());
afterEach(() => {
  vi.useRealTimers();
});

/** What a call throws, by name and code. */
const thrown = (call: () => unknown): unknown => {
  try {
    call();
    return 'nothing';
  } catch (error) {
    const { name, code } = error as { name: string; code?: string };
    return [name, code];
  }
};

describe.each(agents)('a dispatcher on %s', (name, Agent) => {
  const dispatchers = (options: SocksDispatcherOptions = {}): [AgentLike, SocksDispatcher] => [
    new Agent(),
    new SocksDispatcher(on.proxy.url, { Agent, ...options }),
  ];

  test.each(['upgrade', 'connect'] as const)(
    'returns a socket from %s() that survives a reset without a listener',
    async (method) => {
      const [own, dispatcher] = dispatchers();
      const counts: number[] = [];
      for (const each of [own, dispatcher]) {
        const accepted = once(tunnels, 'tunnel') as Promise<[Socket]>;
        const options = method === 'upgrade' ? { path: '/', protocol: 'echo' } : { path: 'any.test:443' };
        const { socket } = await each[method]({ origin: `http://127.0.0.1:${tunnelPort}`, ...options });
        counts.push(socket.listenerCount('error'));
        const [other] = await accepted;
        // Waits for the close without a listener for the error that comes before it.
        const closed = new Promise((resolve) => socket.once('close', resolve));
        socket.resume();
        other.resetAndDestroy();
        await closed;
      }
      expect(counts).toEqual([1, 1]);
      await Promise.all([own.destroy(), dispatcher.destroy()]);
    },
  );

  test('refuses wrong arguments with the errors of undici', async () => {
    const [own, dispatcher] = dispatchers();
    const handler = (errors: unknown[]): Handler => ({
      onConnect() {},
      onHeaders: () => true,
      onData: () => true,
      onComplete() {},
      onError: ({ name: kind, code }: Error & { code?: string }) => errors.push(kind, code),
      onRequestStart() {},
      onResponseStart() {},
      onResponseData() {},
      onResponseEnd() {},
      onResponseError: (_, { name: kind, code }: Error & { code?: string }) => errors.push(kind, code),
    });
    const outcomes = [own, dispatcher as AgentLike, dispatcher.compose() as AgentLike].map((each) => {
      const errors: unknown[] = [];
      const calls = [
        () => each.dispatch({ origin: 'http://any.test', path: '/', method: 'GET' }, null),
        () => each.dispatch({ origin: 'http://any.test', path: '/', method: 'GET' }, undefined),
        () => each.dispatch({ origin: 'http://any.test', path: '/', method: 'GET' }, 'handler'),
        () => each.dispatch({ origin: 'http://any.test', path: '/', method: 'GET' }, {}),
        () => each.dispatch({ origin: 'http://any.test', path: '/', method: 'GET' }, { onData: () => true }),
        () => each.close(5),
        () => each.destroy(null, 5),
        () => each.dispatch(null, handler(errors)),
        () => each.dispatch(undefined, handler(errors)),
        () => each.dispatch('options', handler(errors)),
        () => each.dispatch({ path: '/', method: 'GET' }, handler(errors)),
        () => each.dispatch({ origin: 'http://any.test', path: 'no slash', method: 'GET' }, handler(errors)),
        () => each.dispatch({ origin: 'http://any.test', path: '/', method: 5 }, handler(errors)),
        () =>
          each.dispatch({ origin: 'http://any.test', path: '/', method: 'GET', headers: 5 }, handler(errors)),
      ];
      return [calls.map(thrown), errors];
    });
    expect(outcomes[1]).toEqual(outcomes[0]);
    expect(outcomes[2]).toEqual(outcomes[0]);
    expect(outcomes[0]?.[1]).toHaveLength(14);
    await Promise.all([own.destroy(), dispatcher.destroy()]);
  });

  test('refuses close() after destroy(), and accepts every other order', async () => {
    const [own, dispatcher] = dispatchers();
    for (const each of [own, dispatcher]) {
      await each.destroy();
      expect(await rejection(each.close())).toMatchObject({ code: 'UND_ERR_DESTROYED' });
      await each.destroy();
    }
  });

  // Programs pass on `signal.reason`, which can be any value.
  test.each([undefined, null, 0, '', false] as any[])(
    'reports an abort with the reason %j as RequestAbortedError, and ends the handshake',
    async (reason) => {
      await using hanging = await startHangingProxy();
      const dispatcher = new SocksDispatcher(hanging.url, { Agent });
      const later = (abort: (reason: any) => void) => void nextTurn().then(() => abort(reason));
      const consumers: ((onError: (error: unknown) => void) => object)[] = [
        (onError) => ({ onConnect: later, onError }),
        (onError) => ({
          onRequestStart: (controller: any) => later((given) => controller.abort(given)),
          onResponseError: (_: unknown, error: unknown) => onError(error),
        }),
      ];
      for (const consumer of consumers) {
        const error = await new Promise((resolve) => {
          dispatcher.dispatch({ origin: 'http://any.test', path: '/', method: 'GET' }, consumer(resolve));
        });
        expect(error).toMatchObject({
          name: 'AbortError',
          code: 'UND_ERR_ABORTED',
          message: 'Request aborted',
        });
        await hanging.idle();
      }
      await dispatcher.close();
    },
  );

  test('has stats when the Agent has some', async () => {
    const [own, dispatcher] = dispatchers();
    const origin = `http://127.0.0.1:${on.http.port}`;
    const stats: any[] = [];
    for (const each of [own, dispatcher]) {
      const { body } = await each.request({ origin, path: '/', method: 'GET' });
      await body.text();
      await nextTurn();
      stats.push(each.stats);
    }
    expect(stats[1]).toEqual(stats[0]);
    await Promise.all([own.close(), dispatcher.close()]);
  });

  test('speaks HTTP/2 to an http origin with useH2c', async () => {
    const site = createHttp2Server((_, response) => response.end('hello'));
    const port = await listen(site);
    for (const options of [{ useH2c: true }, { connect: { useH2c: true } }]) {
      const dispatcher = new SocksDispatcher(on.proxy.url, { Agent, ...options });
      const request = { origin: `http://any.test:${port}`, path: '/', method: 'GET' };
      expect(await (await dispatcher.request(request)).body.text()).toBe('hello');
      await dispatcher.destroy();
    }
    site.close();
  });

  test('works under fake timers: shows early bytes, ends attempts on abort, and closes empty pools', async () => {
    const answer = Buffer.from('HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly').toString('hex');
    const server = await startScript([
      { read: 3 },
      { send: '0500' },
      { read: 10 },
      { send: `0500 0001 7f000001 0050 ${answer}` },
      { stall: true },
    ]);
    await using hanging = await startHangingProxy();
    // Timers that a module has read from node:timers at load stay real; those that it reads later are fake.
    const { setImmediate: own } = timers;
    vi.useFakeTimers({ toFake: ['setImmediate', 'clearImmediate'] });
    timers.setImmediate = globalThis.setImmediate;
    try {
      const dispatcher = new SocksDispatcher(server.url('socks5'), { Agent });
      const { body } = await dispatcher.request({ origin: 'http://127.0.0.1', path: '/', method: 'GET' });
      expect(await body.text()).toBe('early');
      const controller = new AbortController();
      const second = new SocksDispatcher(hanging.url, { Agent });
      const aborted = rejection(
        second.request({ origin: 'http://any.test', path: '/', method: 'GET', signal: controller.signal }),
      );
      await hanging.reached(1);
      controller.abort();
      expect(await aborted).toMatchObject({ name: 'AbortError' });
      await hanging.idle();
      await Promise.all([dispatcher.destroy(), second.destroy()]);
    } finally {
      timers.setImmediate = own;
      await server.close();
    }
  });

  test.each([{ socketPath: '/tmp/some.sock' }, { connect: { socketPath: '/tmp/some.sock' } }])(
    'refuses a Unix socket as the destination: %o',
    (options) => {
      expect(thrown(() => new SocksDispatcher(on.proxy.url, { Agent, ...options } as never))).toEqual([
        'TypeError',
        'ERR_INVALID_ARG_VALUE',
      ]);
    },
  );

  test('takes options that are undefined as not given', async () => {
    const names = [
      'connect',
      'Agent',
      'connectTimeout',
      'lookup',
      'tcp',
      'auth',
      'pipeline',
      'standby',
      'allowH2',
    ];
    const none = Object.fromEntries(
      [...names, 'maxOrigins', 'factory', 'connections'].map((key) => [key, undefined]),
    );
    const dispatcher = new SocksDispatcher(on.proxy.url, { ...none, Agent });
    const request = { origin: `http://any.test:${on.http.port}`, path: '/', method: 'GET' };
    expect([name, await (await dispatcher.request(request)).body.text()]).toEqual([name, 'hello']);
    await dispatcher.close();
  });
});
