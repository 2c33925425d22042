// From the dial to the hand-over a connection has one owner: after any failure the connection is closed, the caller
// gets one rejection, and no error is uncaught.

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { Duplex, duplexPair } from 'node:stream';
import { CERTIFICATE, startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { startScript, startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { connect, SocksClient } from '../src/index.ts';
import type { AuthMethod, ConnectOptions, ProxyRoute, SecureOptions, Step, Tunnel } from '../src/index.ts';
import { IN_ORDER, runProgram, send, startPlay, SUCCESS } from './peers.ts';

let web: Site;
let server: SocksServer;
beforeAll(async () => {
  web = await startSite();
  server = await startServer({ names: { 'echo.test': '127.0.0.1' } });
});
afterAll(async () => {
  await server.close();
  await web.close();
});

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

const site = () => ({ host: 'echo.test', port: web.https });
async function rejection(attempt: Promise<Tunnel>): Promise<Error & { code?: string }> {
  let tunnel: Tunnel;
  try {
    tunnel = await attempt;
  } catch (error) {
    return error as Error;
  }
  tunnel.socket.destroy();
  return expect.unreachable('it succeeded');
}

describe('TLS options that Node refuses', () => {
  // The options of the SecureContext are read before anything is dialled.
  test.each<[string, object]>([
    ['ciphers', { ciphers: 'bogus' }],
    ['minVersion', { minVersion: 'x' }],
    ['maxVersion', { maxVersion: 'TLSv9' }],
    ['cert', { cert: 'none' }],
    ['key', { key: 'none' }],
    ['pfx', { pfx: Buffer.from('none') }],
    ['ca', { ca: 5 }],
    ['sigalgs', { sigalgs: 'nope' }],
    ['ecdhCurve', { ecdhCurve: 'nope' }],
    ['crl', { crl: 'none' }],
  ])('%s: reject with the error of Node, and nothing is dialled', async (_, tls) => {
    const script = await startScript(SUCCESS);
    closing.push(() => script.close());
    const error = await rejection(connect(script.url('socks5'), { host: '127.0.0.1', port: 443 }, { tls }));
    expect(error.code ?? '').not.toMatch(/^ERR_SOCKS/);
    expect(script.connections).toHaveLength(0);
  });

  test.each<[string, object]>([
    ['servername', { servername: 1 }],
    ['secureContext', { secureContext: {} }],
    ['ALPNProtocols', { ALPNProtocols: ['x'.repeat(256)] }],
    ['checkServerIdentity', { checkServerIdentity: 'yes' }],
    ['minDHSize', { minDHSize: 0 }],
  ])('%s: reject, and the connection is closed', async (_, tls) => {
    const given = { ca: CERTIFICATE, ...tls } as SecureOptions;
    const error = await rejection(connect(server.url('socks5'), site(), { tls: given }));
    expect(error.code ?? '').not.toMatch(/^ERR_SOCKS/);
    await server.idle();
    await rejection(connect(() => undefined, { host: '127.0.0.1', port: web.https }, { tls: given }));
  });

  test.each(['checkServerIdentity', 'servername', 'session', 'ca', 'minVersion', 'secureContext'])(
    '%s: undefined was not given',
    async (name) => {
      const other = name === 'ca' ? { rejectUnauthorized: false } : { ca: CERTIFICATE };
      const tls = { ...other, [name]: undefined } as SecureOptions;
      const { socket } = await connect(server.url('socks5'), site(), { tls });
      expect(socket.readyState).toBe('open');
      socket.destroy();
      await server.idle();
    },
  );

  test('those of the proxy reject before anything is dialled, or close what was dialled', async () => {
    const script = await startScript([{ stall: true }]);
    closing.push(() => script.close());
    for (const tls of [{ ciphers: 'bogus' }, { servername: 1 }, { minDHSize: -1 }]) {
      const proxy = { version: 5, host: '127.0.0.1', port: script.port, dns: 'remote', tls } as never;
      expect(await rejection(connect(proxy, site()))).toBeInstanceOf(Error);
    }
    await Promise.all(script.connections.map(({ closedByClient }) => closedByClient));
  });

  test('leave nothing behind that keeps the process alive, or ends it when the other side resets', async () => {
    const resetting = createServer((socket) => {
      socket.on('error', () => {});
      setTimeout(() => socket.resetAndDestroy(), 50);
    }).listen(0, '127.0.0.1');
    closing.push(() => resetting.close());
    await once(resetting, 'listening');
    const { port } = resetting.address() as AddressInfo;
    const program = `
      const [, url, port] = process.argv;
      const { connect, SocksClient } = core;
      const bad = [{ servername: 1 }, { secureContext: {} }, { ciphers: 'bogus' }, { ALPNProtocols: 5 }];
      let failed = 0;
      for (const tls of bad) {
        for (const connectOne of [connect.bind(null, url), (...args) => new SocksClient(url).connect(...args)]) {
          await connectOne({ host: '127.0.0.1', port: Number(port) }, { tls }).catch(() => failed++);
        }
      }
      if (process.getActiveResourcesInfo().some((kind) => kind === 'TCPSocketWrap')) {
        await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
      }
      const open = process.getActiveResourcesInfo().filter((kind) => kind === 'TCPSocketWrap');
      if (open.length > 0) throw new Error(open.length + ' sockets are open');
    `;
    expect(await runProgram(program, [server.url('socks5'), port])).toEqual(IN_ORDER);
  });
});

describe('what the caller runs on the open socket', () => {
  const refuse = () => {
    throw new RangeError('no');
  };
  test.each<[string, ConnectOptions]>([
    ['prepare()', { prepare: refuse }],
    ['prepare() over TLS', { prepare: refuse, tls: { ca: CERTIFICATE } }],
    ['onSocket()', { tls: { ca: CERTIFICATE, onSocket: refuse } }],
  ])('%s that throws closes the tunnel, and rejects with just that', async (_, options) => {
    expect(await rejection(connect(server.url('socks5'), site(), options))).toBeInstanceOf(RangeError);
    await server.idle();
    expect(await rejection(new SocksClient(server.url('socks5')).connect(site(), options))).toBeInstanceOf(
      RangeError,
    );
    await server.idle();
  });

  test('prepare() that destroys the socket rejects the call', async () => {
    const prepare = (socket: Socket) => void socket.destroy();
    expect(await rejection(connect(server.url('socks5'), site(), { prepare }))).toBeInstanceOf(Error);
    await server.idle();
  });

  test('prepare() that throws closes a direct connection too', async () => {
    const direct = createServer().listen(0, '127.0.0.1');
    closing.push(() => direct.close());
    await once(direct, 'listening');
    const accepted = once(direct, 'connection') as Promise<[Socket]>;
    const { port } = direct.address() as AddressInfo;
    const attempt = connect(() => undefined, { host: '127.0.0.1', port }, { prepare: refuse });
    expect(await rejection(attempt)).toBeInstanceOf(RangeError);
    const [socket] = await accepted;
    await once(socket.resume(), 'end');
  });
});

describe('a proxy that resets', () => {
  // The program is busy while the reset arrives, so that it comes between two steps of the handshake.
  const program = `
    const [, url, kind] = process.argv;
    const busy = (ms) => { for (const until = performance.now() + ms; performance.now() < until;); };
    const method = { id: 0x80, *authenticate() {
      busy(3);
      yield { write: Uint8Array.of(1) };
      if (kind === 'two writes') { busy(3); yield { write: Uint8Array.of(2) }; }
      if (kind === 'wait') yield { wait: new Promise((resolve) => setImmediate(() => { busy(3); resolve(); })) };
    } };
    for (let i = 0; i < 30; i++) {
      const attempt = core.connect(url, { host: '127.0.0.1', port: 80 }, { auth: [method] });
      const error = await attempt.then(({ socket }) => socket.destroy(), (error) => error);
      if (error.code && error.code !== 'ERR_SOCKS_PROXY_CLOSED') throw error;
    }
  `;

  test.each(['one write', 'two writes', 'wait'])(
    'behind its METHOD reply, with a method that ends in %s, rejects the call and nothing more',
    async (kind) => {
      const proxy = await startPlay(async (socket, read) => {
        await read(3);
        socket.write(Buffer.from('0580', 'hex'), () => socket.resetAndDestroy());
      });
      closing.push(proxy.close);
      expect(await runProgram(program, [proxy.url, kind])).toEqual(IN_ORDER);
    },
  );

  test.each<[string, string, string]>([
    ['the METHOD reply', '0500', ''],
    ['its reply', '0500', '05000001000000000000'],
    ['half of its reply', '0500', '05000001'],
    ['its refusal', '0500', '0505'],
    ['the answer to a chain', '0500', '05000001000000000000'],
  ])('after %s rejects the call, or is an error of the socket for its owner', async (what, method, reply) => {
    const proxy = await startPlay(async (socket, read) => {
      await read(3);
      socket.write(Buffer.from(method, 'hex'));
      if (reply) await read(10);
      socket.write(Buffer.from(reply, 'hex'), () => socket.resetAndDestroy());
    });
    closing.push(proxy.close);
    const source = `
      const [, url, chain] = process.argv;
      const busy = (ms) => { for (const until = performance.now() + ms; performance.now() < until;); };
      for (let i = 0; i < 30; i++) {
        const attempt = core.connect(chain ? [url, url] : url, { host: '127.0.0.1', port: 80 });
        setImmediate(() => { busy(2); setImmediate(() => busy(2)); });
        await attempt.then(({ socket }) => socket.on('error', () => {}).destroy(), (error) => {
          if (!error.code?.startsWith('ERR_SOCKS_')) throw error;
        });
      }
    `;
    expect(await runProgram(source, [proxy.url, what.endsWith('chain') ? 'chain' : ''])).toEqual(IN_ORDER);
  });
});

describe('a socket that is handed in is closed', () => {
  const destination = { host: 'echo.test', port: 80 };
  const url = 'socks5://proxy.test';
  const throwing: ProxyRoute = () => {
    throw new Error('no proxy today');
  };
  const cases: [string, unknown, unknown, object?][] = [
    ['a host that is not valid', url, { host: 'a b', port: 80 }],
    ['a host that is missing', url, { port: 80 }],
    ['no destination', url, undefined],
    ['a port out of range', url, { host: 'h', port: 0 }],
    ['a port that is no number', url, { host: 'h', port: {} }],
    ['a proxy of another scheme', 'http://proxy.test', destination],
    ['a proxy that is null', null, destination],
    ['an empty chain', [], destination],
    ['a chain with a bad proxy behind a good one', [url, 'socks9://h'], destination],
    ['a timeout that is not valid', url, destination, { timeout: -1 }],
    ['a timeout that is text', url, destination, { timeout: '5000' }],
    ['a signal that is none', url, destination, { signal: {} }],
    ['an aborted signal', url, destination, { signal: AbortSignal.abort() }],
    ['an auth that is not valid', url, destination, { auth: 'none' }],
    ['a lookup that is none', url, destination, { lookup: 'x' }],
    ['tcp options that are none', url, destination, { tcp: 5 }],
    ['a pipeline that is neither true nor false', url, destination, { pipeline: 'yes' }],
    ['a prepare that is none', url, destination, { prepare: 'x' }],
    ['TLS options that are none', url, destination, { tls: true }],
    ['TLS options that Node refuses', url, destination, { tls: { ciphers: 'bogus' } }],
    ['required credentials that are missing', url, destination, { auth: 'required' }],
    ['a destination that SOCKS4 cannot carry', 'socks4://proxy.test', { host: '::1', port: 80 }],
    ['a selector that throws', throwing, destination],
    ['a selector that rejects', () => Promise.reject(new Error('no proxy today')), destination],
    ['a selector that gives nonsense', () => 5, destination],
    ['a selector that never answers', () => new Promise(() => {}), destination, { timeout: 5 }],
    ['a selector that wants a direct connection', () => undefined, destination],
    ['a selector that comes to want a direct connection', async () => undefined, destination],
    ['a chain that is direct', url, destination, { chain: 'direct' }],
    [
      'a look-up that fails',
      'socks4://proxy.test',
      destination,
      { lookup: (_: string, __: object, done: (e: Error) => void) => done(new Error('no')) },
    ],
  ];

  test.each(cases)('once, after %s', async (_, route, to, options) => {
    for (const call of ['connect', 'client'] as const) {
      const [socket, other] = duplexPair();
      const destroy = vi.spyOn(socket, 'destroy');
      const given = { ...options, socket } as ConnectOptions;
      const attempt =
        call === 'connect'
          ? connect(route as ProxyRoute, to as never, given)
          : (async () => new SocksClient(route as ProxyRoute).connect(to as never, given))();
      const error = await rejection(attempt);
      // A client whose constructor throws has not been given the socket.
      if (call === 'client' && !given.socket?.destroyed && error.code === 'ERR_SOCKS_INVALID_PROXY') continue;
      expect(socket.destroyed).toBe(true);
      expect(destroy).toHaveBeenCalledOnce();
      expect(other.readableLength).toBe(0);
    }
  });

  test('by a client that was closed', async () => {
    const client = new SocksClient(url);
    await client.close();
    const [socket] = duplexPair();
    await rejection(client.connect(destination, { socket }));
    expect(socket.destroyed).toBe(true);
  });

  test('and no later error of it is uncaught', async () => {
    const socket = new Duplex({ destroy: (_error, done) => done(new Error('late')), read() {}, write() {} });
    const closed = new Promise((resolve) => socket.once('close', resolve));
    await rejection(connect(url, { host: '', port: 80 }, { socket }));
    await closed;
    expect(socket.errored).toMatchObject({ message: 'late' });
  });

  test('and nothing is uncaught in a process without handlers', async () => {
    const silent = await startPlay(() => {});
    closing.push(silent.close);
    const source = `
      import { connect } from 'node:net';
      const [, port] = process.argv;
      const bad = [{ timeout: -1 }, { signal: {} }, { auth: 'x' }, { tls: { cert: 'x' } }, { timeout: 20 }];
      for (const options of bad) {
        const socket = connect(Number(port), '127.0.0.1');
        await core.connect('socks5://h', { host: 'a', port: 1 }, { ...options, socket }).then(() => { throw 1; }, () => {});
        if (!socket.destroyed) throw new Error(JSON.stringify(options));
      }
    `;
    expect(await runProgram(source, [silent.port])).toEqual(IN_ORDER);
  });

  test.each<[string, unknown]>([
    ['an empty object', {}],
    ['text', 'x'],
    ['a half of a stream', { read() {}, destroy() {} }],
    ['null', null],
  ])('but %s is not a socket, and is refused', async (_, socket) => {
    expect(await rejection(connect(url, destination, { socket: socket as Duplex }))).toMatchObject({
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_VALUE',
      message: expect.stringContaining('socket') as string,
    });
  });

  test('also if it is refused because it reads text, has ended, or is destroyed', async () => {
    const [reading] = duplexPair();
    reading.setEncoding('utf8');
    const [objects] = [new Duplex({ objectMode: true, read() {}, write() {} })];
    for (const socket of [reading, objects]) {
      expect(await rejection(connect(url, destination, { socket }))).toMatchObject({
        code: 'ERR_INVALID_ARG_VALUE',
      });
      expect(socket.destroyed).toBe(true);
    }
    const [ended, far] = duplexPair();
    far.end();
    await once(ended.resume(), 'end');
    const [gone] = duplexPair();
    gone.destroy();
    for (const socket of [ended, gone]) {
      expect(await rejection(connect(url, destination, { socket, timeout: 2000 }))).toMatchObject({
        code: 'ERR_SOCKS_PROXY_CLOSED',
      });
      expect(socket.destroyed).toBe(true);
    }
  });
});

describe('a generator of the caller is closed', () => {
  const STEPS: [string, () => unknown][] = [
    ['a read', () => ({ read: 5, phase: 'authentication' })],
    ['a wait', () => ({ wait: new Promise(() => {}) })],
  ];
  const endings = ['abort', 'time limit', 'close of the client', 'reset'] as const;
  test.each(STEPS.flatMap(([what, step]) => endings.map((how) => ({ what, how, step }))))(
    'when the attempt ends by $how during $what',
    async ({ how, step }) => {
      let reset: (() => void) | undefined;
      const proxy = await startPlay(async (socket, read) => {
        reset = () => socket.resetAndDestroy();
        await read(3);
        send(socket, '0580');
      });
      closing.push(proxy.close);
      const controller = new AbortController();
      const client = new SocksClient(proxy.url, { timeout: how === 'time limit' ? 100 : 0 });
      const end = {
        abort: () => controller.abort(),
        'time limit': () => {},
        'close of the client': () => void client.close(),
        reset: () => reset?.(),
      }[how];
      let closed = 0;
      const method: AuthMethod = {
        id: 0x80,
        *authenticate() {
          try {
            setImmediate(end);
            yield step() as Step;
          } finally {
            closed++;
          }
        },
      };
      const options = { auth: [method], signal: controller.signal };
      await rejection(client.connect({ host: 'h', port: 1 }, options));
      expect(closed).toBe(1);
    },
  );

  test('and what its finally block throws or yields changes nothing', async () => {
    const proxy = await startPlay(async (socket, read) => {
      await read(3);
      send(socket, '0580');
    });
    closing.push(proxy.close);
    const reason = new Error('enough');
    const blocks: (() => Step)[] = [
      () => {
        throw new Error('a finally block that fails');
      },
      () => ({ wait: new Promise(() => {}) }),
    ];
    for (const block of blocks) {
      const controller = new AbortController();
      const method: AuthMethod = {
        id: 0x80,
        *authenticate() {
          try {
            setImmediate(() => controller.abort(reason));
            yield { wait: new Promise(() => {}) };
          } finally {
            yield block();
          }
        },
      };
      const options = { auth: [method], signal: controller.signal };
      expect(await rejection(connect(proxy.url, { host: 'h', port: 1 }, options))).toBe(reason);
    }
  });
});
