// Nothing is lost against Node's own agents: every scenario runs with http.Agent or https.Agent directly, and with
// SocksAgent through the reference server. What requests, responses, sockets, agent and site saw has to be equal.
//
// Inherent differences, and so not recorded:
// - A request gets its socket when the tunnel is open: the socket's own `lookup`, `connect` and `secureConnect` are over
// by then, `checkServerIdentity` has been called, and the site has a connection. A request whose socket cannot be
// opened fails without a `socket` event.
// - A TLS alert of the server is `ERR_SSL_*` here and `write EPROTO` there, since Node has the request waiting then.
// - `abort` and `close` of a request that is aborted in the turn in which it was made come in another order.
// - A TLS session is kept until a handshake with it fails; https.Agent drops it after any error of its socket. So over
// TLS, resets and errors are recorded here with `maxCachedSessions: 0`.
// - TLS options that Node refuses throw there, and are the request's `error` here; it is the same error. With a
// `servername` that is not a name, https.Agent leaves the socket open, which is not recorded.
// - A request that waited for a place in the pool has its events in its own async context here. There it has them in
//   the context of the request that left the place, unless it gets the socket of that request. test/context.test.ts has
//   the cases.
// - `agent: false` keeps the TLS options of the global agent here, and has the defaults of Node there.

import { AsyncLocalStorage } from 'node:async_hooks';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import type { ClientRequest, IncomingMessage, RequestOptions, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AgentOptions } from 'node:https';
import type { Server, Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { CERTIFICATE, closed as closedOf, listen, stopListening, TLS } from '@socksify/support';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SocksAgent } from '../src/index.ts';

type Options = RequestOptions & https.RequestOptions & { ALPNProtocols?: string[] };

const context = new AsyncLocalStorage<string>();

/** One run of a scenario: an agent, a site, and what happens. */
class Run {
  readonly events: string[] = [];
  readonly site: Site;
  readonly #protocol: 'http' | 'https';
  readonly #proxy: string | undefined;
  #agent: http.Agent | undefined;

  constructor(protocol: 'http' | 'https', site: Site, proxy: string | undefined) {
    this.site = site;
    this.#protocol = protocol;
    this.#proxy = proxy;
  }

  note(...parts: unknown[]): void {
    const name = context.getStore();
    if (name !== undefined && name !== parts[0]) parts.push('in the context of', name);
    this.events.push(parts.map(String).join(' '));
  }

  /** The agent: with options that go to both kinds. */
  agent(options: AgentOptions = {}): http.Agent {
    const all = { ca: CERTIFICATE, ...options };
    const { Agent } = this.#protocol === 'http' ? http : https;
    this.#agent = this.#proxy === undefined ? new Agent(all) : new SocksAgent(this.#proxy, all);
    return this.#agent;
  }

  /** As `send()`, in an async context of that name; an event in another context is recorded with that one's name. */
  sendIn(name: string, options: Options = {}): ClientRequest {
    return context.run(name, () => this.send(name, options));
  }

  /** Acts while the agent is the global one of its module. */
  async asGlobal(options: AgentOptions, act: () => Promise<unknown>): Promise<void> {
    const module: { globalAgent: http.Agent } = this.#protocol === 'http' ? http : https;
    const before = module.globalAgent;
    module.globalAgent = this.agent({ protocol: `${this.#protocol}:`, ...options } as AgentOptions);
    try {
      await act();
    } finally {
      module.globalAgent = before;
    }
  }

  /** A request whose events are recorded under its name. */
  send(name: string, options: Options = {}, body?: string | null): ClientRequest {
    const { request } = this.#protocol === 'http' ? http : https;
    const agent = this.#agent ?? this.agent();
    const req = request({ host: 'localhost', port: this.site.port, agent, ...options });
    this.watch(name, req);
    if (body !== null) req.end(body);
    return req;
  }

  watch(name: string, req: ClientRequest): void {
    req.on('socket', () => this.note(name, 'socket', req.reusedSocket ? 'reused' : 'new'));
    req.on('information', ({ statusCode }) => this.note(name, 'information', statusCode));
    for (const event of ['continue', 'timeout', 'abort', 'close'] as const)
      req.on(event, () => this.note(name, event));
    req.on('error', (error: NodeJS.ErrnoException) =>
      this.note(name, 'error', error.name, ...describe(error)),
    );
    req.on('response', (res: IncomingMessage) => {
      let length = 0;
      this.note(name, 'response', res.statusCode);
      res.on('data', (chunk: Buffer) => (length += chunk.length));
      res.on('end', () => this.note(name, 'end', length));
      res.on('aborted', () => this.note(name, 'aborted'));
      res.on('error', (error: NodeJS.ErrnoException) => this.note(name, 'response error', error.code));
      res.on('close', () => this.note(name, 'response close', res.complete));
    });
  }

