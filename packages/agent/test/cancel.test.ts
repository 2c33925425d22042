// Whatever ends a request while its socket is being opened also ends the look-up, the dial, the handshake or TLS, and the
// request has the events that it has with https.Agent and a server that does not answer.

import { once } from 'node:events';
import https from 'node:https';
import type { Agent, ClientRequest } from 'node:http';
import type { Socket } from 'node:net';
import { startScript, startServer } from '@socksify/server';
import type { ScriptStep } from '@socksify/server';
import { CERTIFICATE, closed, deferred, startDestination, startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SocksAgent } from '../src/index.ts';

interface Ending {
  readonly options?: object;
  /** @param timedOut resolves at the `timeout` event of the request, which may come before this is called */
  readonly act: (
    req: ClientRequest,
    agent: Agent,
    abort: AbortController,
    timedOut: Promise<unknown>,
  ) => Promise<void> | void;
}

const mine = Object.assign(new Error('mine'), { code: 'MINE' });

const ENDINGS: Readonly<Record<string, Ending>> = {
  'req.destroy()': { act: (req) => void req.destroy() },
  'req.destroy(error)': { act: (req) => void req.destroy(mine) },
  'req.abort()': { act: (req) => req.abort() },
  'a signal': { act: (_req, _agent, abort) => abort.abort() },
  'a signal with a reason': { act: (_req, _agent, abort) => abort.abort(mine) },
  'agent.destroy()': { act: (_, agent) => agent.destroy() },
  'the option timeout': {
    options: { timeout: 40 },
    act: async (req, _agent, _abort, timedOut) => {
      await timedOut;
      req.destroy();
    },
  },
};

async function ending(agent: Agent, under: object, { options, act }: Ending, ready: () => Promise<unknown>) {
  const events: unknown[] = [];
  const abort = new AbortController();
  const req = https.get({ host: 'localhost', agent, signal: abort.signal, ...under, ...options });
  req.on('error', ({ name, code, message, cause }: NodeJS.ErrnoException) =>
    events.push({ name, code, message, cause }),
  );
  req.on('timeout', () => events.push('timeout'));
  const timedOut = new Promise((resolve) => req.once('timeout', resolve));
  req.on('abort', () => events.push('abort'));
  await ready();
  await act(req, agent, abort, timedOut);
  await closed(req);
  expect(req.destroyed).toBe(true);
  return events;
}

/** What https.Agent does before a server that accepts and stays silent. */
async function direct(how: Ending): Promise<unknown[]> {
  const silent = await startDestination((socket) => socket.resume());
  const agent = new https.Agent();
  try {
    return await ending(agent, { host: '127.0.0.1', port: silent.port }, how, () =>
      once(silent.server, 'connection'),
    );
  } finally {
    agent.destroy();
    await silent.close();
  }
}

const noAuth: readonly ScriptStep[] = [{ read: 3 }, { send: '05 00' }];
// 05 01 00 03 09 "localhost" 01 bb
const reply: readonly ScriptStep[] = [...noAuth, { read: 16 }, { send: '05 00 00 01 00000000 0000' }];

/** Where it hangs, and how many bytes the proxy has then. */
const PHASES: Readonly<
  Record<string, readonly [scheme: string, script: readonly ScriptStep[], bytes: number]>
> = {
  'TLS to the proxy': ['socks5s', [], 1],
  'the greeting': ['socks5', [], 3],
  'the reply': ['socks5', noAuth, 3 + 16],
  'the middle of the reply': ['socks5', [...noAuth, { read: 16 }, { send: '05 00 00 01' }], 3 + 16],
  'TLS to the destination': ['socks5', reply, 3 + 16 + 1],
  'a SOCKS4 reply': ['socks4a', [], 9],
};

