// Hostile clients before a bridge: they close, reset or fall silent after any byte of any conversation, send each byte by
// itself, or send what is no request. The bridge answers or closes in time, and keeps nothing open.

import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { bytes, countSockets, startEcho } from '@socksify/support';
import type { TcpDestination } from '@socksify/support';
import { startBridge } from 'socksify';
import type { Bridge } from 'socksify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

let echo: TcpDestination;
let upstream: SocksServer;
let open: Bridge;
let closedBridge: Bridge;
let before: number;
beforeAll(async () => {
  echo = await startEcho();
  upstream = await startServer({ names: { 'origin.test': '127.0.0.1' } });
  const options = { proxy: upstream.url('socks5'), listen: '127.0.0.1:0' };
  open = await startBridge(options);
  closedBridge = await startBridge({ ...options, user: 'user:pass' });
  before = countSockets();
});
afterAll(async () => {
  await Promise.all([open.close(), closedBridge.close()]);
  await upstream.close();
  await echo.close();
});

const text = (value: string): Buffer => Buffer.from(value, 'latin1');
/** What each client sends up to its request, without a byte for the tunnel. */
const conversations = (): Readonly<Record<string, readonly [bridge: Bridge, sent: Buffer]>> => ({
  SOCKS4: [open, bytes(`04 01 ${echo.hex} 7f000001 626f6200`)],
  SOCKS4A: [open, bytes(`04 01 ${echo.hex} 00000001 00 6f726967696e2e7465737400`)],
  SOCKS5: [open, bytes(`05 01 00 05 01 00 03 0b 6f726967696e2e74657374 ${echo.hex}`)],
  'SOCKS5 with a password': [
    closedBridge,
    bytes(`05 01 02 01 04 75736572 04 70617373 05 01 00 01 7f000001 ${echo.hex}`),
  ],
  CONNECT: [open, text(`CONNECT origin.test:${echo.port} HTTP/1.1\r\nHost: x\r\n\r\n`)],
  'CONNECT with a password': [
    closedBridge,
    text(
      `CONNECT origin.test:${echo.port} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n`,
    ),
  ],
  'a request in absolute-form': [
    open,
    text(`POST http://origin.test:${echo.port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc`),
  ],
});
const NAMES = ['SOCKS4', 'SOCKS4A', 'SOCKS5', 'SOCKS5 with a password', 'CONNECT', 'CONNECT with a password'];

function dial(port: number): Socket {
  return connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
    .on('error', () => {})
    .resume();
}

async function closedBy(socket: Socket): Promise<void> {
  while (!socket.closed) await once(socket, 'close').catch(() => {});
}

const expectNothingLeft = (): Promise<void> =>
  expect.poll(countSockets, { interval: 20, timeout: 10_000 }).toBe(before);

describe.each([...NAMES, 'a request in absolute-form'])('%s', (name) => {
  test.each([
    ['ends its direction', (socket: Socket) => void socket.end()],
    ['resets', (socket: Socket) => void socket.resetAndDestroy()],
    ['closes', (socket: Socket) => void socket.destroy()],
  ])('that %s after any byte leaves nothing open', async (_, stop) => {
    const [bridge, sent] = conversations()[name] as readonly [Bridge, Buffer];
    await Promise.all(
      Array.from({ length: sent.length + 1 }, async (__, n) => {
        const socket = dial(bridge.port);
        await once(socket, 'connect');
        socket.write(sent.subarray(0, n));
        await turn();
        stop(socket);
        // The echo and the bridge end too; a client that has only ended its direction closes with them.
        socket.once('end', () => socket.end());
        await closedBy(socket);
      }),
    );
    await expectNothingLeft();
  });
});

describe.each(NAMES)('%s', (name) => {
  test('in pieces of one byte gets its tunnel', async () => {
    const [bridge, sent] = conversations()[name] as readonly [Bridge, Buffer];
    const socket = dial(bridge.port);
    for (const byte of sent) {
      socket.write(Buffer.of(byte));
      await turn();
    }
    let received = '';
    socket.on('data', (chunk: Buffer) => (received += chunk.toString('latin1')));
    socket.write('last words');
    await expect.poll(() => received).toMatch(/last words$/);
    socket.destroy();
    await expectNothingLeft();
  });
});

test('bytes that are no request are answered, or the connection is closed, at once', async () => {
  const junk = [
    ...Array.from({ length: 256 }, (_, first) => Buffer.of(first, first, first, first)),
    ...[
      '\0',
      '\r\n\r\n\r\n',
      ' ',
      'GET',
      'A'.repeat(70_000),
      'SSH-2.0-x\r\n',
      '\x16\x03\x01\x00\xa5\x01',
    ].map(text),
    bytes('05 ff'),
    bytes('04 01'),
    Buffer.alloc(200_000, 0x04),
    Buffer.alloc(200_000, 0x05),
  ];
  await Promise.all(
    junk.map(async (sent) => {
      const socket = dial(open.port);
      socket.end(sent);
      socket.once('end', () => socket.end());
      await closedBy(socket);
    }),
  );
  await expectNothingLeft();
});

test('silent clients are closed after ten seconds, and others are served meanwhile', async () => {
  const began = performance.now();
  const silent = Object.values(conversations()).flatMap(([bridge, sent]) =>
    [0, 1, Math.trunc(sent.length / 2), sent.length - 1].map((n) => ({ bridge, sent: sent.subarray(0, n) })),
  );
  const closing = silent
    .filter(({ sent }) => !sent.subarray(-2).equals(text('ab')))
    .map(async ({ bridge, sent }) => {
      const socket = dial(bridge.port);
      socket.write(sent);
      socket.once('end', () => socket.end());
      await closedBy(socket);
      return performance.now() - began;
    });
  const socket = dial(open.port);
  socket.write(conversations()['SOCKS5']?.[1] as Buffer);
  await once(socket, 'data');
  expect(performance.now() - began).toBeLessThan(8_000);
  socket.destroy();
  for (const milliseconds of await Promise.all(closing)) {
    expect(milliseconds).toBeGreaterThan(9_000);
    expect(milliseconds).toBeLessThan(14_000);
  }
  await expectNothingLeft();
}, 30_000);