  /** A request from its start to its close. */
  async fetch(name: string, options: Options = {}, body?: string): Promise<ClientRequest> {
    const req = this.send(name, options, body);
    await closed(req);
    return req;
  }

  end(): void {
    this.#agent?.destroy();
  }
}

/** When a request is over; and its socket, if it is kept, back in the pool. */
async function closed(req: ClientRequest): Promise<void> {
  await closedOf(req);
  await new Promise(setImmediate);
}

function describe({ code, message }: NodeJS.ErrnoException): unknown[] {
  const [alert] = /SSL alert number \d+/.exec(message) ?? [];
  return alert ? [alert] : [code, message];
}

/** @types/node does not declare the count. */
type CountingAgent = http.Agent & { readonly totalSocketCount: number };

interface Site {
  readonly port: number;
  readonly server: Server;
  readonly sockets: Socket[];
  readonly secured: string[];
}

/** Milliseconds in which a busy machine still opens a tunnel: where timeouts fire, they have to fire on the socket. */
const PATIENCE = 1_000;

const LARGE = Buffer.alloc(300_000, 'x');

function serve(server: Server, req: IncomingMessage, res: ServerResponse): void {
  const url = new URL(req.url ?? '/', 'http://any.test');
  switch (url.pathname) {
    case '/echo':
      req.pipe(res);
      return;
    case '/status':
      res.writeHead(Number(url.searchParams.get('code'))).end();
      return;
    case '/hang':
      server.emit('hanging');
      return;
    case '/reset':
      req.socket.resetAndDestroy();
      return;
    case '/hangup':
      req.socket.destroy();
      return;
    case '/close':
      res.setHeader('connection', 'close').end('bye');
      return;
    case '/keep-alive':
      res.setHeader('keep-alive', `timeout=${url.searchParams.get('timeout')}`).end('kept');
      return;
    case '/large':
      res.end(LARGE);
      return;
    case '/hints':
      res.writeEarlyHints({ link: '</a.css>; rel=preload' });
      res.end('hinted');
      return;
    case '/partial':
      res.writeHead(200, { 'content-length': '100' });
      res.write('some', () => req.socket.destroy());
      return;
    case '/drip':
      res.writeHead(200);
      res.write('first');
      return;
    default:
      req.resume().on('end', () => res.end('hello'));
  }
}

async function startSite(protocol: 'http' | 'https', options: https.ServerOptions = {}): Promise<Site> {
  const listener = (req: IncomingMessage, res: ServerResponse): void => serve(server, req, res);
  const server: Server =
    protocol === 'http' ? http.createServer(listener) : https.createServer({ ...TLS, ...options }, listener);
  const sockets: Socket[] = [];
  const secured: string[] = [];
  server.on('connection', (socket: Socket) => sockets.push(socket.on('error', () => {})));
  server.on('secureConnection', (socket: TLSSocket & { servername: string | false }) => {
    socket.on('error', () => {});
    const client = socket.getPeerCertificate().subject?.CN;
    secured.push(
      `sni=${socket.servername} alpn=${socket.alpnProtocol} ${socket.getProtocol()} reused=${socket.isSessionReused()} client=${String(client)}`,
    );
  });
  server.on('upgrade', (_req, socket: Socket) => {
    socket.write('HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nhead');
    socket.pipe(socket);
  });
  server.on('connect', (_req, socket: Socket) => {
    socket.write('HTTP/1.1 200 Established\r\n\r\n');
    socket.pipe(socket);
  });
  server.on('tlsClientError', () => {});
  return { port: await listen(server, 'localhost'), server, sockets, secured };
}

let proxy: SocksServer;
beforeAll(async () => {
  proxy = await startServer({ names: { localhost: ['127.0.0.1', '::1'] } });
});
afterAll(() => proxy.close());

interface Scenario {
  readonly name: string;
  readonly act: (run: Run) => Promise<void> | void;
  readonly only?: 'http' | 'https';
  readonly server?: https.ServerOptions;
  /** True if the order in which unrelated requests proceed is the network's. */
  readonly unordered?: boolean;
  /** True if it waits for a timeout of {@link PATIENCE}. */
  readonly patient?: boolean;
  /** False if the number of connections is another by nature. */
  readonly connections?: boolean;
}

