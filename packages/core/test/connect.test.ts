// Tunnels over real sockets: the socket that connect() hands out, local look-ups, chains, time limits.

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as dialTcp } from 'node:net';
import type { LookupFunction, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, TLSSocket } from 'node:tls';
import { inspect } from 'node:util';
import type { ScriptStep, ServerOptions, SocksServer } from '@socksify/server';
import { bytes, CERTIFICATE, rejection, startEcho, startSite, TLS } from '@socksify/support';
import type { Site, TcpDestination } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect, parseProxy, SocksClient, SocksError } from '../src/index.ts';
import type { SocksProxy } from '../src/index.ts';
import { atEnd, GRANTED, startProxy, startRawProxy, startScripted } from './proxies.ts';

const proxy = (options: ServerOptions = {}) =>
  startProxy({ names: { 'echo.test': '127.0.0.1', 'two.test': '127.0.0.1' }, ...options });

let echo: TcpDestination;
let site: Site;
beforeAll(async () => {
  [echo, site] = await Promise.all([startEcho(), startSite()]);
});
afterAll(async () => {
  await Promise.all([echo.close(), site.close()]);
});

async function echoes(socket: Socket, text = 'hello'): Promise<void> {
  socket.write(text);
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  expect(chunk.toString()).toBe(text);
  socket.destroy();
}

const echoAt = (host: string) => ({ host, port: echo.port });

describe('rule 2: bytes that arrive with the reply', () => {
  const banner = '220 ready\r\n';
  const early: readonly ScriptStep[] = [
    { read: 3 },
    { send: '05 00' },
    { read: 10 },
    { send: `05 00 00 01 00000000 0000 ${Buffer.from(banner).toString('hex')}` },
    { close: true },
  ];
  const destination = { host: '127.0.0.1', port: 25 };

  test('come to a listener at once', async () => {
    const server = await startScripted(...early);
    const { socket } = await connect(server.url('socks5'), destination);
    expect(String((await once(socket, 'data'))[0])).toBe(banner);
    socket.destroy();
  });

  test("come to a listener for 'readable' that is added at once", async () => {
    // The proxy stays open, since the end of the connection would cause the event too.
    const server = await startScripted(...early.slice(0, -1), { stall: true });
    const { socket } = await connect(server.url('socks5'), destination);
    await once(socket, 'readable');
    expect(String(socket.read())).toBe(banner);
    socket.destroy();
  });

  test('wait for a late listener', async () => {
    const server = await startScripted(...early);
    const { socket } = await connect(server.url('socks5'), destination);
    // After a round trip to another server, the kernel has received all bytes of the first.
    await once(dialTcp(echo.port).end('x').resume(), 'close');
    expect(socket.readableFlowing).toBe(null);
    expect(socket.destroyed).toBe(false);
    expect(String((await once(socket, 'data'))[0])).toBe(banner);
    socket.destroy();
  });

  test('come first in for await', async () => {
    const server = await startScripted(...early);
    const { socket } = await connect(server.url('socks5'), destination);
    const chunks: unknown[] = [];
    for await (const chunk of socket) chunks.push(chunk);
    expect(chunks.join('')).toBe(banner);
  });

  test('come through a pipe', async () => {
    const server = await startScripted(...early);
    const { socket } = await connect(server.url('socks5'), destination);
    const [sink, received] = [new (await import('node:stream')).PassThrough(), [] as Buffer[]];
    sink.on('data', (chunk: Buffer) => received.push(chunk));
    await once(socket.pipe(sink), 'end');
    expect(Buffer.concat(received).toString()).toBe(banner);
    socket.destroy();
  });

  test('come to TLS when they are a ClientHello in the segment of the reply', async () => {
    // The proxy's side speaks first here, so the tunnel's end is the TLS server.
    const server = await startRawProxy(async (accepted, read) => {
      await read(3);
      accepted.write(bytes('0500'));
      await read(10);
      accepted.cork();
      accepted.write(bytes(GRANTED));
      const client = connectTls({ socket: accepted, ca: CERTIFICATE, servername: 'origin.test' });
      client.on('error', () => {}).end('secured');
      setImmediate(() => accepted.uncork());
    });
    const { socket } = await connect(server.url, destination);
    const secured = new TLSSocket(socket, { isServer: true, ...TLS });
    expect(String((await once(secured, 'data'))[0])).toBe('secured');
    secured.destroy();
  });
});

