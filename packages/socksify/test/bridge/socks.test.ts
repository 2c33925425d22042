// The SOCKS side of a bridge, byte by byte: what its clients send is typed from the RFCs and memos.

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { proxyGroup, SocksClient } from '@socksify/core';
import { startScript, startServer } from '@socksify/server';
import {
  bytes,
  closed,
  deferred,
  dialRaw,
  freePort,
  listen,
  portHex,
  rejection,
  startDestination,
  startEcho,
} from '@socksify/support';
import type { RawClient, TcpDestination } from '@socksify/support';
import { startBridge } from 'socksify';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startBridged } from './bridged-proxy.ts';
import type { Bridged } from './bridged-proxy.ts';

const ORIGIN = Buffer.from('origin.test').toString('hex');
const NAME = `03 0b ${ORIGIN}`;

let echo: TcpDestination;
let open: Bridged;
beforeAll(async () => {
  echo = await startEcho();
  open = await startBridged({}, { tor: true });
});
afterAll(async () => {
  await open.close();
  await echo.close();
});
beforeEach(() => {
  open.upstream.log.length = 0;
});

/** Sends hex to the bridge, and returns the answer of so many bytes. */
async function answerTo(request: string, length: number, port = open.bridge.port): Promise<string> {
  const client = await dialRaw(port);
  client.send(request);
  try {
    return await client.receive(length);
  } finally {
    client.stream.destroy();
  }
}

async function tunnel(port = open.bridge.port, destination = echo): Promise<RawClient> {
  const client = await dialRaw(port);
  client.send(`05 01 00 05 01 00 ${NAME} ${destination.hex}`);
  expect(await client.receive(12)).toMatch(/^05000500000[14]/);
  return client;
}

describe('a client', () => {
  test.each([
    ['SOCKS5 with a name', `05 01 00 05 01 00 ${NAME}`, '', 12, 'origin.test'],
    ['SOCKS5 with IPv4', '05 02 00 02 05 01 00 01 7f000001', '', 12, '127.0.0.1'],
    ['SOCKS5 with IPv6', '05 01 00 05 01 00 04 00000000000000000000000000000001', '', 24, '::1'],
    ['SOCKS5 with an address as a name', `05 01 00 05 01 00 03 09 ${hex('127.0.0.1')}`, '', 12, '127.0.0.1'],
  ])(
    '%s gets its tunnel, and the bytes behind its request go through it',
    async (_, head, tail, length, host) => {
      const client = await dialRaw(open.bridge.port);
      client.send(`${head} ${echo.hex} ${tail} 68656c6c6f`);
      expect((await client.receive(length)).slice(0, 10)).toMatch(/^0500050000/);
      expect(await client.receive(5)).toBe('68656c6c6f');
      client.stream.destroy();
      expect(open.upstream.log).toMatchObject([{ host, port: echo.port, version: 5, user: 'alice' }]);
    },
  );

  test.each([
    ['SOCKS4', '7f000001 00', '127.0.0.1'],
    ['SOCKS4 with a USERID', '7f000001 626f6200', '127.0.0.1'],
    // Not the mark of SOCKS4A.
    ['SOCKS4 with 0.0.0.0', '00000000 00', '0.0.0.0'],
    ['SOCKS4A', `00000001 00 ${ORIGIN} 00`, 'origin.test'],
    ['SOCKS4A with another marker', `000000ff 626f6200 ${ORIGIN} 00`, 'origin.test'],
  ])('of %s gets its tunnel', async (_, tail, host) => {
    const client = await dialRaw(open.bridge.port);
    client.send(`04 01 ${echo.hex} ${tail} 68656c6c6f`);
    expect(await client.receive(8)).toBe('005a000000000000');
    expect(await client.receive(5)).toBe('68656c6c6f');
    client.stream.destroy();
    expect(open.upstream.log).toMatchObject([{ host, port: echo.port, version: 5 }]);
  });

  test('of SOCKS5 that sends every byte in a segment of its own gets its tunnel', async () => {
    const client = await dialRaw(open.bridge.port);
    for (const byte of bytes(`05 01 00 05 01 00 ${NAME} ${echo.hex} 61`)) {
      await new Promise((resolve) => client.stream.write(Buffer.of(byte), resolve));
    }
    expect((await client.receive(12)).slice(0, 10)).toBe('0500050000');
    expect(await client.receive(1)).toBe('61');
    client.stream.destroy();
  });

  test.each([
    ['no acceptable method', '05 01 02', '05ff'],
    ['no methods', '05 00', '05ff'],
    ['BIND', '05 01 00 05 02 00 01 7f000001 0050', '0500 05070001 000000000000'],
    ['UDP ASSOCIATE', '05 01 00 05 03 00 01 00000000 0000', '0500 05070001 000000000000'],
    ['an unknown command', '05 01 00 05 09 00 01 7f000001 0050', '0500 05070001 000000000000'],
    ['RESOLVE_PTR', '05 01 00 05 f1 00 01 7f000001 0000', '0500 05070001 000000000000'],
    ['an unknown ATYP', '05 01 00 05 01 00 02', '0500 05080001 000000000000'],
    ['another VER in the request', '05 01 00 04 01 00 01', '0500 05010001 000000000000'],
    ['an empty name', '05 01 00 05 01 00 03 00 0050', '0500 05010001 000000000000'],
    ['a name with a NUL', '05 01 00 05 01 00 03 03 610062 0050', '0500 05010001 000000000000'],
    ['a name that is not UTF-8', '05 01 00 05 01 00 03 02 61ff 0050', '0500 05010001 000000000000'],
    ['port 0', `05 01 00 05 01 00 ${NAME} 0000`, '0500 05010001 000000000000'],
    ['SOCKS4 BIND', '04 02 0050 7f000001 00', '005b000000000000'],
    ['a SOCKS4 USERID of 256 bytes', `04 01 0050 7f000001 ${'61'.repeat(256)}`, '005b000000000000'],
    ['an empty SOCKS4A name', '04 01 0050 00000001 00 00', '005b000000000000'],
  ])('that sends %s is refused, and the connection is closed', async (_, request, answer) => {
    const client = await dialRaw(open.bridge.port);
    client.send(request);
    expect(await client.rest()).toBe(answer.replaceAll(' ', ''));
    client.stream.destroy();
    expect(open.upstream.log).toEqual([]);
  });
});

