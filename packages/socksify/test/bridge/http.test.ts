// The HTTP side of a bridge: what goes on to the destination, byte by byte, and what is refused.

import { once } from 'node:events';
import { Agent, get } from 'node:http';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { startScript } from '@socksify/server';
import { deferred, dialRaw, freePort, startDestination, startEcho } from '@socksify/support';
import type { TcpDestination } from '@socksify/support';
import { startBridge } from 'socksify';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { startBridged, talk } from './bridged-proxy.ts';
import type { Bridged } from './bridged-proxy.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

let open: Bridged;
let echo: TcpDestination;
/** Answers every request with OK, and keeps what it received on each connection. */
let site: TcpDestination;
const received: string[] = [];
beforeAll(async () => {
  open = await startBridged();
  echo = await startEcho();
  site = await startDestination((socket) => {
    const index = received.push('') - 1;
    socket.on('data', (chunk: Buffer) => {
      received[index] += chunk.toString('latin1');
      const text = received[index] ?? '';
      const head = text.indexOf('\r\n\r\n');
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
      const whole = /transfer-encoding: chunked/i.test(text)
        ? text.endsWith('0\r\n\r\n')
        : text.length === head + 4 + length;
      if (head > 0 && whole) socket.write(OK);
    });
    socket.once('end', () => socket.end());
  });
});
afterAll(async () => {
  await open.close();
  await Promise.all([site.close(), echo.close()]);
});
beforeEach(() => {
  received.length = 0;
  open.upstream.log.length = 0;
});

const send = (...pieces: readonly string[]): Promise<string> => talk(open.bridge.port, pieces);
const at = (name = 'origin.test'): string => `${name}:${site.port}`;

