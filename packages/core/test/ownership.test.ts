// From the dial to the hand-over a connection has one owner: after any failure the connection is closed, the caller
// gets one rejection, and no error is uncaught.

import { once } from 'node:events';
import type { Socket } from 'node:net';
import { Duplex, duplexPair } from 'node:stream';
import type { PeerCertificate } from 'node:tls';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import {
  bytes,
  CERTIFICATE,
  closed,
  IN_ORDER,
  rejection,
  startDestination,
  startSite,
  TLS,
} from '@socksify/support';
import type { Site } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { connect, proxyGroup, SocksClient } from '../src/index.ts';
import type { AuthMethod, ConnectOptions, ProxyRoute, SecureOptions, Step } from '../src/index.ts';
import { runCore } from './core-program.ts';
import { atEnd, startRawProxy, startScripted, SUCCESS } from './proxies.ts';

let site: Site;
let server: SocksServer;
beforeAll(async () => {
  [site, server] = await Promise.all([startSite(), startServer({ names: { 'echo.test': '127.0.0.1' } })]);
});
afterAll(() => Promise.all([server.close(), site.close()]));

const atSite = () => ({ host: 'echo.test', port: site.https });

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
  ])('reject with the error of Node before anything is dialled: %s', async (_, tls) => {
    const script = await startScripted(...SUCCESS);
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
  ])('reject, and the connection is closed: %s', async (_, tls) => {
    const given = { ca: CERTIFICATE, ...tls } as SecureOptions;
    const error = await rejection(connect(server.url('socks5'), atSite(), { tls: given }));
    expect(error.code ?? '').not.toMatch(/^ERR_SOCKS/);
    await server.idle();
    await rejection(connect(() => undefined, { host: '127.0.0.1', port: site.https }, { tls: given }));
  });

  test.each(['checkServerIdentity', 'servername', 'session', 'ca', 'minVersion', 'secureContext'])(
    'were not given when they are undefined: %s',
    async (name) => {
      const other = name === 'ca' ? { rejectUnauthorized: false } : { ca: CERTIFICATE };
      const tls = { ...other, [name]: undefined } as SecureOptions;
      const { socket } = await connect(server.url('socks5'), atSite(), { tls });
      expect(socket.readyState).toBe('open');
      socket.destroy();
      await server.idle();
    },
  );

  test.each<[string, () => unknown]>([
    ['undefined', () => undefined],
    ['null', () => null],
    ['a number', () => 5],
    ['text', () => 'yes'],
    ['a promise of options', async () => ({ ca: CERTIFICATE })],
  ])('are refused before anything is dialled when a function gives %s', async (_, tls) => {
    const script = await startScripted(...SUCCESS);
    const proxies = [script.url('socks5'), script.url('socks5')];
    for (const route of [script.url('socks5'), proxyGroup(proxies), () => undefined]) {
      await expect(
        connect(route, { host: '127.0.0.1', port: script.port }, { tls: tls as never }),
      ).rejects.toMatchObject({
        code: 'ERR_INVALID_ARG_VALUE',
        message: expect.stringContaining('a function that returns one') as string,
      });
    }
    expect(script.connections).toHaveLength(0);
  });

  test('for the proxy reject before anything is dialled, or close what was dialled', async () => {
    const script = await startScripted({ stall: true });
    const refused = [
      { ciphers: 'bogus' },
      { servername: 1 },
      { minDHSize: -1 },
      { sigalgs: '' },
      { highWaterMark: -1 },
    ];
    for (const tls of refused) {
      const proxy = { version: 5, host: '127.0.0.1', port: script.port, dns: 'remote', tls } as never;
      expect(await rejection(connect(proxy, atSite()))).toMatchObject({ code: 'ERR_SOCKS_PROXY_TLS' });
    }
    await Promise.all(script.connections.map(({ closedByClient }) => closedByClient));
  });

  test('leave nothing behind that keeps the process alive, or ends it when the other side resets', async () => {
    const resetting = await startDestination((socket) => setTimeout(() => socket.resetAndDestroy(), 50));
    atEnd(resetting.close);
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
    expect(await runCore(program, [server.url('socks5'), resetting.port])).toEqual(IN_ORDER);
  });
});