function hex(text: string): string {
  return Buffer.from(text).toString('hex');
}

describe('the refusal of a proxy', () => {
  const CONNECT = '05 01 00 05 01 00 01 7f000001 0050';
  const bridgeTo = (proxy: string | readonly string[]): ReturnType<typeof startBridge> =>
    startBridge({ proxy, listen: '127.0.0.1:0' });

  test.each([
    ...[1, 2, 3, 4, 5, 6, 7, 8].map((rep) => [rep, rep]),
    [0x09, 1],
    [0xf0, 1],
    [0xff, 1],
    [0x5b, 1],
  ])('REP %i is %i for a SOCKS5 client, and 91 for a SOCKS4 client', async (rep, expected) => {
    const reply = rep.toString(16).padStart(2, '0');
    const server = await startScript([
      { read: 3 },
      { send: '05 00' },
      { read: 10 },
      { send: `05 ${reply} 00 01 00000000 0000` },
      { close: true },
    ]);
    const bridge = await bridgeTo(server.url('socks5'));
    const code = expected.toString(16).padStart(2, '0');
    expect(await answerTo(CONNECT, 12, bridge.port)).toBe(`050005${code}0001000000000000`);
    expect(await answerTo('04 01 0050 7f000001 00', 8, bridge.port)).toBe('005b000000000000');
    await bridge.close();
    await server.close();
  });

  test.each([
    [91, 1],
    [92, 2],
    [93, 2],
    [99, 1],
  ])(
    'CD %i is the same for a SOCKS4 client, if it is assigned, and REP %i for a SOCKS5 client',
    async (cd, rep) => {
      const server = await startScript([
        { read: 9 },
        { send: `00 ${cd.toString(16)} 0000 00000000` },
        { close: true },
      ]);
      const bridge = await bridgeTo(server.url('socks4a'));
      const expected = (cd === 99 ? 91 : cd).toString(16);
      expect(await answerTo('04 01 0050 7f000001 00', 8, bridge.port)).toBe(`00${expected}000000000000`);
      expect(await answerTo(CONNECT, 12, bridge.port)).toBe(`0500050${rep}0001000000000000`);
      await bridge.close();
      await server.close();
    },
  );

  test('of an earlier hop is REP 01, because it says nothing about the destination', async () => {
    const upstream = await startServer();
    const bridge = await bridgeTo([upstream.url('socks5'), `socks5://127.0.0.1:${await freePort()}`]);
    expect(await answerTo(CONNECT, 12, bridge.port)).toBe('050005010001000000000000');
    expect(upstream.log).toMatchObject([{ reply: 5 }]);
    await bridge.close();
    await upstream.close();
  });

  test('is not waited for when SOCKS4 cannot carry IPv6: the client gets REP 08 at once', async () => {
    const server = await startScript([{ stall: true }]);
    const bridge = await bridgeTo(server.url('socks4a'));
    const request = '05 01 00 05 01 00 04 00000000000000000000000000000001 0050';
    expect(await answerTo(request, 12, bridge.port)).toBe('050005080001000000000000');
    expect(server.connections).toEqual([]);
    await bridge.close();
    await server.close();
  });

  test('is REP 01 when nothing listens there', async () => {
    const bridge = await bridgeTo(`socks5://127.0.0.1:${await freePort()}`);
    expect(await answerTo(CONNECT, 12, bridge.port)).toBe('050005010001000000000000');
    await bridge.close();
  });
});

