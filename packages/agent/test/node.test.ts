// The parts of Node that are not public and that src/node-http.ts uses: each test fails when Node renames or moves one. And
// the properties that requests of Node must keep.

import { once } from 'node:events';
import http from 'node:http';
import type { ClientRequest } from 'node:http';
import https from 'node:https';
import { Socket } from 'node:net';
import type { LookupFunction } from 'node:net';
import { fileURLToPath } from 'node:url';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { closed, outputOf, startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SocksAgent } from '../src/index.ts';
import {
  endRequest,
  failRequest,
  nodeHttpsAgent,
  moduleProtocol,
  nodeAgent,
  ownCheckMark,
  rewriteHead,
  silenceTimeout,
} from '../src/node-http.ts';
import type { ModuleOptions, NodeRequest } from '../src/node-http.ts';

const [MAJOR = 0] = process.versions.node.split('.').map(Number);

let site: Site;
let proxy: SocksServer;
beforeAll(async () => {
  [site, proxy] = await Promise.all([startSite(), startServer({ names: { 'origin.test': '127.0.0.1' } })]);
});
afterAll(() => Promise.all([site.close(), proxy.close()]));

/** A request that never gets a socket, and what Node gave its agent. */
function idle(options: https.RequestOptions = {}, module: typeof http | typeof https = http) {
  const given: ModuleOptions[] = [];
  const agent = {
    addRequest: (_req: ClientRequest, all: ModuleOptions) => void given.push(all),
    defaultPort: 80,
    protocol: module === http ? 'http:' : 'https:',
  } as unknown as http.Agent;
  const req = (module as typeof https).request({ host: 'origin.test', agent, ...options });
  return { req, options: given[0] ?? {} };
}

describe('Node still', () => {
  test('calls addRequest, createSocket and removeSocket of an agent', async () => {
    const calls: string[] = [];
    class Recording extends http.Agent {}
    for (const name of ['addRequest', 'createSocket', 'removeSocket'] as const) {
      Object.defineProperty(Recording.prototype, name, {
        value(this: object, ...given: [never, never, never]): unknown {
          calls.push(name);
          return nodeAgent[name].apply(this as never, given);
        },
      });
    }
    const agent = new Recording();
    const req = http.get({ host: '127.0.0.1', port: site.http, agent });
    req.on('response', (res) => res.resume());
    await once(req, 'close');
    if (req.socket) await closed(req.socket);
    expect(calls).toEqual(['addRequest', 'createSocket', 'removeSocket']);
  });

  test('counts sockets, and keeps them and the queue by name', async () => {
    const agent = new http.Agent({ maxSockets: 1 }) as http.Agent & { totalSocketCount: number };
    const requests = [1, 2].map(() =>
      http.get({ host: '127.0.0.1', port: site.http, agent }).on('error', () => {}),
    );
    const name = agent.getName({ host: '127.0.0.1', port: site.http });
    expect(agent.totalSocketCount).toBe(1);
    expect(agent.sockets[name]).toHaveLength(1);
    expect(agent.requests[name]).toEqual([requests[1]]);
    for (const req of requests) req.destroy();
    agent.destroy();
  });

  test('ends a request by onSocket(null, error)', async () => {
    const { req } = idle();
    const ended = closed(req);
    const error = new Error('mine');
    endRequest(req, error);
    expect(await once(req, 'error')).toEqual([error]);
    await ended;
    expect(req).toMatchObject({ destroyed: true, closed: true });
  });

  test('treats a request with _closed as closed', async () => {
    const { req } = idle();
    failRequest(req, null);
    expect(await once(req, 'error')).toEqual([null]);
    expect(req).toMatchObject({ destroyed: true, closed: true });
  });

  test('keeps the timeout option of a request in timeout, and its listener in timeoutCb', async () => {
    const agent = new http.Agent();
    const req: NodeRequest = http.get({ host: '127.0.0.1', port: site.http, agent, timeout: 5_000 });
    expect(req.timeout).toBe(5_000);
    const [socket] = (await once(req, 'socket')) as [Socket];
    const before = socket.listenerCount('timeout');
    silenceTimeout(req, socket);
    expect(socket.listenerCount('timeout')).toBe(before - 1);
    req.on('timeout', () => expect.fail('it was silenced'));
    socket.emit('timeout');
    req.on('error', () => {}).destroy();
    agent.destroy();
  });

  test('keeps the head in _header, and what was written in outputData', () => {
    const { req } = idle({ method: 'POST', headers: { expect: '100-continue' } });
    rewriteHead(req, (head) => head.replace('origin.test', 'other.test'));
    const { _header, outputData = [] }: NodeRequest = req;
    expect(_header).toContain('\r\nHost: other.test\r\n');
    expect(outputData.map(({ data }) => data).join('')).toContain('\r\nHost: other.test\r\n');
    req.on('error', () => {}).destroy();
  });

  test('marks a request with a checkServerIdentity of its own, from version 22 on', () => {
    const marked = idle({ checkServerIdentity: () => undefined }, https);
    expect(ownCheckMark(marked.options) !== undefined).toBe(MAJOR >= 22);
    expect(ownCheckMark(idle({}, https).options)).toBeUndefined();
    const mark = ownCheckMark(marked.options);
    if (mark === undefined) return;
    const agent = Object.assign(new https.Agent(), {});
    const kept = (socket: Socket): boolean => nodeHttpsAgent.keepSocketAlive.call(agent as never, socket);
    expect(kept(new Socket())).toBe(true);
    expect(kept(Object.assign(new Socket(), { [mark]: true }))).toBe(false);
  });

  test('names the module of an https request by _defaultAgent', () => {
    expect(moduleProtocol(idle({}, https).options)).toBe('https:');
    expect(moduleProtocol(idle().options) ?? 'http:').toBe('http:');
  });

  test('reads protocol, then defaultPort, of an agent, and the latter once', () => {
    const reads: string[] = [];
    const agent = new Proxy(new http.Agent(), {
      get(target, name: string) {
        if (['protocol', 'defaultPort'].includes(name)) reads.push(name);
        return name === 'addRequest' ? () => {} : (Reflect.get(target, name) as unknown);
      },
    });
    http
      .request({ host: 'origin.test', agent })
      .on('error', () => {})
      .destroy();
    expect(reads.filter((name) => name === 'defaultPort')).toHaveLength(1);
    expect(reads.at(-1)).toBe('defaultPort');
    expect(reads[0]).toBe('protocol');
  });
});