describe('the socket of a tunnel', () => {
  test('has no listener of ours left, and no delay of Nagle', async () => {
    const server = await proxy();
    const bare = dialTcp(echo.port);
    await once(bare, 'connect');
    const { socket, bound } = await connect(server.url('socks5'), echoAt('echo.test'));
    const listeners = (of: Socket) => of.eventNames().map((name) => [name, of.listenerCount(name)]);
    expect(listeners(socket)).toEqual(listeners(bare));
    expect(bound.port).toBe(server.log[0]?.outgoingPort);
    bare.destroy();
    await echoes(socket);
  });

  test('is secured on request, and the certificate is checked', async () => {
    const server = await proxy();
    const destination = { host: 'echo.test', port: site.https };
    const { socket } = await connect(server.url('socks5'), destination, { tls: { ca: CERTIFICATE } });
    expect(socket).toMatchObject({ authorized: true, servername: 'echo.test' });
    socket.destroy();
    await expect(connect(server.url('socks5'), destination, { tls: {} })).rejects.toMatchObject({
      code: 'DEPTH_ZERO_SELF_SIGNED_CERT',
    });
    await server.idle();
  });

  test('does not print the keys of TLS to the proxy', async () => {
    const server = await proxy({ tls: TLS });
    const route = {
      ...parseProxy(server.url('socks5s')),
      tls: { ca: CERTIFICATE, ...TLS, passphrase: 'hunter2' },
    };
    const { socket } = await connect(route, echoAt('echo.test'));
    const printed = inspect(socket, { depth: 6, showHidden: true });
    expect(printed).not.toMatch(/hunter2|PRIVATE KEY/);
    socket.destroy();
  });

  test.each<[string, object]>([
    ['highWaterMark', { highWaterMark: 'x' }],
    ['servername', { servername: 1 }],
    ['secureContext', { secureContext: {} }],
    ['signal', { signal: {} }],
  ])('is closed when Node refuses the TLS option %s behind the tunnel', async (_, tls) => {
    const server = await proxy();
    const destination = { host: 'echo.test', port: site.https };
    await expect(connect(server.url('socks5'), destination, { tls })).rejects.toBeInstanceOf(TypeError);
    await server.idle();
  });
});

