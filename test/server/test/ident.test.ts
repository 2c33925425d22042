// Rule 14: USERID is a claim, which the server can check with the client's machine. RFC 1413.

import { once } from 'node:events';
import { deferred, dialRaw, freePort, startDestination, startEcho } from '@socksify/support';
import type { TcpDestination } from '@socksify/support';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { askIdent, isSameUser, parseIdent, startServer, Unidentified } from '../src/index.ts';
import type { SocksServer } from '../src/index.ts';

const PORTS = { theirs: 6193, ours: 23 };

function read(line: string): string {
  return parseIdent(Buffer.from(line, 'latin1'), PORTS).toString('latin1');
}

describe('a reply of ident', () => {
  const READ: Readonly<Record<string, readonly [line: string, user: string]>> = {
    'the example of the RFC': ['6193, 23 : USERID : UNIX : stjohns\r', ' stjohns'],
    'no white space': ['6193,23:USERID:UNIX:stjohns\r', 'stjohns'],
    'white space everywhere': [' \t6193 \t, 23 :\tUSERID  :UNIX , US-ASCII\t:stjohns\r', 'stjohns'],
    'white space in the user id': ['6193,23:USERID:OTHER: a  b \r', ' a  b '],
    'a colon in the user id': ['6193,23:USERID:OTHER:a:b\r', 'a:b'],
    'octets beyond ASCII': ['6193,23:USERID:OTHER:\xff\x01\r', '\xff\x01'],
    'a user id of 512 octets': [`6193,23:USERID:UNIX:${'x'.repeat(512)}\r`, 'x'.repeat(512)],
  };
  test.each(Object.entries(READ))('with %s is read', (_, [line, user]) => {
    expect(read(line)).toBe(user);
  });

  const REFUSED: Readonly<Record<string, readonly [line: string, reason: string]>> = {
    'NO-USER': ['6193, 23 : ERROR : NO-USER\r', 'NO-USER'],
    'HIDDEN-USER': ['6193,23:ERROR:HIDDEN-USER\r', 'HIDDEN-USER'],
    'other ports': ['6194,23:USERID:UNIX:stjohns\r', 'another connection'],
    'the ports turned round': ['23,6193:USERID:UNIX:stjohns\r', 'another connection'],
    'no carriage return': ['6193,23:USERID:UNIX:stjohns', 'not a reply'],
    'no user id': ['6193,23:USERID:UNIX:\r', 'not a reply'],
    'no system': ['6193,23:USERID::stjohns\r', 'not a reply'],
    'a NUL': ['6193,23:USERID:UNIX:st\0johns\r', 'not a reply'],
    'white space in a token': ['61 93,23:USERID:UNIX:stjohns\r', 'not a reply'],
    'another word': ['6193,23:USER:UNIX:stjohns\r', 'not a reply'],
    nothing: ['\r', 'not a reply'],
    'another protocol': ['HTTP/1.1 400 Bad Request\r', 'not a reply'],
  };
  test.each(Object.entries(REFUSED))('with %s names nobody', (_, [line, reason]) => {
    expect(() => read(line)).toThrow(Unidentified);
    expect(() => read(line)).toThrow(reason);
  });
});

test('the query of ident has the port of the queried machine first', () => {
  const { value } = askIdent(PORTS).next(new Uint8Array());
  expect(value).toEqual({ write: Buffer.from('363139332c32330d0a', 'hex') });
});

test('a reply of ident ends after 1000 octets', () => {
  const steps = askIdent(PORTS);
  steps.next(new Uint8Array());
  steps.next(new Uint8Array());
  for (let octet = 1; octet < 1000; octet++) expect(steps.next(Buffer.from('x')).done).toBe(false);
  expect(() => steps.next(Buffer.from('x'))).toThrow(Unidentified);
});

test.each([
  ['bob', 'bob', true],
  [' bob', 'bob', true],
  [' bob', ' bob', true],
  ['bob', ' bob', false],
  ['bob ', 'bob', false],
  ['Bob', 'bob', false],
  ['zo\xc3\xab', 'zoë', true],
  ['zo\xeb', 'zoë', false],
  ['\xef\xbf\xbd', '\ufffd', false],
  ['bob', '', false],
])('the user %j is the USERID %j: %s', (identified, claimed, same) => {
  expect(isSameUser(Buffer.from(identified, 'latin1'), claimed)).toBe(same);
});