async function record(
  protocol: 'http' | 'https',
  { act, server, unordered, connections = true }: Scenario,
  url: string | undefined,
): Promise<string[]> {
  const site = await startSite(protocol, server);
  const run = new Run(protocol, site, url);
  try {
    await act(run);
    if (connections) run.note('the site saw', site.sockets.length, 'connections', site.secured.join('; '));
  } finally {
    run.end();
    await stopListening(site.server, site.sockets);
  }
  return unordered ? run.events.toSorted() : run.events;
}

const all = (run: Run, names: readonly string[], options: Options = {}): Promise<unknown> =>
  Promise.all(names.map((name) => run.fetch(name, options)));

const pools = (run: Run, agent: http.Agent): void => {
  const count = (lists: NodeJS.ReadOnlyDict<unknown[]>): number =>
    Object.values(lists).reduce((sum, list) => sum + (list?.length ?? 0), 0);
  run.note('pool', count(agent.sockets), count(agent.freeSockets), count(agent.requests));
};

/** When the socket of a request is closed: then it has left the pool. */
const socketClosed = async (req: ClientRequest): Promise<void> => {
  const { socket } = req;
  if (socket) await closedOf(socket);
  await new Promise(setImmediate);
};

const SCENARIOS: readonly Scenario[] = [
  {
    name: 'keep-alive reuses the socket',
    async act(run) {
      const agent = run.agent({ keepAlive: true });
      for (const name of ['a', 'b', 'c']) await run.fetch(name);
      pools(run, agent);
    },
  },
  {
    name: 'no keep-alive closes it',
    async act(run) {
      const agent = run.agent();
      for (const name of ['a', 'b']) await run.fetch(name);
      pools(run, agent);
    },
  },
  {
    name: 'Connection: close of the server',
    async act(run) {
      const agent = run.agent({ keepAlive: true });
      for (const name of ['a', 'b']) await socketClosed(await run.fetch(name, { path: '/close' }));
      pools(run, agent);
    },
  },
  {
    name: 'Connection: close of the client',
    async act(run) {
      const agent = run.agent({ keepAlive: true });
      for (const name of ['a', 'b'])
        await socketClosed(await run.fetch(name, { headers: { connection: 'close' } }));
      pools(run, agent);
    },
  },
  {
    name: 'maxSockets 1 takes one after the other',
    async act(run) {
      run.agent({ keepAlive: true, maxSockets: 1 });
      await all(run, ['a', 'b', 'c']);
    },
  },
  {
    name: 'maxSockets 1 without keep-alive',
    unordered: true,
    async act(run) {
      run.agent({ maxSockets: 1 });
      await all(run, ['a', 'b', 'c']);
    },
  },
  {
    name: 'maxSockets 2',
    unordered: true,
    async act(run) {
      const agent = run.agent({ keepAlive: true, maxSockets: 2 });
      const sent = ['a', 'b', 'c', 'd'].map((name) => run.send(name));
      run.note('queued', Object.values(agent.requests).flat().length);
      await Promise.all(sent.map(closed));
      pools(run, agent);
    },
  },
  {
    name: 'maxTotalSockets 1 over two names of the site',
    unordered: true,
    async act(run) {
      run.agent({ maxTotalSockets: 1 });
      await Promise.all([run.fetch('a'), run.fetch('b', { host: '127.0.0.1' }), run.fetch('c')]);
    },
  },
  {
    name: 'maxFreeSockets 1 keeps one',
    unordered: true,
    async act(run) {
      const agent = run.agent({ keepAlive: true, maxFreeSockets: 1 });
      await Promise.all(['a', 'b', 'c'].map((name) => run.send(name)).map(async (req) => closed(req)));
      run.note('free', Object.values(agent.freeSockets).flat().length);
    },
  },
  ...(['lifo', 'fifo'] as const).map(
    (scheduling): Scenario => ({
      name: `scheduling ${scheduling}`,
      async act(run) {
        run.agent({ keepAlive: true, scheduling });
        const first = run.send('first', { path: '/echo', method: 'POST' }, null);
        const second = run.send('second', { path: '/echo', method: 'POST' }, null);
        for (const req of [first, second]) if (!req.socket) await once(req, 'socket');
        const sockets = [first.socket, second.socket];
        for (const req of [first, second]) {
          req.end();
          await closed(req);
        }
        const third = run.send('third');
        await once(third, 'socket');
        run.note('took', sockets.indexOf(third.socket));
        await closed(third);
        run.events.sort();
      },
    }),
  ),
  {
    name: 'the timeout of the agent closes an idle socket',
    patient: true,
    async act(run) {
      const agent = run.agent({ keepAlive: true, timeout: PATIENCE });
      const req = await run.fetch('a');
      await socketClosed(req);
      pools(run, agent);
      await run.fetch('b');
    },
  },
  {
    name: 'the timeout of the agent is that of a request',
    patient: true,
    async act(run) {
      run.agent({ timeout: PATIENCE });
      const req = run.send('a', { path: '/hang' });
      await once(req, 'timeout');
      req.destroy();
      await closed(req);
    },
  },
  {
    name: 'the server closes an idle socket',
    async act(run) {
      run.agent({ keepAlive: true });
      const req = await run.fetch('a');
      run.site.sockets[0]?.end();
      await socketClosed(req);
      await run.fetch('b');
    },
  },
  {
    name: 'the server resets an idle socket',
    async act(run) {
      run.agent({ keepAlive: true, maxCachedSessions: 0 });
      const req = await run.fetch('a');
      run.site.sockets[0]?.resetAndDestroy();
      await socketClosed(req);
      await run.fetch('b');
    },
  },
  { name: 'the server hangs up', act: async (run) => void (await run.fetch('a', { path: '/hangup' })) },
  {
    name: 'the server hangs up on a reused socket',
    async act(run) {
      run.agent({ keepAlive: true });
      await run.fetch('a');
      const req = await run.fetch('b', { path: '/hangup' });
      run.note(req.reusedSocket);
    },
  },
  {
    name: 'the server resets',
    only: 'http',
    act: async (run) => void (await run.fetch('a', { path: '/reset' })),
  },
  ...['1', '5'].map(
    (timeout): Scenario => ({
      name: `a keep-alive hint of ${timeout} s`,
      async act(run) {
        const agent = run.agent({ keepAlive: true, timeout: 60_000 });
        await run.fetch('a', { path: `/keep-alive?timeout=${timeout}` });
        const [free] = Object.values(agent.freeSockets).flat();
        run.note('timeout', free?.timeout);
        await run.fetch('b');
      },
    }),
  ),
  {
    name: 'HEAD, 204 and 304 keep the socket',
    async act(run) {
      run.agent({ keepAlive: true });
      await run.fetch('head', { method: 'HEAD' });
      await run.fetch('204', { path: '/status?code=204' });
      await run.fetch('304', { path: '/status?code=304' });
    },
  },
  {
    name: 'a chunked upload',
    async act(run) {
      const req = run.send('a', { method: 'POST', path: '/echo' }, null);
      for (let i = 0; i < 50; i++) req.write('chunk of an upload');
      req.end();
      await closed(req);
    },
  },
  {
    name: 'Expect: 100-continue',
    async act(run) {
      const req = run.send('a', { method: 'POST', path: '/echo', headers: { expect: '100-continue' } }, null);
      await once(req, 'continue');
      req.end('body');
      await closed(req);
    },
  },
  {
    name: '103 Early Hints',
    async act(run) {
      await run.fetch('a', { path: '/hints' });
    },
  },
  ...(['upgrade', 'connect'] as const).map(
    (event): Scenario => ({
      name: event === 'upgrade' ? 'an upgrade' : 'the method CONNECT',
      async act(run) {
        const agent = run.agent({ keepAlive: true, maxSockets: 1 });
        const options =
          event === 'upgrade'
            ? { headers: { connection: 'upgrade', upgrade: 'echo' } }
            : { method: 'CONNECT', path: 'localhost:80' };
        const req = run.send('a', options);
        const [res, socket, head] = (await once(req, event)) as [IncomingMessage, Socket, Buffer];
        run.note(event, res.statusCode, head.toString());
        pools(run, agent);
        const echoed = once(socket, 'data');
        socket.write('echo');
        run.note(String((await echoed)[0]));
        socket.destroy();
        await closed(req);
        await run.fetch('b');
      },
    }),
  ),
  {
    name: 'large bodies, four at a time',
    unordered: true,
    async act(run) {
      run.agent({ keepAlive: true, maxSockets: 4 });
      await all(run, Array.from('abcdefghijkl'), { path: '/large' });
    },
  },
  {
    name: 'a response that breaks off',
    async act(run) {
      await run.fetch('a', { path: '/partial' });
    },
  },
  {
    name: 'destroyed before the socket',
    async act(run) {
      const req = run.send('a');
      req.destroy();
      await closed(req);
    },
  },
  {
    name: 'destroyed with an error before the socket',
    async act(run) {
      const req = run.send('a');
      req.destroy(Object.assign(new Error('mine'), { code: 'MINE' }));
      await closed(req);
    },
  },
  {
    name: 'aborted before the socket',
    async act(run) {
      const req = run.send('a');
      req.abort();
      await closed(req);
      run.events.sort();
    },
  },
  ...[undefined, Object.assign(new Error('mine'), { code: 'MINE' })].flatMap((error): Scenario[] => [
    {
      name: `destroyed at the socket${error ? ' with an error' : ''}`,
      connections: false,
      async act(run) {
        const req = run.send('a');
        await once(req, 'socket');
        req.destroy(error);
        await closed(req);
      },
    },
    {
      name: `destroyed at the response${error ? ' with an error' : ''}`,
      async act(run) {
        const req = run.send('a', { path: '/drip' });
        req.once('response', (res: IncomingMessage) => res.once('data', () => req.destroy(error)));
        await closed(req);
      },
    },
  ]),
  {
    name: 'a response destroyed',
    async act(run) {
      const req = run.send('a', { path: '/drip' });
      const [res] = (await once(req, 'response')) as [IncomingMessage];
      res.destroy();
      await closed(req);
    },
  },
  {
    name: 'a signal that is aborted already',
    async act(run) {
      await run.fetch('a', { signal: AbortSignal.abort() });
    },
  },
  {
    name: 'a signal aborted while the server hangs',
    async act(run) {
      const abort = new AbortController();
      const req = run.send('a', { path: '/hang', signal: abort.signal });
      await once(run.site.server, 'hanging');
      abort.abort();
      await closed(req);
    },
  },
  {
    name: 'agent.destroy() while the server hangs',
    async act(run) {
      const agent = run.agent({ keepAlive: true });
      const req = run.send('a', { path: '/hang' });
      await once(run.site.server, 'hanging');
      agent.destroy();
      await closed(req);
      await run.fetch('b');
    },
  },
  {
    name: 'agent.destroy() ends idle sockets, and the agent stays usable',
    async act(run) {
      const agent = run.agent({ keepAlive: true });
      const req = await run.fetch('a');
      agent.destroy();
      await socketClosed(req);
      pools(run, agent);
      await run.fetch('b');
    },
  },
  ...(['option', 'method'] as const).map(
    (how): Scenario => ({
      name: `a timeout, set by ${how}`,
      patient: true,
      async act(run) {
        const req = run.send('a', { path: '/hang', ...(how === 'option' && { timeout: PATIENCE }) });
        if (how === 'method') req.setTimeout(PATIENCE);
        await once(req, 'timeout');
        req.destroy();
        await closed(req);
      },
    }),
  ),
  {
    name: 'a timeout on a reused socket',
    patient: true,
    async act(run) {
      run.agent({ keepAlive: true });
      await run.fetch('a');
      const req = run.send('b', { path: '/hang', timeout: PATIENCE });
      await once(req, 'timeout');
      req.destroy();
      await closed(req);
    },
  },
  {
    name: 'the events of the agent',
    async act(run) {
      const agent = run.agent({ keepAlive: true });
      agent.on('free', (_, options: Options) => run.note('free', options.host));
      await run.fetch('a');
      await run.fetch('b');
    },
  },
  {
    name: 'a request destroyed in the queue',
    async act(run) {
      run.agent({ keepAlive: true, maxSockets: 1 });
      const first = run.send('a');
      const second = run.send('b');
      const third = run.send('c');
      second.destroy();
      await Promise.all([first, second, third].map(closed));
      run.events.sort();
    },
  },

  {
    name: 'names and counts of pools while sockets are being opened, and after',
    connections: false,
    async act(run) {
      const agent = run.agent({ keepAlive: true, maxSockets: 2 }) as CountingAgent;
      const states: string[] = [];
      const state = (moment: string): void => {
        for (const list of ['sockets', 'freeSockets', 'requests'] as const) {
          for (const [name, members = []] of Object.entries(agent[list]))
            states.push(
              `${moment}: ${list} ${name.replaceAll(String(run.site.port), 'PORT')} ${members.length}`,
            );
        }
        states.push(`${moment}: total ${agent.totalSocketCount}`);
      };
      const options = [{}, {}, {}, { host: '127.0.0.1' }, { localAddress: '127.0.0.1', family: 4 }];
      const sent = options.map((each, i) => run.send(String(i), each));
      state('at once');
      await Promise.resolve();
      state('a turn later');
      await Promise.all(sent.map(closed));
      state('in the end');
      run.events.push(...states);
      run.events.sort();
    },
  },
  {
    name: 'counts when sockets are destroyed that are being opened',
    connections: false,
    async act(run) {
      const agent = run.agent({ maxSockets: 1 }) as CountingAgent;
      const sent = ['a', 'b', 'c'].map((name) => run.send(name));
      for (const socket of Object.values(agent.sockets).flat()) socket?.destroy();
      await Promise.all(sent.map(closed));
      for (const req of sent) await socketClosed(req);
      run.events.splice(0, Infinity, ...run.events.filter((event) => event !== 'a socket new').toSorted());
      run.note('total', agent.totalSocketCount, Object.keys(agent.sockets).length);
    },
  },
  {
    name: 'the async context of every event',
    unordered: true,
    patient: true,
    async act(run) {
      run.agent();
      const sent = ['/', '/hangup', '/partial', '/large', '/close'].map((path) => run.sendIn(path, { path }));
      const slow = run.sendIn('slow', { path: '/hang', timeout: PATIENCE });
      slow.on('timeout', () => slow.destroy());
      const destroyed = run.sendIn('destroyed');
      context.run('another', () => destroyed.destroy());
      await Promise.all([...sent, slow, destroyed].map(closed));
      expect(run.events.filter((event) => event.includes('context'))).toEqual([]);
    },
  },
  {
    name: 'the async context of every event of requests that wait for a kept socket',
    async act(run) {
      run.agent({ maxSockets: 1, keepAlive: true });
      await Promise.all(['a', 'b', 'c'].map((name) => run.sendIn(name)).map(closed));
      expect(run.events.filter((event) => event.includes('context'))).toEqual([]);
    },
  },
  {
    name: 'agent: false with a global agent',
    async act(run) {
      await run.asGlobal({ keepAlive: true, maxSockets: 1, timeout: 60_000 }, async () => {
        const req = run.send('a', { agent: false, ca: CERTIFICATE });
        const { agent } = req as unknown as {
          agent: http.Agent & { keepAlive: boolean; options: AgentOptions };
        };
        run.note('connection', req.getHeader('connection'), req.shouldKeepAlive);
        run.note('agent', agent.keepAlive, agent.maxSockets, agent.maxFreeSockets, agent.options.timeout);
        await closed(req);
        await run.fetch('b', { agent: false, ca: CERTIFICATE });
        await run.fetch('c', { agent: undefined });
      });
    },
  },
  ...(['host', 'port'] as const).map(
    (name): Scenario => ({
      name: `the ${name} of the agent counts, not that of the request`,
      async act(run) {
        const right = { host: 'localhost', port: run.site.port };
        run.agent({ [name]: right[name] });
        const wrong = { ...right, servername: 'localhost', [name]: name === 'host' ? 'wrong.test' : 1 };
        const req = await run.fetch('a', wrong);
        run.note(String(req.getHeader('host')).replace(String(run.site.port), 'PORT'));
      },
    }),
  ),
  ...[2 ** 31, 2 ** 32].map(
    (timeout): Scenario => ({
      name: `timeouts of ${timeout} milliseconds`,
      async act(run) {
        run.agent({ timeout, keepAlive: true });
        for (const name of ['a', 'b']) await run.fetch(name);
        const req = run.send('c', { timeout });
        req.setTimeout(timeout + 1);
        await closed(req);
      },
    }),
  ),
  ...(['5000', -1, Infinity, true, [], NaN, ''] as unknown[]).map(
    (timeout): Scenario => ({
      name: `a timeout of type ${typeof timeout}: ${String(timeout)}`,
      connections: false,
      async act(run) {
        const attempt = async (act: () => unknown): Promise<void> => {
          try {
            await act();
          } catch (error) {
            run.note((error as NodeJS.ErrnoException).code, (error as Error).message);
          }
        };
        run.agent({ timeout } as AgentOptions);
        await attempt(() => run.fetch('a'));
        run.agent();
        await attempt(() => run.fetch('b', { timeout } as Options));
        const req = run.send('c');
        await attempt(() => req.setTimeout(timeout as number));
        req.destroy();
        await closed(req);
        run.note('done');
      },
    }),
  ),

  // TLS.
  ...Object.entries({
    ciphers: 'bogus',
    minVersion: 'x',
    cert: 'none',
    key: 'none',
    pfx: 'none',
    secureContext: {},
    ecdhCurve: 'bogus',
    ALPNProtocols: [5],
  }).map(
    ([name, value]): Scenario => ({
      name: `${name} that Node refuses`,
      only: 'https',
      connections: false,
      async act(run) {
        const given = { [name]: value };
        for (const [of, request] of [[given], [{}, given]] as [AgentOptions, Options?][]) {
          const agent = run.agent(of) as CountingAgent;
          let failure: unknown;
          try {
            [failure] = (await once(run.send('a', request), 'error')) as [Error];
          } catch (error) {
            failure = error;
          }
          await new Promise(setImmediate);
          run.events.splice(0, Infinity, ...run.events.filter((event) => !event.startsWith('a ')));
          const { name: kind, code, message } = failure as NodeJS.ErrnoException;
          run.note(kind, code, message, agent.totalSocketCount, Object.values(agent.sockets).flat().length);
        }
      },
    }),
  ),
  {
    name: 'the name of the host is the server name',
    only: 'https',
    act: async (run) => void (await run.fetch('a')),
  },
  {
    name: 'servername, from the option',
    only: 'https',
    act: async (run) => void (await run.fetch('a', { servername: 'given.test' })),
  },
  {
    name: 'servername, from the option of the agent',
    only: 'https',
    async act(run) {
      run.agent({ servername: 'given.test' });
      await run.fetch('a');
    },
  },
  {
    name: 'servername, from the Host header',
    only: 'https',
    act: async (run) => void (await run.fetch('a', { headers: { host: 'header.test' } })),
  },
  {
    name: 'no server name for an address',
    only: 'https',
    act: async (run) => void (await run.fetch('a', { host: '127.0.0.1' })),
  },
  ...[undefined, ['http/1.1'], ['spdy/3', 'http/1.1']].map(
    (ALPNProtocols): Scenario => ({
      name: `ALPN ${ALPNProtocols?.join(', ') ?? 'by default'}`,
      only: 'https',
      async act(run) {
        const req = run.send('a', { ...(ALPNProtocols && { ALPNProtocols }) });
        const [socket] = (await once(req, 'socket')) as [TLSSocket];
        await once(req, 'response');
        run.note('alpn', socket.alpnProtocol);
        await closed(req);
      },
    }),
  ),
  {
    name: 'a client certificate',
    only: 'https',
    server: { requestCert: true, ca: CERTIFICATE },
    async act(run) {
      run.agent({ ...TLS });
      await run.fetch('a');
    },
  },
  {
    name: 'a client certificate of one request',
    only: 'https',
    server: { requestCert: true, ca: CERTIFICATE, rejectUnauthorized: false },
    async act(run) {
      run.agent({ keepAlive: true });
      await run.fetch('a', { ...TLS });
      await run.fetch('b');
      await run.fetch('c', { ...TLS });
    },
  },
  {
    name: 'a client certificate that is missing',
    only: 'https',
    server: { requestCert: true, ca: CERTIFICATE, maxVersion: 'TLSv1.2' },
    act: (run) => withoutSocketEvent(run, 'a'),
  },
  {
    name: 'a CA that is missing',
    only: 'https',
    async act(run) {
      run.agent({ ca: [] });
      await withoutSocketEvent(run, 'a');
    },
  },
  {
    name: 'a certificate for another name',
    only: 'https',
    act: (run) => withoutSocketEvent(run, 'a', { servername: 'other.test' }),
  },
  {
    name: 'rejectUnauthorized: false',
    only: 'https',
    async act(run) {
      run.agent({ ca: [], rejectUnauthorized: false });
      const req = run.send('a', { servername: 'other.test' });
      await once(req, 'response');
      const { authorized, authorizationError } = req.socket as TLSSocket;
      run.note(authorized, authorizationError);
      await closed(req);
    },
  },
  {
    name: 'checkServerIdentity that refuses',
    only: 'https',
    act: (run) =>
      withoutSocketEvent(run, 'a', {
        checkServerIdentity: (host, { subject }) =>
          Object.assign(new Error(`${host} is not ${String(subject.CN)}`), { code: 'MINE' }),
      }),
  },
  {
    name: 'checkServerIdentity of one request is called each time',
    only: 'https',
    async act(run) {
      run.agent({ keepAlive: true });
      for (const name of ['a', 'b']) {
        const req = await run.fetch(name, {
          checkServerIdentity: (host) => {
            run.note(name, 'checks', host);
            return undefined;
          },
        });
        if (Object.values((req as unknown as { agent: http.Agent }).agent.freeSockets).length === 0)
          await socketClosed(req);
      }
      await run.fetch('c');
      run.events.sort();
    },
  },
  {
    name: 'checkServerIdentity of the agent is called once',
    only: 'https',
    async act(run) {
      run.agent({
        keepAlive: true,
        checkServerIdentity: (host) => {
          run.note('checks', host);
          return undefined;
        },
      });
      for (const name of ['a', 'b']) await run.fetch(name);
      run.events.sort();
    },
  },
  {
    name: 'minVersion above what the server has',
    only: 'https',
    server: { maxVersion: 'TLSv1.2' },
    act: (run) => withoutSocketEvent(run, 'a', { minVersion: 'TLSv1.3' }),
  },
  {
    name: 'a server that ends in the TLS handshake',
    only: 'https',
    async act(run) {
      run.site.server.removeAllListeners('connection');
      run.site.server.on('connection', (socket: Socket) => socket.resume().end());
      await withoutSocketEvent(run, 'a');
    },
  },
  {
    name: 'a server that resets in the TLS handshake',
    only: 'https',
    async act(run) {
      run.site.server.removeAllListeners('connection');
      run.site.server.on('connection', (socket: Socket) =>
        socket.once('data', () => socket.resetAndDestroy()),
      );
      await withoutSocketEvent(run, 'a');
    },
  },
  ...(['TLSv1.2', 'TLSv1.3'] as const).flatMap((maxVersion): Scenario[] => {
    const resumed = async (run: Run, name: string, options: Options = {}): Promise<void> => {
      const req = run.send(name, options);
      const [res] = (await once(req, 'response')) as [IncomingMessage];
      run.note(name, 'resumed', (req.socket as TLSSocket).isSessionReused());
      res.resume();
      await closed(req);
      await socketClosed(req);
    };
    return [
      {
        name: `a session is resumed with ${maxVersion}`,
        only: 'https',
        server: { maxVersion },
        async act(run) {
          run.agent();
          for (const name of ['a', 'b', 'c']) await resumed(run, name);
        },
      },
      {
        name: `maxCachedSessions: 0 with ${maxVersion}`,
        only: 'https',
        server: { maxVersion },
        async act(run) {
          run.agent({ maxCachedSessions: 0 });
          for (const name of ['a', 'b']) await resumed(run, name);
        },
      },
      {
        name: `maxCachedSessions: 1 with ${maxVersion}`,
        only: 'https',
        server: { maxVersion },
        async act(run) {
          run.agent({ maxCachedSessions: 1 });
          for (const host of ['localhost', '127.0.0.1', '127.0.0.1', 'localhost'])
            await resumed(run, host, { host });
        },
      },
      {
        name: `no session for other TLS options with ${maxVersion}`,
        only: 'https',
        server: { maxVersion },
        async act(run) {
          run.agent();
          await resumed(run, 'a');
          await resumed(run, 'b', { rejectUnauthorized: false });
          await resumed(run, 'c', { servername: 'given.test' });
        },
      },
      {
        name: `keylog with ${maxVersion}`,
        only: 'https',
        server: { maxVersion },
        async act(run) {
          const agent = run.agent();
          agent.on('keylog', (line: Buffer, socket: TLSSocket) =>
            run.note('keylog', line.toString().split(' ')[0], socket.encrypted),
          );
          await run.fetch('a');
          const lines = run.events.filter((event) => event.startsWith('keylog'));
          run.events.splice(
            0,
            Infinity,
            ...run.events.filter((event) => !event.startsWith('keylog')),
            ...lines,
          );
        },
      },
    ];
  }),
  {
    name: 'what a socket knows of its peer',
    only: 'https',
    async act(run) {
      const req = run.send('a');
      await once(req, 'response');
      const socket = req.socket as TLSSocket;
      const { raw } = socket.getPeerCertificate();
      run.note(
        socket.authorized,
        socket.encrypted,
        new X509Certificate(raw).subject,
        socket.getCipher().name,
      );
      run.note(socket.getProtocol(), socket.getPeerCertificate(true).subject.CN);
      await closed(req);
    },
  },
];