describe("Tor's RESOLVE", () => {
  const RESOLVE = `05 01 00 05 f0 00 ${NAME} 0000`;

  test('is answered by a proxy that knows it', async () => {
    expect(await answerTo(RESOLVE, 12)).toBe('050005000001 7f000001 0000'.replaceAll(' ', ''));
    expect(open.upstream.log).toMatchObject([{ command: 'resolve', host: 'origin.test', user: 'alice' }]);
  });

  test('gets REP 04 for a name that the proxy does not know', async () => {
    const request = `05 01 00 05 f0 00 03 09 ${hex('nope.test')} 0000`;
    expect(await answerTo(request, 12)).toBe('050005040001000000000000');
  });

  test('gets REP 07 from other proxies, whatever version they speak, and none is contacted for SOCKS4', async () => {
    for (const [scheme, count] of [
      ['socks5', 1],
      ['socks4a', 0],
    ] as const) {
      const bridged = await startBridged({}, {}, scheme);
      expect(await answerTo(RESOLVE, 12, bridged.bridge.port)).toBe('050005070001000000000000');
      expect(bridged.upstream.log).toHaveLength(count);
      await bridged.close();
    }
  });

  test('gets REP 07 from a group, and no member is contacted', async () => {
    const proxy = proxyGroup([open.upstream.url('socks5', { username: 'alice', password: 'secret' })]);
    const bridge = await startBridge({ proxy, listen: '127.0.0.1:0' });
    expect(await answerTo(RESOLVE, 12, bridge.port)).toBe('050005070001000000000000');
    expect(open.upstream.log).toEqual([]);
    await bridge.close();
  });

  test.runIf(process.platform !== 'win32')(
    'leaves nothing open when the client resets during TLS to a Unix socket',
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'socksify-'));
      const silent = createServer();
      silent.listen(join(folder, 'proxy.sock'));
      await once(silent, 'listening');
      const bridge = await startBridge({
        proxy: `socks5s://localhost${folder}/proxy.sock`,
        listen: '127.0.0.1:0',
      });
      const client = await dialRaw(bridge.port);
      client.send('05 01 00 05 f0 00 03 01 61 0000');
      const [connection] = (await once(silent, 'connection')) as [Socket];
      const ended = once(connection.on('error', () => {}).resume(), 'close');
      client.stream.resetAndDestroy();
      expect(await ended).toHaveLength(1);
      await bridge.close();
      silent.close();
      rmSync(folder, { recursive: true });
    },
  );

  test('is sent to the last proxy of a chain', async () => {
    const first = await startServer();
    const bridge = await startBridge({
      proxy: [first.url('socks5'), open.upstream.url('socks5', { username: 'alice', password: 'secret' })],
      listen: '127.0.0.1:0',
    });
    expect(await answerTo(RESOLVE, 12, bridge.port)).toBe('0500050000017f0000010000');
    expect(first.log).toMatchObject([{ command: 'connect', port: open.upstream.port }]);
    await bridge.close();
    await first.close();
  });
});