describe.each(Object.entries(ENDINGS))('%s', (_, how) => {
  test.each(Object.entries(PHASES))(
    'ends a request during %s as it does with https.Agent',
    async (__, [scheme, script, bytes]) => {
      const proxy = await startScript([...script, { read: bytes > 19 ? 1 : 0 }]);
      const agent = new SocksAgent(proxy.url(scheme));
      try {
        const ready = async (): Promise<void> => {
          const connection = await proxy.connection();
          while (connection.received.length < bytes) await new Promise(setImmediate);
        };
        expect(await ending(agent, {}, how, ready)).toEqual(await direct(how));
        await (await proxy.connection()).closedByClient;
        expect(proxy.connections).toHaveLength(1);
      } finally {
        await proxy.close();
      }
    },
  );

  test('ends a request during the look-up as it does with https.Agent', async () => {
    const { promise: started, resolve: began } = deferred<void>();
    const lookup = (): void => began();
    const agent = new SocksAgent({ version: 5, host: '127.0.0.1', port: 1, dns: 'local' });
    const ready = (): Promise<void> => started.then(() => new Promise(setImmediate));
    expect(await ending(agent, { lookup }, how, ready)).toEqual(await direct(how));
  });
});

test('req.setTimeout() counts from the call, in the handshake too', async () => {
  const proxy = await startScript([]);
  const agent = new SocksAgent(proxy.url('socks5'));
  const req = https.get({ host: 'localhost', agent }).on('error', () => {});
  let calls = 0;
  req.setTimeout(10_000, () => calls++);
  req.setTimeout(30);
  await once(req, 'timeout');
  req.destroy();
  await closed(req);
  expect(calls).toBe(1);
  await (await proxy.connection()).closedByClient;
  await proxy.close();
});

describe('before a site that answers', () => {
  let site: Site;
  beforeAll(async () => {
    site = await startSite();
  });
  afterAll(() => site.close());

  const get = async (agent: Agent, options: object = {}): Promise<ClientRequest> => {
    const req = https.get({ host: 'origin.test', port: site.https, agent, ca: CERTIFICATE, ...options });
    req.on('response', (res) => res.resume());
    await new Promise<void>((resolve, reject) => req.on('close', resolve).on('error', reject));
    return req;
  };

  test('a timeout in the handshake is emitted once, and the request can continue', async () => {
    const held: (() => void)[] = [];
    const server = await startServer({ names: { 'origin.test': '127.0.0.1' } });
    const agent = new SocksAgent(
      { version: 5, host: 'proxy.test', port: server.port, dns: 'remote' },
      {
        lookup: (_host, _options, done) =>
          void held.push(() => done(null, [{ address: '127.0.0.1', family: 4 }])),
      },
    );
    const req = https.get({ host: 'origin.test', port: site.https, agent, ca: CERTIFICATE, timeout: 30 });
    let timeouts = 0;
    req.on('timeout', () => timeouts++);
    req.on('response', (res) => res.resume());
    await once(req, 'timeout');
    held[0]?.();
    const [socket] = (await once(req, 'socket')) as [Socket];
    expect(socket.timeout).toBe(30);
    socket.emit('timeout');
    await once(req, 'close');
    expect(timeouts).toBe(1);
    agent.destroy();
    await server.close();
  });

  test('a request keeps no replaced method', async () => {
    const server = await startServer({ names: { 'origin.test': '127.0.0.1' } });
    const agent = new SocksAgent(server.url('socks5'));
    const req = await get(agent);
    expect(Object.keys(req)).not.toContain('destroy');
    expect(Object.keys(req)).not.toContain('setTimeout');
    await server.close();
  });

  test('the agent works after destroy(), and so do the requests in its queue', async () => {
    const server = await startServer({ names: { 'origin.test': '127.0.0.1' } });
    const agent = new SocksAgent(server.url('socks5'), { maxSockets: 1 });
    const first = get(agent);
    const second = get(agent);
    agent.destroy();
    await expect(first).rejects.toMatchObject({ code: 'ECONNRESET', message: 'socket hang up' });
    await second;
    await get(agent);
    agent.destroy();
    await server.idle();
    await server.close();
  });
});