describe('a function of the caller that runs on the open socket', () => {
  const refuse = () => {
    throw new RangeError('no');
  };
  test.each<[string, ConnectOptions]>([
    ['prepare()', { prepare: refuse }],
    ['prepare(), async', { prepare: async () => refuse() }],
    ['prepare() over TLS', { prepare: refuse, tls: { ca: CERTIFICATE } }],
    ['onSocket()', { tls: { ca: CERTIFICATE, onSocket: refuse } }],
    ['checkServerIdentity()', { tls: { ca: CERTIFICATE, checkServerIdentity: refuse } }],
  ])('closes the tunnel and rejects the call with its error when it throws: %s', async (_, options) => {
    expect(await rejection(connect(server.url('socks5'), atSite(), options))).toBeInstanceOf(RangeError);
    await server.idle();
    expect(await rejection(new SocksClient(server.url('socks5')).connect(atSite(), options))).toBeInstanceOf(
      RangeError,
    );
    await server.idle();
  });

  test.each([undefined, null, 0, ''])(
    'refuses the certificate when checkServerIdentity() throws %o',
    async (thrown) => {
      const checkServerIdentity = () => {
        // oxlint-disable-next-line typescript/only-throw-error -- a function of the caller may throw anything
        throw thrown;
      };
      const tls = { ca: CERTIFICATE, checkServerIdentity };
      const error = await rejection(connect(server.url('socks5'), atSite(), { tls }));
      expect(error.message).toBe('checkServerIdentity() failed');
      await server.idle();
      const behind = await startServer({ tls: TLS });
      atEnd(() => behind.close());
      const proxy = { version: 5, host: '127.0.0.1', port: behind.port, tls } as const;
      expect(await rejection(connect(proxy, atSite()))).toMatchObject({ code: 'ERR_SOCKS_PROXY_TLS' });
      await behind.idle();
    },
  );

  test('gets the certificate in checkServerIdentity(), whose error is the one of the call', async () => {
    const refused = new Error('not this one');
    const seen: unknown[] = [];
    const checkServerIdentity = (name: string, { subject }: PeerCertificate) => {
      seen.push(name, typeof subject);
      return refused;
    };
    const tls = { ca: CERTIFICATE, checkServerIdentity };
    expect(await rejection(connect(server.url('socks5'), atSite(), { tls }))).toBe(refused);
    expect(seen).toEqual(['echo.test', 'object']);
    await server.idle();
  });

  test('delays the tunnel while the promise of prepare() is pending, within the time limit and the signal', async () => {
    const order: string[] = [];
    const prepare = async () => {
      await new Promise(setImmediate);
      order.push('prepared');
    };
    const { socket } = await connect(server.url('socks5'), atSite(), { prepare });
    order.push('resolved');
    socket.destroy();
    expect(order).toEqual(['prepared', 'resolved']);

    const never = { prepare: () => new Promise<void>(() => {}) };
    const late = connect(server.url('socks5'), atSite(), { ...never, timeout: 100 });
    await expect(late).rejects.toMatchObject({ code: 'ERR_SOCKS_TIMEOUT' });
    const controller = new AbortController();
    const aborting = () => {
      controller.abort('enough');
      return never.prepare();
    };
    const { signal } = controller;
    await expect(connect(server.url('socks5'), atSite(), { signal, prepare: aborting })).rejects.toBe(
      'enough',
    );
    await server.idle();
  });

  test('rejects the call when it destroys the socket in prepare()', async () => {
    const prepare = (socket: Socket) => void socket.destroy();
    expect(await rejection(connect(server.url('socks5'), atSite(), { prepare }))).toBeInstanceOf(Error);
    await server.idle();
  });

  test('closes a direct connection too when it throws in prepare()', async () => {
    const direct = await startDestination(() => {});
    atEnd(direct.close);
    const accepted = once(direct.server, 'connection') as Promise<[Socket]>;
    const address = { host: '127.0.0.1', port: direct.port };
    const attempt = connect(() => undefined, address, { prepare: refuse });
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
    'rejects the call and nothing more after its METHOD reply to a method that ends in %s',
    async (kind) => {
      const proxy = await startRawProxy(async (socket, read) => {
        await read(3);
        socket.write(Buffer.from('0580', 'hex'), () => socket.resetAndDestroy());
      });
      expect(await runCore(program, [proxy.url, kind])).toEqual(IN_ORDER);
    },
  );

  test.each<[string, string, string]>([
    ['the METHOD reply', '0500', ''],
    ['its reply', '0500', '05000001000000000000'],
    ['half of its reply', '0500', '05000001'],
    ['its refusal', '0500', '0505'],
    ['the answer to a chain', '0500', '05000001000000000000'],
  ])(
    'rejects the call, or is an error of the socket for its owner, after %s',
    async (what, method, reply) => {
      const proxy = await startRawProxy(async (socket, read) => {
        await read(3);
        socket.write(Buffer.from(method, 'hex'));
        if (reply) await read(10);
        socket.write(Buffer.from(reply, 'hex'), () => socket.resetAndDestroy());
      });
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
      expect(await runCore(source, [proxy.url, what.endsWith('chain') ? 'chain' : ''])).toEqual(IN_ORDER);
    },
  );
});

describe('a socket that is handed in', () => {
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

  test.each(cases)('is closed once after %s', async (_, route, given, options) => {
    for (const call of ['connect', 'client'] as const) {
      const [socket, other] = duplexPair();
      const destroy = vi.spyOn(socket, 'destroy');
      const all = { ...options, socket } as ConnectOptions;
      const attempt =
        call === 'connect'
          ? connect(route as ProxyRoute, given as never, all)
          : (async () => new SocksClient(route as ProxyRoute).connect(given as never, all))();
      const error = await rejection(attempt);
      // A client whose constructor throws has not been given the socket.
      if (call === 'client' && !all.socket?.destroyed && error.code === 'ERR_SOCKS_INVALID_PROXY') continue;
      expect(socket.destroyed).toBe(true);
      expect(destroy).toHaveBeenCalledOnce();
      expect(other.readableLength).toBe(0);
    }
  });

  test('is closed by a client that was closed', async () => {
    const client = new SocksClient(url);
    await client.close();
    const [socket] = duplexPair();
    await rejection(client.connect(destination, { socket }));
    expect(socket.destroyed).toBe(true);
  });

  test('leaves no uncaught error when it fails later', async () => {
    const socket = new Duplex({ destroy: (_error, done) => done(new Error('late')), read() {}, write() {} });
    await rejection(connect(url, { host: '', port: 80 }, { socket }));
    await closed(socket);
    expect(socket.errored).toMatchObject({ message: 'late' });
  });

  test('leaves no uncaught error in a process without handlers', async () => {
    const silent = await startRawProxy(() => {});
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
    expect(await runCore(source, [silent.port])).toEqual(IN_ORDER);
  });

  test.each<[string, unknown]>([
    ['an empty object', {}],
    ['text', 'x'],
    ['a half of a stream', { read() {}, destroy() {} }],
    ['null', null],
  ])('is refused when it is none: %s', async (_, socket) => {
    expect(await rejection(connect(url, destination, { socket: socket as Duplex }))).toMatchObject({
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_VALUE',
      message: expect.stringContaining('socket') as string,
    });
  });

  test('is closed when it is refused because it reads text, has ended, or is destroyed', async () => {
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

describe('a generator of the caller', () => {
  const STEPS: [string, () => unknown][] = [
    ['a read', () => ({ read: 5, phase: 'authentication' })],
    ['a wait', () => ({ wait: new Promise(() => {}) })],
  ];
  const endings = ['abort', 'time limit', 'close of the client', 'reset'] as const;
  test.each(STEPS.flatMap(([what, step]) => endings.map((how) => ({ what, how, step }))))(
    'is closed when the attempt ends by $how during $what',
    async ({ how, step }) => {
      let reset: (() => void) | undefined;
      const proxy = await startRawProxy(async (socket, read) => {
        reset = () => socket.resetAndDestroy();
        await read(3);
        socket.write(bytes('0580'));
      });
      const controller = new AbortController();
      const client = new SocksClient(proxy.url, { timeout: how === 'time limit' ? 100 : 0 });
      const end = {
        abort: () => controller.abort(),
        'time limit': () => {},
        'close of the client': () => void client.close(),
        reset: () => reset?.(),
      }[how];
      let ended = 0;
      const method: AuthMethod = {
        id: 0x80,
        *authenticate() {
          try {
            setImmediate(end);
            yield step() as Step;
          } finally {
            ended++;
          }
        },
      };
      const options = { auth: [method], signal: controller.signal };
      await rejection(client.connect({ host: 'h', port: 1 }, options));
      expect(ended).toBe(1);
    },
  );

  test('changes nothing by what its finally block throws or yields', async () => {
    const proxy = await startRawProxy(async (socket, read) => {
      await read(3);
      socket.write(bytes('0580'));
    });
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