describe('with a user', () => {
  let closedBridge: Bridged;
  beforeAll(async () => {
    closedBridge = await startBridged({ user: 'bob:pass:word' });
  });
  afterAll(() => closedBridge.close());
  const LOGIN = `01 03 ${hex('bob')} 09 ${hex('pass:word')}`;

  test('a client that sends the user is served, and the proxy does not get it', async () => {
    const request = `05 02 00 02 ${LOGIN} 05 01 00 ${NAME} ${echo.hex}`;
    expect((await answerTo(request, 14, closedBridge.bridge.port)).slice(0, 12)).toBe('050201000500');
    expect(closedBridge.upstream.log).toMatchObject([{ user: 'alice' }]);
    closedBridge.upstream.log.length = 0;
  });

  test.each([
    ['without a password', '05 01 00', '05ff'],
    ['with a wrong name', `05 01 02 01 03 ${hex('eve')} 09 ${hex('pass:word')}`, '05020101'],
    ['with a wrong password', `05 01 02 01 03 ${hex('bob')} 03 ${hex('xxx')}`, '05020101'],
    ['with empty ones', '05 01 02 01 00 00', '05020101'],
    ['with another VER', '05 01 02 05 03', '05020101'],
    ['of SOCKS4', '04 01 0050 7f000001 00', '005b000000000000'],
    [
      'of SOCKS4A with the name as its USERID',
      `04 01 0050 00000001 ${hex('bob')} 00 ${ORIGIN} 00`,
      '005b000000000000',
    ],
  ])('a client %s is refused', async (_, request, answer) => {
    const client = await dialRaw(closedBridge.bridge.port);
    client.send(request);
    expect(await client.rest()).toBe(answer);
    client.stream.destroy();
    expect(closedBridge.upstream.log).toEqual([]);
  });
});

describe('a tunnel', () => {
  test('keeps the direction of the destination when the client ends its own', async () => {
    const destination = await startDestination((socket) => {
      socket.on('end', () => socket.end('all of it')).resume();
    });
    const client = await tunnel(open.bridge.port, destination);
    client.stream.end('question');
    expect(Buffer.from(await client.rest(), 'hex').toString()).toBe('all of it');
    client.stream.destroy();
    await destination.close();
  });

  test('keeps the direction of the client when the destination ends its own', async () => {
    const ended = deferred<string>();
    const destination = await startDestination((socket) => {
      let received = '';
      socket.end('bye');
      socket
        .on('data', (chunk: Buffer) => (received += chunk.toString()))
        .once('end', () => ended.resolve(received));
    });
    const client = await tunnel(open.bridge.port, destination);
    expect(Buffer.from(await client.rest(), 'hex').toString()).toBe('bye');
    client.stream.end('still here');
    expect(await ended.promise).toBe('still here');
    await closed(client.stream);
    await destination.close();
  });

  test('passes on a reset by the client', async () => {
    const reset = deferred<unknown>();
    const destination = await startDestination((socket) => {
      socket.resume().once('error', reset.resolve);
    });
    const client = await tunnel(open.bridge.port, destination);
    client.stream.resetAndDestroy();
    expect(await reset.promise).toMatchObject({ code: 'ECONNRESET' });
    await destination.close();
  });

  test('passes on a reset by the destination', async () => {
    const destination = await startDestination((socket) => {
      socket.once('data', () => socket.resetAndDestroy());
    });
    const client = await tunnel(open.bridge.port, destination);
    client.stream.write('x');
    await closed(client.stream);
    expect(client.stream.readableEnded).toBe(false);
    await destination.close();
  });

  test('whose client leaves by a reset while the proxy is busy ends the attempt at once', async () => {
    const server = await startScript([{ read: 3 }, { send: '05 00' }, { read: 10 }, { stall: true }]);
    const bridge = await startBridge({ proxy: server.url('socks5'), listen: '127.0.0.1:0' });
    const client = await dialRaw(bridge.port);
    client.send('05 01 00 05 01 00 01 7f000001 0050');
    await client.receive(2);
    const connection = await server.connection();
    await connection.ran;
    client.stream.resetAndDestroy();
    expect(await connection.closedByClient).toBe('fin');
    await bridge.close();
    await server.close();
  });

  test('whose client ends its direction while the proxy is busy is opened all the same', async () => {
    const server = await startScript([
      { read: 3 },
      { send: '05 00' },
      { read: 10 },
      { delay: 100 },
      { send: '05 00 00 01 00000000 0000 776f726c64' },
      { close: true },
    ]);
    const bridge = await startBridge({ proxy: server.url('socks5'), listen: '127.0.0.1:0' });
    const client = await dialRaw(bridge.port);
    client.send('05 01 00 05 01 00 01 7f000001 0050');
    client.stream.end();
    expect(await client.rest()).toBe('0500 05000001 000000000000 776f726c64'.replaceAll(' ', ''));
    client.stream.destroy();
    await bridge.close();
    await server.close();
  });
});