/** A request that fails before there is a socket: its `socket` event is the one inherent difference. */
async function withoutSocketEvent(run: Run, name: string, options: Options = {}): Promise<void> {
  await run.fetch(name, options);
  run.events.splice(0, Infinity, ...run.events.filter((event) => !event.endsWith('socket new')));
}

for (const protocol of ['http', 'https'] as const) {
  const rows = (patience: boolean) =>
    SCENARIOS.filter(({ only = protocol, patient = false }) => only === protocol && patient === patience).map(
      (scenario) => [scenario.name, scenario] as const,
    );
  test.each(rows(false))(`SocksAgent behaves like ${protocol}.Agent: %s`, async (_, scenario) => {
    const before = proxy.log.length;
    const direct = await record(protocol, scenario, undefined);
    expect(proxy.log.length).toBe(before);
    const tunnelled = await record(protocol, scenario, proxy.url('socks5'));
    expect(tunnelled).toEqual(direct);
    expect(direct.length).toBeGreaterThan(1);
  });

  // Each of these waits for a timeout twice, so they wait together.
  test.concurrent.each(rows(true))(`SocksAgent behaves like ${protocol}.Agent: %s`, async (_, scenario) => {
    const [direct, tunnelled] = await Promise.all([
      record(protocol, scenario, undefined),
      record(protocol, scenario, proxy.url('socks5')),
    ]);
    expect(tunnelled).toEqual(direct);
    expect(direct.length).toBeGreaterThan(1);
  });
}
