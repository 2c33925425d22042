// Large transfers, and servers on Unix sockets and inside TLS.

import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { dialRaw, RawClient, startDestination, startEcho } from '@socksify/support';
import type { TcpDestination } from '@socksify/support';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startServer } from '../src/index.ts';
import type { SocksServer } from '../src/index.ts';
import { reset } from '../src/tunnel.ts';

const SIZE = 10 * 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'socks-'));

let echo: TcpDestination;
let server: SocksServer;

beforeAll(async () => {
  echo = await startEcho('127.0.0.1');
});
afterAll(async () => {
  await echo.close();
  rmSync(folder, { recursive: true });
});
afterEach(() => server.close());

describe('a transfer of 10 MB', () => {
  test('comes back whole', async () => {
    server = await startServer();
    const { stream } = await tunnel();
    const sent = randomBytes(SIZE);
    const hash = createHash('sha256');
    stream.on('data', (chunk: Buffer) => hash.update(chunk));
    stream.end(sent);
    await once(stream, 'end');
    expect(hash.digest('hex')).toBe(createHash('sha256').update(sent).digest('hex'));
    await server.idle();
    expect(server.log).toMatchObject([{ bytesUp: SIZE, bytesDown: SIZE, closed: true }]);
  });

  test('waits for a client that does not read', async () => {
    server = await startServer();
    const destination = await startDestination((socket) => {
      socket.write(Buffer.alloc(8 * SIZE), () => socket.end());
    });
    const client = await dialRaw(server.port);
    client.send(`04 01 ${destination.hex} 7f000001 00`);
    await client.receive(8);
    client.stream.pause();
    const [entry] = server.log;
    // Until nothing moves for a while: the kernel's buffers and the server's are full.
    for (let before = -1; before !== entry?.bytesDown; ) {
      before = entry?.bytesDown ?? 0;
      for (let turns = 0; turns < 200; turns++) await new Promise(setImmediate);
    }
    expect(entry?.bytesDown).toBeLessThan(8 * SIZE);
    client.stream.destroy();
    await server.idle();
    await destination.close();
  });

  async function tunnel(): Promise<RawClient> {
    const client = await dialRaw(server.port);
    client.send(`05 01 00 05 01 00 01 7f000001 ${echo.hex}`);
    await client.receive(12);
    client.stream.removeAllListeners('data');
    return client;
  }
});

test('a reset does not wait for a peer that does not read', async () => {
  server = await startServer();
  let isDestroyed = false;
  const peer = await startDestination((socket) => {
    socket.write(Buffer.alloc(8 * SIZE));
    reset(socket);
    isDestroyed = socket.destroyed;
  });
  const client = connect(peer.port, '127.0.0.1');
  const [error] = await once(client, 'error');
  expect(error).toMatchObject({ code: 'ECONNRESET' });
  expect(isDestroyed).toBe(true);
  await peer.close();
});

test('a server may listen on a Unix socket', async () => {
  const path = join(folder, 'socks');
  server = await startServer({ path });
  expect(server.url('socks5')).toBe(`socks5://localhost${path}`);
  const client = await dialRaw({ path });
  client.send(`05 01 00 05 01 00 01 7f000001 ${echo.hex} 6869`);
  client.stream.end();
  expect(await client.rest()).toMatch(/^050005000001[0-9a-f]{12}6869$/);
  await server.idle();
  expect(server.log).toMatchObject([{ remotePort: undefined, closed: true }]);
});

describe('a server inside TLS', () => {
  let key: Buffer;
  let cert: Buffer;

  beforeAll(() => {
    const paths = { key: join(folder, 'key.pem'), cert: join(folder, 'cert.pem') };
    const request = '-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost';
    const out = ['-keyout', paths.key, '-out', paths.cert];
    execFileSync('openssl', ['req', ...request.split(' '), ...out], { stdio: 'ignore' });
    [key, cert] = [readFileSync(paths.key), readFileSync(paths.cert)];
  });

  async function dialTls(): Promise<RawClient> {
    const { stream: socket } = await dialRaw(server.port);
    socket.removeAllListeners('data').pause();
    const stream = connectTls({ socket, servername: 'localhost', ca: cert });
    await once(stream, 'secureConnect');
    return new RawClient(stream);
  }

  test('speaks SOCKS, half-close included', async () => {
    server = await startServer({ tls: { key, cert } });
    const client = await dialTls();
    expect(server.connections).toBe(1);
    client.send(`05 01 00 05 01 00 01 7f000001 ${echo.hex} 6869`);
    client.stream.end();
    expect(await client.rest()).toMatch(/^050005000001[0-9a-f]{12}6869$/);
    await server.idle();
    expect(server.log).toMatchObject([{ bytesUp: 2, closed: true }]);

    const stranger = await dialRaw(server.port);
    stranger.send('05 01 00 05 01 00 01 7f000001 0050');
    await stranger.rest();
    stranger.stream.destroy();
    await server.idle();
  });

  test('counts its clients, and drains', async () => {
    server = await startServer({ tls: { key, cert }, maxConnections: 2 });
    const client = await dialTls();
    client.send(`05 01 00 05 01 00 01 7f000001 ${echo.hex}`);
    await client.receive(12);
    const idle = await dialTls();
    const refused = once(server, 'refused');
    const third = await dialRaw(server.port);
    await refused;
    third.stream.destroy();
    const closed = server.close({ drain: 10_000 });
    expect(await idle.rest()).toBe('');
    client.send('6869');
    expect(await client.receive(2)).toBe('6869');
    client.stream.end();
    await closed;
    expect(server.log).toMatchObject([{ bytesUp: 2, bytesDown: 2, closed: true }]);
  });
});

describe('url()', () => {
  test('has the host in brackets and the credentials encoded', async () => {
    server = await startServer({ host: '::1' });
    expect(server.url('socks5h', { username: 'a@b', password: 'c:d' })).toBe(
      `socks5h://a%40b:c%3Ad@[::1]:${server.port}`,
    );
    expect(server.url('socks4', { username: 'bob' })).toBe(`socks4://bob@[::1]:${server.port}`);
  });
});