describe('connections', () => {
  test('beyond maxConnections wait until one leaves', async () => {
    const bridged = await startBridged({ maxConnections: 2 });
    const { port } = bridged.bridge;
    const [first, second] = [await tunnel(port), await tunnel(port)];
    const third = await dialRaw(port);
    third.send(`05 01 00 05 01 00 ${NAME} ${echo.hex}`);
    // More round trips than the third would need for its tunnel.
    for (let i = 0; i < 20; i++) {
      second.send('61');
      expect(await second.receive(1)).toBe('61');
    }
    expect(bridged.upstream.log).toHaveLength(2);
    first.stream.destroy();
    expect((await third.receive(12)).slice(0, 8)).toBe('05000500');
    for (const { stream } of [second, third]) stream.destroy();
    await bridged.close();
  });

  test('are closed by close(), those in their handshake and those that wait too', async () => {
    const bridged = await startBridged({ maxConnections: 2 });
    const { port } = bridged.bridge;
    const clients = [await tunnel(port), await dialRaw(port), await dialRaw(port)];
    const allClosed = Promise.all(clients.map(({ stream }) => closed(stream.on('end', () => stream.end()))));
    await bridged.bridge.close();
    await allClosed;
    await rejection(dialRaw(port));
    await expect.poll(() => bridged.upstream.connections).toBe(0);
    await bridged.close();
  });

  test('end in their own time within the drain of close()', async () => {
    const bridged = await startBridged();
    const { port } = bridged.bridge;
    const client = await tunnel(port);
    const idle = await dialRaw(port);
    let isClosed = false;
    const done = bridged.bridge.close({ drain: 60_000 }).then(() => (isClosed = true));
    expect(await idle.rest()).toBe('');
    await rejection(dialRaw(port));
    client.send('61');
    expect(await client.receive(1)).toBe('61');
    expect(isClosed).toBe(false);
    client.stream.end();
    expect(await client.rest()).toBe('');
    await done;
    for (const { stream } of [client, idle]) stream.destroy();
    await bridged.close();
  });

  test('of IPv6 are accepted too', async () => {
    const bridged = await startBridged({ listen: '[::1]:0' });
    expect(bridged.bridge.host).toBe('::1');
    const client = await dialRaw({ port: bridged.bridge.port, host: '::1' });
    client.send(`05 01 00 05 01 00 ${NAME} ${echo.hex}`);
    expect((await client.receive(12)).slice(0, 8)).toBe('05000500');
    client.stream.destroy();
    await bridged.close();
  });
});

test.each([
  ['CONNECT', `05 01 00 05 01 00 ${NAME} 0050`],
  ["Tor's RESOLVE", `05 01 00 05 f0 00 ${NAME} 0000`],
])(
  'the signal of a selector aborts when the client of %s leaves, and when the bridge closes',
  async (_, request) => {
    let called = deferred<AbortSignal>();
    const bridge = await startBridge({
      proxy: (_destination, { signal }) => {
        called.resolve(signal);
        return new Promise(() => {});
      },
      noProxy: 'other.test',
      listen: '127.0.0.1:0',
    });
    const begin = async (): Promise<[RawClient, AbortSignal]> => {
      called = deferred();
      const client = await dialRaw(bridge.port);
      client.send(request);
      return [client, await called.promise];
    };
    const [client, first] = await begin();
    const left = once(first, 'abort');
    client.stream.resetAndDestroy();
    await left;
    const [, second] = await begin();
    expect(second.aborted).toBe(false);
    const closing = once(second, 'abort');
    await bridge.close();
    await closing;
  },
);