describe('a server that checks with ident', () => {
  let destination: TcpDestination;
  let machine: TcpDestination | undefined;
  let server: SocksServer;
  let query: string;

  beforeAll(async () => {
    destination = await startEcho('127.0.0.1');
  });
  afterAll(() => destination.close());
  afterEach(async () => {
    await server.close();
    await machine?.close();
  });

  /** A client's machine that answers so; PORTS stands for those that it was query about. */
  async function start(answer: string | undefined, timeout: number = 5000): Promise<void> {
    query = '';
    machine = await startDestination((socket) => {
      socket.on('data', (chunk: Buffer) => {
        query += chunk.toString('latin1');
        if (answer === undefined || !query.endsWith('\r\n')) return;
        socket.end(answer.replace('PORTS', query.trim()), 'latin1');
      });
    });
    server = await startServer({ ident: { port: machine.port, timeout }, names: { 'a.test': '127.0.0.1' } });
  }

  async function request(hex: string, length: number): Promise<string> {
    query = '';
    const client = await dialRaw(server.port);
    client.send(hex.replaceAll('PORT', destination.hex));
    const answer = await client.receive(length);
    if (query !== '') expect(query).toBe(`${client.stream.localPort},${server.port}\r\n`);
    client.stream.destroy();
    return answer;
  }

  const BOB = '04 01 PORT 7f000001 626f62 00';

  test('rule 14: serves a client whose USERID is right', async () => {
    await start('PORTS : USERID : UNIX : bob\r\n');
    expect(await request(BOB, 8)).toMatch(/^005a/);
    expect(await request('04 01 PORT 00000001 626f62 00 612e74657374 00', 8)).toMatch(/^005a/);
  });

  test('rule 14: answers 93 for another user', async () => {
    await start('PORTS : USERID : UNIX : eve\r\n');
    expect(await request(BOB, 8)).toBe('005d000000000000');
    expect(server.log).toMatchObject([{ user: 'bob', reply: 93 }]);
  });

  test.each([
    ['an ERROR', 'PORTS : ERROR : NO-USER\r\n'],
    ['garbage', 'hello\r\n'],
    ['an answer about other ports', '1,2 : USERID : UNIX : bob\r\n'],
    ['an answer that ends early', 'PORTS : USERID : UNIX : bob'],
    ['an endless answer', 'x'.repeat(2000)],
  ])('rule 14: answers 92 for %s', async (_, answer) => {
    await start(answer);
    expect(await request(BOB, 8)).toBe('005c000000000000');
    await server.idle();
  });

  test('rule 14: answers 92 when ident does not answer in time', async () => {
    await start(undefined, 50);
    expect(await request(BOB, 8)).toBe('005c000000000000');
    await server.idle();
  });

  test('rule 14: answers 92 when nothing listens on the port of ident', async () => {
    server = await startServer({ ident: { port: await freePort() } });
    expect(await request(BOB, 8)).toBe('005c000000000000');
  });

  test('rule 14: sends the query from the address that the client is connected to', async () => {
    const from = deferred<string | undefined>();
    machine = await startDestination((socket) => {
      from.resolve(socket.remoteAddress);
      socket.end();
    });
    server = await startServer({ host: '127.0.0.2', ident: { port: machine.port } });
    const client = await dialRaw({ host: '127.0.0.2', port: server.port, localAddress: '127.0.0.1' });
    client.send(BOB.replace('PORT', destination.hex));
    expect(await client.receive(8)).toBe('005c000000000000');
    expect(await from.promise).toBe('127.0.0.2');
  });

  test('ends the query when the client resets', async () => {
    await start(undefined);
    const client = await dialRaw(server.port);
    client.send(BOB.replace('PORT', destination.hex));
    await once(server, 'received');
    client.stream.resetAndDestroy();
    await server.idle();
    expect(server.log).toMatchObject([{ reply: undefined, closed: true }]);
  });

  test('sends no query about a SOCKS5 client', async () => {
    await start(undefined);
    expect(await request('05 01 00 05 01 00 01 7f000001 PORT', 12)).toMatch(/^05000500/);
    expect(query).toBe('');
  });
});