describe('a request', () => {
  const shape = (req: ClientRequest): unknown => ({
    enumerable: Object.keys(req).toSorted(),
    destroy: req.destroy === http.ClientRequest.prototype.destroy,
    setTimeout: req.setTimeout === http.ClientRequest.prototype.setTimeout,
    prototype: Object.getPrototypeOf(req) === http.ClientRequest.prototype,
  });

  test('has the properties and methods that it has with an agent of Node', async () => {
    const over = async (agent: http.Agent, host: string): Promise<unknown> => {
      const req = http.get({ host, port: site.http, agent });
      req.on('response', (res) => res.resume());
      await once(req, 'close');
      agent.destroy();
      return shape(req);
    };
    const expected = await over(new http.Agent(), '127.0.0.1');
    expect(await over(new SocksAgent(proxy.url('socks5')), 'origin.test')).toEqual(expected);
    expect(await over(new SocksAgent(() => Promise.resolve(proxy.url('socks5'))), 'origin.test')).toEqual(
      expected,
    );
  });

  test('stays a fast object after its socket was opened', async () => {
    const script = `
      import http from 'node:http';
      import https from 'node:https';
      import { once } from 'node:events';
      import { SocksAgent } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
      const routes = ['${proxy.url('socks5')}', () => Promise.resolve('${proxy.url('socks5')}')];
      for (const route of routes) {
        const agent = new SocksAgent(route, { keepAlive: true, maxSockets: 1 });
        for (let i = 0; i < 3; i++) {
          const sent = [1, 2].map(() => http.get({ host: 'origin.test', port: ${site.http}, agent, timeout: 9_000 }));
          for (const req of sent) req.on('response', (res) => res.resume());
          await Promise.all(sent.map((req) => once(req, 'close')));
          console.log(...sent.map((req) => %HasFastProperties(req)));
        }
        agent.destroy();
      }`;
    const stdout = await outputOf(
      process.execPath,
      ['--allow-natives-syntax', '--input-type=module', '--eval', script],
      { cwd: fileURLToPath(new URL('..', import.meta.url)) },
    );
    expect(stdout.trim().split('\n')).toEqual(Array(6).fill('true true'));
  });

  test('is not kept by the connection that it used', async () => {
    const script = `
      import http from 'node:http';
      import https from 'node:https';
      import { once } from 'node:events';
      import { SocksAgent } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
      class Copying extends SocksAgent {
        createConnection(options, created) {
          return super.createConnection({ ...options }, created);
        }
      }
      const agents = [SocksAgent, Copying].map((Agent) => new Agent('${proxy.url('socks5')}', { keepAlive: true }));
      const send = async (agent, get, port) => {
        const options = { host: 'origin.test', port, agent, rejectUnauthorized: false };
        const req = get(options, (res) => res.resume());
        await once(req, 'close');
        return new WeakRef(req);
      };
      const sent = await Promise.all(
        agents.flatMap((agent) => [send(agent, http.get, ${site.http}), send(agent, https.get, ${site.https})]),
      );
      for (let i = 0; i < 100 && sent.some((req) => req.deref()); i++) {
        await new Promise((resolve) => setImmediate(resolve));
        gc();
      }
      const kept = sent.map((req) => Number(Boolean(req.deref())));
      console.log(kept.join(), agents.flatMap(({ freeSockets }) => Object.values(freeSockets).flat()).length);
      for (const agent of agents) agent.destroy();`;
    const stdout = await outputOf(process.execPath, ['--expose-gc', '--input-type=module', '--eval', script]);
    expect(stdout.trim()).toBe('0,0,0,0 4');
  });

  test('keeps a method that the program gave it before its socket was opened', async () => {
    const agent = new SocksAgent(proxy.url('socks5'), { maxSockets: 1 });
    const options = { host: 'origin.test', port: site.http, agent, headers: { connection: 'close' } };
    const send = (): ClientRequest => http.get(options, (res) => res.resume());
    send();
    const queued = send();
    const own = queued.destroy.bind(queued);
    queued.destroy = own;
    await once(queued, 'close');
    expect(Object.values(queued)).toContain(own);
    agent.destroy();
  });

  test('keeps a wrapper that its destroy got while its socket was being opened', async () => {
    const agent = new SocksAgent(
      { version: 5, host: 'proxy.test', port: 1, dns: 'remote' },
      { lookup: () => {} },
    );
    const req = http.get({ host: 'origin.test', agent });
    const destroy = req.destroy.bind(req);
    let calls = 0;
    req.destroy = (...given) => {
      calls++;
      return destroy(...given);
    };
    req.destroy(new Error('mine'));
    expect(await once(req, 'error')).toMatchObject([{ message: 'mine' }]);
    req.destroy();
    expect(calls).toBe(2);
  });
});