test('a destination that noProxy lists is connected to directly, and no other is', async () => {
  const bridged = await startBridged({ noProxy: '127.0.0.1' });
  const direct = `05 01 00 05 01 00 01 7f000001`;
  expect((await answerTo(`${direct} ${echo.hex}`, 12, bridged.bridge.port)).slice(0, 8)).toBe('05000500');
  expect(await answerTo(`${direct} ${portHex(await freePort())}`, 12, bridged.bridge.port)).toMatch(
    /^05000505/,
  );
  expect(bridged.upstream.log).toEqual([]);
  const named = `05 01 00 05 01 00 ${NAME} ${echo.hex}`;
  expect((await answerTo(named, 12, bridged.bridge.port)).slice(0, 8)).toBe('05000500');
  expect(bridged.upstream.log).toHaveLength(1);
  await bridged.close();
});

test('the log has one line for each connection, without control characters', async () => {
  const bridged = await startBridged();
  const line = bridged.line();
  const client = await tunnel(bridged.bridge.port);
  client.send('616263');
  await client.receive(3);
  client.stream.destroy();
  expect(await line).toMatch(/^socks5 origin\.test:\d+: open, \d+ bytes up, \d+ down, \d+ ms$/);
  const refused = bridged.line();
  await answerTo('05 01 00 05 01 00 03 06 61 0a 62 1b c285 0050', 12, bridged.bridge.port);
  expect(await refused).toMatch(/^socks5 a\\x0ab\\x1b\\x85: ERR_SOCKS_INVALID_DESTINATION, \d+ ms$/);
  expect(bridged.lines).toHaveLength(2);
  await bridged.close();
});

describe('a bridge and core', () => {
  test('work together when core is a client of the bridge', async () => {
    for (const scheme of ['socks5', 'socks4a']) {
      const client = new SocksClient(`${scheme}://127.0.0.1:${open.bridge.port}`);
      const { socket } = await client.connect({ host: 'origin.test', port: echo.port });
      socket.write('hello');
      const [chunk] = (await once(socket, 'data')) as [Buffer];
      expect(chunk.toString()).toBe('hello');
      socket.destroy();
      const refused = await rejection(client.connect({ host: 'nope.test', port: 80 }));
      expect(refused).toMatchObject(
        scheme === 'socks5' ? { code: 'ERR_SOCKS_HOST_UNREACHABLE', reply: 4 } : { reply: 91 },
      );
    }
  });

  test('work together when a bridge is the proxy of a bridge', async () => {
    const outer = await startBridge({
      proxy: `socks5://127.0.0.1:${open.bridge.port}`,
      listen: '127.0.0.1:0',
    });
    const client = await tunnel(outer.port);
    client.send('61');
    expect(await client.receive(1)).toBe('61');
    client.stream.destroy();
    await outer.close();
  });
});

test('a slow reader stops the other side, so that little is held', async () => {
  let sent = 0;
  const server = createServer((socket: Socket) => {
    const chunk = Buffer.alloc(64 * 1024);
    const send = (): void => {
      while (sent < 256 * 1024 * 1024) {
        sent += chunk.length;
        if (!socket.write(chunk)) return void socket.once('drain', send);
      }
    };
    socket.on('error', () => {});
    send();
  });
  const port = await listen(server);
  const client = await dialRaw(open.bridge.port);
  client.send(`05 01 00 05 01 00 ${NAME} ${portHex(port)}`);
  await client.receive(12);
  client.stream.pause();
  // The kernel's buffers and those of Node are full when nothing more is sent for a while.
  let before = -1;
  await expect
    .poll(
      () => {
        const still = sent === before;
        before = sent;
        return still;
      },
      { interval: 300 },
    )
    .toBe(true);
  expect(sent).toBeLessThan(64 * 1024 * 1024);
  client.stream.destroy();
  server.close();
});