describe('a request in absolute-form', () => {
  test('is forwarded in origin-form, with the Host of its request target and without the fields of this hop', async () => {
    const answer = await send(
      `GET http://${at()}/path?query HTTP/1.1\r\nhost: other.test\r\nAccept: */*\r\nX-Kept: 1\r\nX-Kept: 2\r\n` +
        'Connection: close, X-Named\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n' +
        'Proxy-Authorization: Basic YTpi\r\nProxy-Other: 1\r\nTE: trailers\r\nUpgrade: h2c\r\nTrailer: X\r\n\r\n',
    );
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n(?:.+\r\n)*\r\nok$/);
    expect(received).toEqual([
      `GET /path?query HTTP/1.1\r\nHost: ${at()}\r\nAccept: */*\r\nX-Kept: 1\r\nX-Kept: 2\r\nConnection: close\r\n\r\n`,
    ]);
    expect(open.upstream.log).toMatchObject([{ host: 'origin.test', port: site.port, user: 'alice' }]);
  });

  test.each([
    ['', '/', 'GET'],
    ['?a', '/?a', 'GET'],
    ['//x', '//x', 'GET'],
    ['', '*', 'OPTIONS'],
    ['/a%20b?c=http://d/', '/a%20b?c=http://d/', 'GET'],
  ])('with the path %j is forwarded with %j for %s', async (path, expected, method) => {
    await send(`${method} http://${at()}${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect(received[0]?.split('\r\n')[0]).toBe(`${method} ${expected} HTTP/1.1`);
  });

  test('is forwarded with its content, by length or in chunks', async () => {
    await send(`POST http://${at()}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n`, 'ab', 'c');
    await send(
      `POST http://${at()}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n`,
      '3\r\nabc\r\n',
      '0\r\n\r\n',
    );
    expect(received).toEqual([
      `POST / HTTP/1.1\r\nHost: ${at()}\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc`,
      `POST / HTTP/1.1\r\nHost: ${at()}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
    ]);
  });

  test.each([
    ['Content-Length: 3', 'abc'],
    ['Transfer-Encoding: chunked', '3\r\nabc\r\n0\r\n\r\n'],
  ])('with %s behind 1500 other fields is forwarded with all of them', async (field, content) => {
    const fields = 'A: b\r\n'.repeat(1500);
    await send(`GET http://${at()}/ HTTP/1.1\r\nHost: x\r\n${fields}${field}\r\n\r\n${content}`);
    expect(received).toEqual([
      `GET / HTTP/1.1\r\nHost: ${at()}\r\n${fields}${field}\r\nConnection: close\r\n\r\n${content}`,
    ]);
  });

  test('gets all fields of an answer that has 1500', async () => {
    const fields = 'A: b\r\n'.repeat(1500);
    const long = await startDestination((socket) => {
      socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\n${fields}Content-Length: 2\r\n\r\nok`));
    });
    const answer = await send(`GET http://origin.test:${long.port}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect(answer.startsWith(`HTTP/1.1 200 OK\r\n${fields}Content-Length: 2\r\n`)).toBe(true);
    await long.close();
  });

  test('keeps its length when Connection names that field', async () => {
    await send(
      `POST http://${at()}/ HTTP/1.1\r\nHost: x\r\nConnection: content-length, host\r\nContent-Length: 3\r\n\r\nabc`,
    );
    expect(received).toEqual([
      `POST / HTTP/1.1\r\nHost: ${at()}\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc`,
    ]);
  });

  test('of HTTP/1.0 is answered, and in pieces of one byte too', async () => {
    const request = `GET http://${at()}/ HTTP/1.0\r\n\r\n`;
    expect(await talk(open.bridge.port, request.split(''))).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nok$/);
  });

  test('for two hosts on one connection is sent to each of them', async () => {
    const answer = await send(
      `GET http://${at()}/1 HTTP/1.1\r\nHost: x\r\n\r\n` +
        `GET http://${at('other.test')}/2 HTTP/1.1\r\nHost: ${at()}\r\n\r\n` +
        `GET http://${at()}/3 HTTP/1.1\r\nHost: x\r\n\r\n`,
    );
    expect(answer.match(/HTTP\/1\.1 200 OK/g)).toHaveLength(3);
    const targets = received.map((text) => {
      const [, path = '', host = ''] = /^GET (\S+) HTTP\/1\.1\r\nHost: (\S+)/.exec(text) ?? [];
      return [path, host];
    });
    expect(Object.fromEntries(targets)).toEqual({ '/1': at(), '/2': at('other.test'), '/3': at() });
    expect(open.upstream.log.filter(({ host }) => host === 'other.test')).toHaveLength(1);
    expect(open.upstream.log).toHaveLength(3);
  });

  test('waits for 100 Continue of the destination', async () => {
    const slow = await startDestination((socket) => {
      let text = '';
      socket.on('data', (chunk: Buffer) => {
        text += chunk.toString();
        if (text.endsWith('\r\n\r\n')) socket.write('HTTP/1.1 100 Continue\r\n\r\n');
        if (text.endsWith('abc')) socket.end(OK);
      });
    });
    const client = await dialRaw(open.bridge.port);
    client.stream.write(
      `PUT http://origin.test:${slow.port}/ HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n`,
    );
    expect(Buffer.from(await client.receive(25), 'hex').toString()).toBe('HTTP/1.1 100 Continue\r\n\r\n');
    client.stream.end('abc');
    expect(Buffer.from(await client.rest(), 'hex').toString()).toMatch(/^HTTP\/1\.1 200 OK/);
    client.stream.destroy();
    await slow.close();
  });

  test('on a connection that is kept alive is answered, one after the other', async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const ports = new Set<number | undefined>();
    for (let i = 0; i < 3; i++) {
      const request = get({ port: open.bridge.port, path: `http://${at()}/`, agent });
      const [response] = (await once(request, 'response')) as [IncomingMessage];
      ports.add(request.socket?.localPort);
      expect(response.statusCode).toBe(200);
      response.resume();
      await once(response, 'end');
    }
    expect(ports.size).toBe(1);
    agent.destroy();
  });

  test.each([
    ['ends too early, with a length', 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok'],
    ['ends too early, in chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n'],
  ])('whose answer %s is not taken for a whole one', async (_, text) => {
    const broken = await startDestination((socket) => {
      socket.once('data', () => socket.end(text)).resume();
    });
    const request = get({ port: open.bridge.port, path: `http://origin.test:${broken.port}/`, agent: false });
    request.on('error', () => {});
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    response.resume();
    await expect(once(response, 'end')).rejects.toMatchObject({ code: 'ECONNRESET' });
    await broken.close();
  });

  test.each([
    ['is none', 'hello\r\n\r\n'],
    ['has two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok'],
    [
      'is a switch of protocols',
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n',
    ],
    ['is a switch of protocols without a name', 'HTTP/1.1 101 Switching Protocols\r\n\r\n'],
    ['has the status 001', 'HTTP/1.1 001 x\r\nContent-Length: 2\r\n\r\nok'],
    ['has the status 099', 'HTTP/1.1 099 x\r\nContent-Length: 2\r\n\r\nok'],
    ['has another transfer coding', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok'],
    [
      'has another transfer coding below the chunks',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
    ],
  ])('whose answer %s gets 502', async (_, text) => {
    const broken = await startDestination((socket) => {
      socket.once('data', () => socket.end(text)).resume();
    });
    const answer = await send(`GET http://origin.test:${broken.port}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
    await broken.close();
  });

  test.each(['a\x01b', 'a\x7fb', 'a\0b'])(
    'whose answer has the phrase %j goes on without it',
    async (phrase) => {
      const odd = await startDestination((socket) => {
        socket.once('data', () =>
          socket.end(`HTTP/1.1 404 ${phrase}\r\nContent-Length: 2\r\n\r\nok`, 'latin1'),
        );
      });
      const answer = await send(`GET http://origin.test:${odd.port}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
      expect(answer).toMatch(/^HTTP\/1\.1 404 \r\n(?:.+\r\n)*\r\nok$/);
      await odd.close();
    },
  );
});

describe('the bridge refuses, without a connection to the proxy,', () => {
  const head = 'POST http://origin.test/ HTTP/1.1\r\nHost: x\r\n';
  test.each([
    ['two lengths', `${head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`, 400],
    ['a repeated length', `${head}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`, 400],
    ['a list of lengths', `${head}Content-Length: 1, 1\r\n\r\na`, 400],
    ['a length with a sign', `${head}Content-Length: +1\r\n\r\na`, 400],
    ['chunks and a length', `${head}Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n`, 400],
    ['a length and chunks', `${head}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
    ['another transfer coding', `${head}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`, 501],
    ['a transfer coding that looks like chunked', `${head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 501],
    ['chunked that is not the last coding', `${head}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n`, 400],
    [
      'chunked twice',
      `${head}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      400,
    ],
    [
      'chunks of HTTP/1.0',
      `POST http://origin.test/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
      400,
    ],
    ['a space before the colon', `${head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`, 400],
    ['a folded field', `${head}X: a\r\n b\r\n\r\n`, 400],
    ['a bare LF', 'GET http://origin.test/ HTTP/1.1\nHost: x\n\n', 400],
    ['a NUL in a field', `${head}X: a\0b\r\n\r\n`, 400],
    ['two Host fields', `${head}Host: y\r\n\r\n`, 400],
    ['no Host field', 'GET http://origin.test/ HTTP/1.1\r\n\r\n', 400],
    ['an empty host', 'GET http:///x HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['a user in the target', 'GET http://u:p@origin.test/ HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['a backslash in the host', 'GET http://origin.test\\@x/ HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['a percent sign in the host', 'GET http://origin%2etest/ HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['port 0', 'GET http://origin.test:0/ HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['port 65536', 'GET http://origin.test:65536/ HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['a fragment', 'GET http://origin.test/#x HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['one slash', 'GET http:/origin.test/ HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['origin-form', 'GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n', 400],
    ['https in absolute-form', 'GET https://origin.test/ HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['CONNECT without a port', 'CONNECT origin.test HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['CONNECT with a path', 'CONNECT origin.test:80/ HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['CONNECT with a user', 'CONNECT u@origin.test:80 HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['CONNECT with content', 'CONNECT origin.test:80 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na', 400],
    [
      'CONNECT in chunks',
      'CONNECT origin.test:80 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n',
      400,
    ],
    ['HTTP/0.9', 'GET /\r\n\r\n', 400],
    ['HTTP/0.9 in absolute-form', 'GET http://origin.test/\r\n\r\n', 400],
    ['the preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505],
    ['HTTP/2 in the request line', 'GET http://origin.test/ HTTP/2.0\r\nHost: x\r\n\r\n', 505],
    ['a head of more than 64 KiB', `${head}X: ${'a'.repeat(70_000)}\r\n\r\n`, 431],
    ['an unknown method', 'HELLO http://origin.test/ HTTP/1.1\r\nHost: x\r\n\r\n', 400],
    ['a TLS ClientHello', '\x16\x03\x01\x02\x00\x01', 400],
    ['an SSH client', 'SSH-2.0-OpenSSH_9.2\r\n', 400],
  ])('%s', async (_, text, status) => {
    expect(await send(text)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    // In pieces of one byte the outcome is the same, but for long ones.
    if (text.length < 1000) {
      expect(await talk(open.bridge.port, text.split(''))).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    }
    expect(open.upstream.log).toEqual([]);
  });
});

describe('CONNECT', () => {
  test('opens a tunnel, and keeps the bytes behind its head', async () => {
    const client = await dialRaw(open.bridge.port);
    client.stream.write(`CONNECT origin.test:${echo.port} HTTP/1.1\r\nHost: other.test\r\n\r\nhello`);
    const expected = 'HTTP/1.1 200 Connection established\r\n\r\nhello';
    expect(Buffer.from(await client.receive(expected.length), 'hex').toString()).toBe(expected);
    client.stream.end('more');
    expect(Buffer.from(await client.rest(), 'hex').toString()).toBe('more');
    client.stream.destroy();
    expect(open.upstream.log).toMatchObject([{ host: 'origin.test', port: echo.port, user: 'alice' }]);
  });

  test('connects to IPv6', async () => {
    const client = await dialRaw(open.bridge.port);
    client.stream.end(`CONNECT [::1]:${echo.port} HTTP/1.1\r\nHost: x\r\n\r\nhello`);
    expect(Buffer.from(await client.rest(), 'hex').toString()).toMatch(/^HTTP\/1\.1 200 .*\r\n\r\nhello$/);
    client.stream.destroy();
    expect(open.upstream.log).toMatchObject([{ host: '::1' }]);
  });

  test('after a request in progress closes the connection, so that no answer is written into the tunnel', async () => {
    const silent = await startDestination((socket) => socket.resume());
    const answer = await talk(
      open.bridge.port,
      `GET http://origin.test:${silent.port}/ HTTP/1.1\r\nHost: x\r\n\r\n` +
        `CONNECT origin.test:${echo.port} HTTP/1.1\r\nHost: x\r\n\r\nhello`,
    );
    expect(answer).toBe('');
    await silent.close();
  });
});

describe('an HTTP client gets', () => {
  const CASES = [
    ['REP 02, refused by a ruleset', '05 02 00 01 00000000 0000', 502, 'ERR_SOCKS_NOT_ALLOWED'],
    ['REP 04', '05 04 00 01 00000000 0000', 502, 'ERR_SOCKS_HOST_UNREACHABLE'],
    ['REP 05', '05 05 00 01 00000000 0000', 502, 'ERR_SOCKS_CONNECTION_REFUSED'],
    ['REP 06', '05 06 00 01 00000000 0000', 504, 'ERR_SOCKS_TTL_EXPIRED'],
    ['REP F0', '05 f0 00 01 00000000 0000', 502, 'ERR_SOCKS_UNASSIGNED_REPLY'],
    ['junk', 'ff ff ff', 502, 'ERR_SOCKS_PROTOCOL'],
  ] as const;
  test.each(CASES)(
    'the status and the code for %s, with CONNECT and with a request',
    async (_, reply, status, code) => {
      const server = await startScript([
        { read: 3 },
        { send: '05 00' },
        { read: 10 },
        { send: reply },
        { close: true },
      ]);
      const bridge = await startBridge({ proxy: server.url('socks5'), listen: '127.0.0.1:0' });
      for (const line of ['CONNECT 127.0.0.1:80', 'GET http://127.0.0.1/']) {
        const answer = await talk(bridge.port, `${line} HTTP/1.1\r\nHost: x\r\n\r\n`);
        expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
        expect(answer).toContain(`\r\nProxy-Status: socksify; error=${code}\r\n`);
      }
      await bridge.close();
      await server.close();
    },
  );

  test.each([undefined, 'hunter2', new Error('hunter2')])(
    '502 when a selector throws %j, which is not in the answer',
    async (reason) => {
      const bridge = await startBridge({
        proxy: () => {
          throw reason;
        },
        listen: '127.0.0.1:0',
      });
      for (const line of ['CONNECT 127.0.0.1:80', 'GET http://127.0.0.1/']) {
        const answer = await talk(bridge.port, `${line} HTTP/1.1\r\nHost: x\r\n\r\n`);
        expect(answer).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
        expect(answer).not.toContain('hunter2');
      }
      const answer = await talk(bridge.port, '\x05\x01\0\x05\x01\0\x01\x7f\0\0\x01\0\x50');
      expect(Buffer.from(answer, 'latin1').toString('hex')).toBe('050005010001000000000000');
      await bridge.close();
    },
  );

  test('502 when no proxy listens, and no password in the answer', async () => {
    const proxy = `socks5://alice:hunter2@127.0.0.1:${await freePort()}`;
    const bridge = await startBridge({ proxy, listen: '127.0.0.1:0' });
    const answer = await talk(bridge.port, 'CONNECT origin.test:80 HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(answer).toMatch(/^HTTP\/1\.1 502 Bad Gateway\r\n/);
    expect(answer).toContain('Proxy-Status: socksify; error=ERR_SOCKS_PROXY_UNREACHABLE\r\n');
    expect(answer).not.toContain('hunter2');
    await bridge.close();
  });
});

test('the log shows no user, password, path or query that a client wrote beside a host', async () => {
  for (const line of [
    'CONNECT alice:hunter2@origin.test:80',
    'CONNECT origin.test:80/hunter2',
    'CONNECT origin.test:80?token=hunter2',
    'GET http://alice:hunter2@origin.test/',
  ]) {
    const logged = open.line();
    await send(`${line} HTTP/1.1\r\nHost: x\r\n\r\n`);
    expect(await logged).toMatch(/^(?:connect origin\.test:80|http): 400, \d+ ms$/);
  }
});

describe('with a user', () => {
  let closedBridge: Bridged;
  beforeAll(async () => {
    closedBridge = await startBridged({ user: 'bob:pass:wörd' });
  });
  afterAll(() => closedBridge.close());
  const basic = (text: string): string => Buffer.from(text).toString('base64');
  const requests = (field: string): string[] => [
    `CONNECT origin.test:${site.port} HTTP/1.1\r\nHost: x\r\n${field}\r\n`,
    `GET http://${at()}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${field}\r\n`,
  ];

  test('a request with the user is served, and the user is not forwarded', async () => {
    const [connect = '', request = ''] = requests(`Proxy-Authorization: bAsIc ${basic('bob:pass:wörd')}\r\n`);
    expect(await talk(closedBridge.bridge.port, connect)).toMatch(/^HTTP\/1\.1 200 /);
    expect(await talk(closedBridge.bridge.port, request)).toMatch(/^HTTP\/1\.1 200 /);
    expect(received.join('')).not.toMatch(/authorization/i);
    closedBridge.upstream.log.length = 0;
  });

  test.each([
    ['without it', ''],
    ['with a wrong name', `Proxy-Authorization: Basic ${basic('eve:pass:wörd')}\r\n`],
    ['with a wrong password', `Proxy-Authorization: Basic ${basic('bob:pass')}\r\n`],
    ['without a colon', `Proxy-Authorization: Basic ${basic('bob')}\r\n`],
    ['with another scheme', `Proxy-Authorization: Bearer ${basic('bob:pass:wörd')}\r\n`],
    ['with the field of the destination', `Authorization: Basic ${basic('bob:pass:wörd')}\r\n`],
  ])('a request %s gets 407', async (_, field) => {
    for (const request of requests(field)) {
      const answer = await talk(closedBridge.bridge.port, request);
      expect(answer).toMatch(/^HTTP\/1\.1 407 Proxy Authentication Required\r\n/);
      expect(answer).toContain('\r\nProxy-Authenticate: Basic realm="socksify", charset="UTF-8"\r\n');
    }
    expect(closedBridge.upstream.log).toEqual([]);
  });
});

test('a client that leaves by a reset ends its request at the destination', async () => {
  const accepted = deferred<Socket>();
  const silent = await startDestination((socket) => {
    socket.once('data', () => accepted.resolve(socket));
  });
  const client = await dialRaw(open.bridge.port);
  client.stream.write(`GET http://origin.test:${silent.port}/ HTTP/1.1\r\nHost: x\r\n\r\n`);
  const socket = await accepted.promise;
  const failed = once(socket, 'error');
  client.stream.resetAndDestroy();
  expect(await failed).toMatchObject([{ code: 'ECONNRESET' }]);
  await silent.close();
});