describe('options for the dial', () => {
  const options = {
    localAddress: '127.0.0.2',
    hints: 0,
    family: 4,
    autoSelectFamily: false,
    highWaterMark: 12_345,
  } as http.RequestOptions;
  const lookup: LookupFunction = (_host, asked, done) => {
    seen.push(asked);
    if (asked.all) done(null, [{ address: '127.0.0.1', family: 4 }]);
    else done(null, '127.0.0.1', 4);
  };
  const seen: object[] = [];

  test.each([
    ['a request', options, {}],
    ['an agent', {}, options],
  ])('count when they are those of %s', async (_, ofRequest, ofAgent) => {
    seen.length = 0;
    const agent = new SocksAgent({ version: 5, host: 'proxy.test', port: proxy.port, dns: 'remote' }, {
      lookup,
      ...ofAgent,
    } as object);
    const free = await new Promise<number>((resolve) => {
      const probe = http.createServer().listen(0, '127.0.0.2', () => {
        const { port } = probe.address() as { port: number };
        probe.close(() => resolve(port));
      });
    });
    const req = http.get({
      host: 'origin.test',
      port: site.http,
      agent,
      localPort: free,
      ...ofRequest,
    } as object);
    const [socket] = (await once(req, 'socket')) as [Socket];
    expect(socket).toMatchObject({ localAddress: '127.0.0.2', localPort: free });
    expect(socket.writableHighWaterMark).toBe(12_345);
    expect(seen).toMatchObject([{ family: 4, hints: 0 }]);
    expect(seen[0]).not.toHaveProperty('all', true);
    req.on('response', (res) => res.resume());
    await once(req, 'close');
    agent.destroy();
  });
});