describe('a proxy', () => {
  test('may listen on a Unix socket', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'socksify-'));
    atEnd(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'socks');
    await proxy({ path });
    const { socket } = await connect(`socks5://localhost${path}`, echoAt('echo.test'));
    await echoes(socket);
  });

  test('is spoken to in TLS, and its certificate is checked', async () => {
    const server = await proxy({ tls: TLS });
    const secure: SocksProxy = { ...parseProxy(server.url('socks5s')), tls: { ca: CERTIFICATE } };
    await echoes((await connect(secure, echoAt('echo.test'))).socket);
    await expect(connect(server.url('socks5s'), echoAt('echo.test'))).rejects.toMatchObject({
      code: 'ERR_SOCKS_PROXY_TLS',
      phase: 'proxy-tls',
      cause: { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' },
    });
    await server.idle();
  });

  test('has a certificate that is not trusted: the hint says what to give in tls', async () => {
    const server = await proxy({ tls: TLS });
    const secure = parseProxy(server.url('socks5s'));
    await expect(connect(secure, echoAt('echo.test'))).rejects.toMatchObject({
      detail: 'DEPTH_ZERO_SELF_SIGNED_CERT',
      hint: 'give the certificate authority of the proxy as tls: { ca } of the proxy object',
    });
    await server.idle();
  });

  test('wants a certificate of the client: the error is one of TLS, and its hint says what to give', async () => {
    // In TLS 1.3 the handshake has ended for the client before the server has seen that the certificate is missing.
    const server = await proxy({ tls: { ...TLS, requestCert: true, ca: CERTIFICATE } });
    const secure = { ...parseProxy(server.url('socks5s')), tls: { ca: CERTIFICATE } };
    await expect(connect(secure, echoAt('echo.test'))).rejects.toMatchObject({
      code: 'ERR_SOCKS_PROXY_TLS',
      phase: 'proxy-tls',
      detail: 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED',
      hint: 'the proxy wants a client certificate: give it as tls: { cert, key } of the proxy object',
      blame: 'proxy',
    });
    const tls = { ca: CERTIFICATE, ...TLS };
    await echoes((await connect({ ...secure, tls }, echoAt('echo.test'))).socket);
    await server.idle();
  });

  test('leads to a destination that wants a certificate of the client: that error stays one of Node', async () => {
    const server = await proxy({ tls: TLS });
    const secure = { ...parseProxy(server.url('socks5s')), tls: { ca: CERTIFICATE } };
    const inner = await proxy({ tls: { ...TLS, requestCert: true, ca: CERTIFICATE } });
    const destination = { host: '127.0.0.1', port: inner.port };
    const { socket } = await connect(secure, destination, { tls: { ca: CERTIFICATE } });
    const [error] = await once(socket.resume(), 'error').catch((reason: unknown) => [reason]);
    expect(error).toMatchObject({ code: 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED' });
  });

  test('is spoken to over a socket that the caller hands in', async () => {
    const server = await proxy();
    const socket = dialTcp(server.port);
    const tunnel = await connect('socks5://nowhere.invalid', echoAt('echo.test'), { socket });
    expect(tunnel.socket).toBe(socket);
    await echoes(socket);
    const refused = dialTcp(server.port);
    await expect(
      connect('socks5://nowhere.invalid', echoAt('nowhere.test'), { socket: refused }),
    ).rejects.toThrow();
    expect(refused.destroyed).toBe(true);
  });

  test('may be one of a chain of several versions', async () => {
    const [first, second, third] = [
      await proxy(),
      await proxy({ users: { u: 'p' } }),
      await proxy({ tls: TLS }),
    ];
    const hops = [
      first.url('socks4'),
      second.url('socks5', { username: 'u', password: 'p' }),
      { ...parseProxy(third.url('socks5s')), tls: { ca: CERTIFICATE } },
    ];
    const { socket } = await connect(hops, echoAt('echo.test'));
    expect([first, second, third].map(({ log }) => log[0]?.port)).toEqual([
      second.port,
      third.port,
      echo.port,
    ]);
    await echoes(socket);
  });

  test('is named by the error when it is the hop of a chain that failed', async () => {
    const [first, second] = [await proxy(), await startScripted({ read: 3 }, { send: '05 ff' })];
    const failed = connect([first.url('socks5'), second.url('socks5')], echoAt('echo.test'));
    await expect(failed).rejects.toMatchObject({
      code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
      proxy: `socks5://127.0.0.1:${second.port}`,
    });
    await first.idle();
  });

  test('shares one time limit and one signal with the other hops, and is named by the error when it hangs', async () => {
    const [first, second] = [await proxy(), await startScripted({ read: 3 }, { stall: true })];
    const chain = [first.url('socks5'), second.url('socks5')];
    await expect(connect(chain, echoAt('echo.test'), { timeout: 150 })).rejects.toMatchObject({
      code: 'ERR_SOCKS_TIMEOUT',
      phase: 'greeting',
      proxy: `socks5://127.0.0.1:${second.port}`,
      destination: `echo.test:${echo.port}`,
    });
    const abort = new AbortController();
    const attempt = connect(chain, echoAt('echo.test'), { signal: abort.signal });
    const connection = await second.connection(1);
    await connection.ran;
    abort.abort();
    await expect(attempt).rejects.toMatchObject({ name: 'AbortError' });
    await connection.closedByClient;
  });

  test('is dialled with the options in `tcp`', async () => {
    const [server, other] = [await proxy(), await proxy()];
    const localPort = other.port;
    await other.close();
    const tcp = { localAddress: '127.0.0.1', localPort };
    const { socket } = await connect(server.url('socks5'), echoAt('echo.test'), { tcp });
    expect(socket).toMatchObject(tcp);
    await echoes(socket);
    const wrong = connect(server.url('socks5'), echoAt('echo.test'), { tcp: { localAddress: 'nonsense' } });
    await expect(wrong).rejects.toMatchObject({
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_VALUE',
      cause: { code: 'ERR_INVALID_IP_ADDRESS' },
    });
  });
});

describe("dns: 'local'", () => {
  const localDns = (server: SocksServer): SocksProxy => ({
    ...parseProxy(server.url('socks5')),
    dns: 'local',
  });
  const answering =
    (...addresses: string[]): LookupFunction =>
    (_name, _options, done) => {
      done(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      );
    };

  test('tries every address in turn', async () => {
    const server = await proxy({ allow: ({ host }) => host !== '127.0.0.9' });
    const lookup = answering('127.0.0.9', '::1');
    const { socket } = await connect(localDns(server), echoAt('name.invalid'), { lookup });
    expect(server.log.map(({ host }) => host)).toEqual(['127.0.0.9', '::1']);
    await echoes(socket);
  });

  test('rule 12: uses A records only for SOCKS4', async () => {
    const server = await proxy();
    const lookup = answering('::1', '127.0.0.1');
    const { socket } = await connect(server.url('socks4'), echoAt('name.invalid'), { lookup });
    expect(server.log.map(({ form, host }) => `${form} ${host}`)).toEqual(['4 127.0.0.1']);
    await echoes(socket);
    await expect(
      connect(server.url('socks4'), echoAt('name.invalid'), { lookup: answering('::1') }),
    ).rejects.toMatchObject({
      code: 'ERR_SOCKS_LOOKUP',
      detail: expect.stringContaining('no A record') as string,
    });
  });

  test('takes a look-up that answers with one address', async () => {
    const server = await proxy();
    const lookup: LookupFunction = (_name, _options, done) => done(null, '127.0.0.1', 4);
    await echoes((await connect(localDns(server), echoAt('name.invalid'), { lookup })).socket);
  });

  test.each<[string, LookupFunction]>([
    ['fails', (_name, _options, done) => done(Object.assign(new Error('no'), { code: 'ENOTFOUND' }), '', 0)],
    [
      'throws',
      () => {
        throw new Error('no');
      },
    ],
  ])('a look-up that %s has its own code', async (_, lookup) => {
    const server = await proxy();
    await expect(connect(localDns(server), echoAt('name.invalid'), { lookup })).rejects.toMatchObject({
      code: 'ERR_SOCKS_LOOKUP',
      phase: 'lookup',
      cause: { message: 'no' },
    });
    expect(server.log).toEqual([]);
  });

  test.each(['socks4', 'socks5'])('never looks up an onion name over %s', async (scheme) => {
    const server = await proxy();
    const lookup: LookupFunction = () => expect.unreachable();
    const destination = { host: 'abc.onion.', port: 80 };
    const local: SocksProxy = { ...parseProxy(server.url(scheme)), dns: 'local' };
    await expect(connect(local, destination, { lookup })).rejects.toMatchObject({
      code: 'ERR_SOCKS_INVALID_DESTINATION',
    });
  });
});

describe('an attempt', () => {
  test('rejects with the reason of the signal', async () => {
    const server = await startScripted({ read: 3 }, { stall: true });
    const abort = new AbortController();
    const attempt = connect(server.url('socks5'), echoAt('echo.test'), { signal: abort.signal });
    const connection = await server.connection();
    await connection.ran;
    const reason = new Error('enough');
    abort.abort(reason);
    await expect(attempt).rejects.toBe(reason);
    await connection.closedByClient;
    await expect(connect(server.url('socks5'), echoAt('echo.test'), { signal: abort.signal })).rejects.toBe(
      reason,
    );
    expect(server.connections).toHaveLength(1);
  });

  test('has one time limit, over TLS to the destination too', async () => {
    const server = await proxy({ names: { 'silent.test': '127.0.0.1' } });
    const silent = await startScripted({ stall: true });
    const destination = { host: 'silent.test', port: silent.port };
    const attempt = connect(server.url('socks5'), destination, { timeout: 100, tls: {} });
    await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_TIMEOUT', phase: 'destination-tls' });
    await (await silent.connection()).closedByClient;
  });

  test('ends when its client is closed, and no other begins', async () => {
    const server = await startScripted({ read: 3 }, { stall: true });
    const client = new SocksClient(server.url('socks5'));
    const attempt = client.connect(echoAt('echo.test'));
    const connection = await server.connection();
    await connection.ran;
    const [error] = await Promise.all([attempt.catch((reason: unknown) => reason), client.close()]);
    expect(error).toMatchObject({ code: 'ERR_SOCKS_CLOSED', phase: 'greeting' });
    await connection.closedByClient;
    await expect(client.connect(echoAt('echo.test'))).rejects.toMatchObject({ code: 'ERR_SOCKS_CLOSED' });
  });

  test.each([{ timeout: -1 }, { timeout: Number.NaN }, { timeout: 2 ** 31 }, { auth: 'none' as 'auto' }])(
    'refuses the options %o before any IO',
    async (options) => {
      const refused = { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' };
      await expect(connect('socks5://127.0.0.1', echoAt('echo.test'), options)).rejects.toMatchObject(
        refused,
      );
      expect(() => new SocksClient('socks5://127.0.0.1', options)).toThrowError(
        expect.objectContaining(refused),
      );
    },
  );

  test("needs credentials when auth is 'required'", async () => {
    const attempt = connect('socks5://127.0.0.1', echoAt('echo.test'), { auth: 'required' });
    await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_INVALID_CREDENTIALS', phase: 'input' });
  });

  test('sends everything in one segment when pipelined', async () => {
    const credentials = { username: 'u', password: 'p' };
    const server = await startScripted({ read: 24 }, { send: '0502 0100 05000001000000000000' });
    const url = `socks5://u:p@127.0.0.1:${server.port}`;
    const { socket } = await connect(url, { host: 'echo.test', port: 80 }, { pipeline: true });
    const sent = '050102' + '0101750170' + '05010003096563686f2e746573740050';
    expect((await server.connection()).received.toString('hex')).toBe(sent);
    socket.destroy();
    // tor leaves out the METHOD reply
    const tor = await startScripted({ read: 24 }, { send: '0100 05000001000000000000' });
    const destination = { ...credentials, host: 'echo.test', port: 80 };
    (await connect(`socks5://u:p@127.0.0.1:${tor.port}`, destination, { pipeline: true })).socket.destroy();
    await expect(
      connect(
        `socks5://u:p@127.0.0.1:${(await startScripted({ read: 3 }, { send: '0100' })).port}`,
        destination,
      ),
    ).rejects.toMatchObject({ code: 'ERR_SOCKS_PROTOCOL' });
  });

  test('connects directly only when a selector returns undefined', async () => {
    const server = await proxy();
    const select = ({ host }: { host: string }) => (host === '127.0.0.1' ? undefined : server.url('socks5'));
    const direct = await connect(select, echoAt('127.0.0.1'));
    expect(direct.bound.port).toBe(direct.socket.localPort);
    await echoes(direct.socket);
    expect(server.log).toEqual([]);
    await echoes((await connect(select, echoAt('echo.test'))).socket);
    expect(server.log).toHaveLength(1);
  });
});

test('an error names the proxy and the destination, and is a SocksError', async () => {
  const server = await proxy({ users: { alice: 'secret' } });
  const error = await rejection(
    connect(server.url('socks5', { username: 'alice', password: 'wrong' }), echoAt('echo.test')),
  );
  expect(error).toBeInstanceOf(SocksError);
  expect(error.message).toBe(
    `echo.test:${echo.port} through socks5://127.0.0.1:${server.port}: the proxy refused the credentials (STATUS 1)` +
      '; check user and password; percent-encode them in the URL',
  );
});
