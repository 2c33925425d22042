// createConnection(): called by a program itself, as mocks do for a request that they let pass; used by an agent of
// Node; and replaced in a subclass.

import { once } from 'node:events';
import http from 'node:http';
import type { IncomingMessage } from 'node:http';
import https from 'node:https';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { startScript, startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { CERTIFICATE, closed, startDestination, startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SocksAgent } from '../src/index.ts';

const names = { 'origin.test': '127.0.0.1' };
let site: Site;
let proxy: SocksServer;
beforeAll(async () => {
  [site, proxy] = await Promise.all([startSite(), startServer({ names })]);
});
afterAll(() => Promise.all([site.close(), proxy.close()]));

/** An agent of Node that takes its connections from another agent, whatever it has of its own. */
class Borrowing extends http.Agent {
  readonly #lender: SocksAgent;

  constructor(lender: SocksAgent, options: http.AgentOptions = {}) {
    super(options);
    this.#lender = lender;
  }

  override createConnection(
    options: object,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex {
    return this.#lender.createConnection(options, callback);
  }
}

const secure = (): object => ({
  host: 'origin.test',
  port: site.https,
  protocol: 'https:',
  ca: CERTIFICATE,
});

describe('createConnection() that a program calls itself', () => {
  test('returns a stream at once that is the tunnel as soon as it is open', async () => {
    const agent = new SocksAgent(proxy.url('socks5'));
    const stream = agent.createConnection({ host: 'origin.test', port: site.http });
    stream.end('GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n');
    let text = '';
    for await (const chunk of stream) text += String(chunk);
    expect(text).toMatch(/^HTTP\/1\.1 200 OK\r\n/);
    expect(text).toMatch(/hello/);
    expect(stream.destroyed).toBe(true);
  });

  test('gives the same stream to the callback, connected', async () => {
    const agent = new SocksAgent(proxy.url('socks5'));
    let returned: Duplex | undefined;
    const given = await new Promise<Duplex>((resolve, reject) => {
      returned = agent.createConnection({ host: 'origin.test', port: site.http }, (error, stream) =>
        error ? reject(error) : resolve(stream),
      );
    });
    expect(given).toBe(returned);
    expect((given as Socket).connecting).toBe(false);
    expect((given as Socket).address()).toMatchObject({ address: '127.0.0.1' });
    given.destroy();
    await once(given, 'close');
    await proxy.idle();
  });

  test('gives a TLSSocket for https, with what a socket knows of its peer', async () => {
    const agent = new SocksAgent(proxy.url('socks5'));
    const stream = await new Promise<Duplex>((resolve, reject) => {
      agent.createConnection(secure(), (error, socket) => (error ? reject(error) : resolve(socket)));
    });
    expect(stream).toBeInstanceOf(TLSSocket);
    expect(stream).toMatchObject({ authorized: true, encrypted: true });
    expect((stream as TLSSocket).getPeerCertificate().subject).toBeDefined();
    stream.destroy();
    await once(stream, 'close');
    await proxy.idle();
  });

  test('calls a selector once, with the destination', async () => {
    const calls: unknown[] = [];
    const agent = new SocksAgent((destination) => {
      calls.push(destination);
      return Promise.resolve(proxy.url('socks5'));
    });
    const stream = agent.createConnection({ host: 'origin.test', port: String(site.http) });
    await once(stream, 'connect');
    expect(calls).toEqual([{ host: 'origin.test', port: site.http, protocol: 'http:' }]);
    stream.destroy();
  });

  test.each([
    ['http', () => ({ host: 'unknown.test', port: 80 })],
    ['https', () => ({ host: 'unknown.test', port: 443, protocol: 'https:' })],
  ])('reports a failure for %s once: to the callback, else as error event', async (_, make) => {
    const agent = new SocksAgent(proxy.url('socks5'));
    const failed = { code: 'ERR_SOCKS_HOST_UNREACHABLE' };
    const errors: unknown[] = [];
    const stream = await new Promise<Duplex>((resolve) => {
      const created = agent.createConnection(make(), (error) => {
        errors.push(error);
        resolve(created);
      });
    });
    if (!stream.closed) await once(stream, 'close');
    expect(errors).toMatchObject([failed]);
    const [error] = (await once(agent.createConnection(make()), 'error')) as [Error];
    expect(error).toMatchObject(failed);
  });

  test('throws for TLS options that Node refuses, and leaves nothing open', async () => {
    const agent = new SocksAgent(proxy.url('socks5'));
    expect(() => agent.createConnection({ ...secure(), ciphers: 'bogus' })).toThrow();
    await proxy.idle();
  });

  test.each<[string, (stream: Duplex, agent: SocksAgent) => void]>([
    ['destroy() of the stream', (stream) => void stream.destroy()],
    ['destroy() of the agent', (_, agent) => agent.destroy()],
  ])('ends the handshake on %s', async (_, act) => {
    for (const more of [{}, { protocol: 'https:' }]) {
      const silent = await startScript([]);
      const agent = new SocksAgent(silent.url('socks5'));
      const stream = agent.createConnection({ host: 'origin.test', port: 80, ...more }).on('error', () => {});
      const connection = await silent.connection();
      act(stream, agent);
      await connection.closedByClient;
      await closed(stream);
      expect(stream.destroyed).toBe(true);
      await silent.close();
    }
  });
});

describe('createConnection() on an agent of Node', () => {
  test.each([
    ['http', http, () => ({ port: site.http })],
    ['https', https, () => ({ port: site.https, ca: CERTIFICATE })],
  ] as const)('carries %s requests, with keep-alive and timeouts', async (protocol, module, options) => {
    const lender = new SocksAgent(proxy.url('socks5'));
    const agent = new Borrowing(lender, { keepAlive: true, timeout: 5_000 });
    Object.assign(agent, { protocol: `${protocol}:` });
    const before = proxy.log.length;
    for (const reused of [false, true]) {
      const req = module.request({
        host: 'origin.test',
        agent,
        method: 'POST',
        timeout: 4_000,
        ...options(),
      });
      req.setNoDelay(true);
      req.setSocketKeepAlive(true);
      req.end('x'.repeat(200_000));
      const [res] = (await once(req, 'response')) as [IncomingMessage];
      let length = 0;
      for await (const chunk of res) length += (chunk as Buffer).length;
      expect(length).toBe(200_000);
      expect(req.reusedSocket).toBe(reused);
      await new Promise(setImmediate);
    }
    expect(proxy.log.length).toBe(before + 1);
    agent.destroy();
    await proxy.idle();
  });

  test('returns a stream that emits timeout after the timeout of the request', async () => {
    const silent = await startDestination((socket) => socket.resume().on('end', () => socket.end()));
    const agent = new Borrowing(new SocksAgent(proxy.url('socks5')));
    const { port } = silent;
    const req = http.get({ host: 'origin.test', port, agent, timeout: 30 }).on('error', () => {});
    await once(req, 'timeout');
    expect(req.destroyed).toBe(false);
    req.destroy();
    await closed(req);
    await proxy.idle();
    await silent.close();
  });
});

describe('createConnection() that a subclass replaces', () => {
  const REPLACEMENTS = {
    'returns a stream': (options: object) => connect(options as { port: number }),
    'calls back': (options: object, created: (error: null, stream: Duplex) => void) => {
      setImmediate(() => created(null, connect(options as { port: number })));
      return undefined;
    },
  };

  test.each(Object.entries(REPLACEMENTS))('opens no tunnel when it %s', async (_, create) => {
    class Replacing extends SocksAgent {
      override createConnection(
        options: object,
        created?: (error: Error | null, stream: Duplex) => void,
      ): Duplex {
        return create({ ...options, host: '127.0.0.1' }, created as never) as Duplex;
      }
    }
    const before = proxy.log.length;
    const agent = new Replacing(proxy.url('socks5'), { maxSockets: 1 });
    const sent = ['a', 'b'].map(async () => {
      const req = http.get({ host: 'origin.test', port: site.http, agent });
      req.on('response', (res) => res.resume());
      await once(req, 'close');
    });
    await Promise.all(sent);
    expect(proxy.log.length).toBe(before);
    agent.destroy();
  });

  test('throws its error from the request, as with Node, and the place in the pool is free again', async () => {
    class Throwing extends SocksAgent {
      broken = true;

      override createConnection(...given: Parameters<SocksAgent['createConnection']>): Duplex {
        if (this.broken) throw new Error('mine');
        return super.createConnection(...given);
      }
    }
    const agent = new Throwing(proxy.url('socks5'), { maxSockets: 1 });
    const get = () => http.get({ host: 'origin.test', port: site.http, agent });
    expect(get).toThrow('mine');
    expect(agent).toMatchObject({ totalSocketCount: 0, sockets: {} });
    agent.broken = false;
    const req = get();
    req.on('response', (res) => res.resume());
    await once(req, 'close');
    agent.destroy();
  });

  test('opens one tunnel for each request when it changes the options and calls the original', async () => {
    class Changing extends SocksAgent {
      override createConnection(
        options: object,
        created?: (error: Error | null, stream: Duplex) => void,
      ): Duplex {
        return super.createConnection({ ...options, host: 'origin.test' }, created);
      }
    }
    const agent = new Changing(proxy.url('socks5'), { keepAlive: true });
    const before = proxy.log.length;
    const req = http.get({ host: 'alias.test', port: site.http, agent });
    req.on('response', (res) => res.resume());
    await once(req, 'close');
    await new Promise(setImmediate);
    expect(proxy.log.slice(before)).toMatchObject([{ host: 'origin.test' }]);
    agent.destroy();
    await proxy.idle();
  });
});
