import { describe, expect, test } from 'vitest';
import { encodeReply, printEntry, REP, repOf } from '../src/index.ts';
import type { Entry } from '../src/index.ts';

describe('encodeReply', () => {
  test.each([
    [5, REP.SUCCEEDED, { host: '127.0.0.1', port: 4660 }, '05 00 00 01 7f000001 1234'],
    [5, REP.SUCCEEDED, { host: '::1', port: 80 }, '05 00 00 04 00000000000000000000000000000001 0050'],
    [5, REP.SUCCEEDED, { host: '::', port: 80 }, '05 00 00 04 00000000000000000000000000000000 0050'],
    [5, REP.SUCCEEDED, { host: 'fe80::1%lo', port: 1 }, '05 00 00 04 fe800000000000000000000000000001 0001'],
    [
      5,
      REP.SUCCEEDED,
      { host: '1:2:3:4:5:6:7:8', port: 1 },
      '05 00 00 04 00010002000300040005000600070008 0001',
    ],
    [
      5,
      REP.SUCCEEDED,
      { host: '::ffff:1.2.3.4', port: 1 },
      '05 00 00 04 00000000000000000000ffff01020304 0001',
    ],
    [5, REP.SUCCEEDED, { host: 'a.b', port: 0 }, '05 00 00 03 03 612e62 0000'],
    [5, REP.CONNECTION_REFUSED, undefined, '05 05 00 01 00000000 0000'],
    [4, REP.SUCCEEDED, { host: '127.0.0.1', port: 4660 }, '00 5a 1234 7f000001'],
    [4, REP.SUCCEEDED, { host: '::1', port: 80 }, '00 5a 0050 00000000'],
    [4, REP.CONNECTION_REFUSED, undefined, '00 5b 0000 00000000'],
  ] as const)('gives the bytes of version %i, reply %i, bound to %o', (version, rep, bound, hex) => {
    expect(Buffer.from(encodeReply(version, rep, bound)).toString('hex')).toBe(hex.replaceAll(' ', ''));
  });
});

test.each([
  ['ECONNREFUSED', 0x05],
  ['ENETUNREACH', 0x03],
  ['EHOSTUNREACH', 0x04],
  ['ENOTFOUND', 0x04],
  ['ETIMEDOUT', 0x06],
  ['EINVAL', 0x01],
])('the system error %s becomes REP %i', (code, rep) => {
  expect(repOf(Object.assign(new Error(code), { code }))).toBe(rep);
});

describe('printEntry', () => {
  const entry: Entry = {
    version: 5,
    form: '5',
    command: 'connect',
    atyp: 'name',
    host: 'origin.test',
    port: 443,
    user: 'alice',
    method: 0x02,
    reply: 0x00,
    remotePort: 1,
    outgoingPort: 2,
    bytesUp: 0,
    bytesDown: 0,
    dropped: 0,
    closed: false,
  };

  test('prints a user, a name and success', () => {
    expect(printEntry(entry)).toBe('SOCKS5 CONNECT name origin.test:443 user=alice -> 00');
  });

  test('prints SOCKS4 replies in decimal', () => {
    const socks4: Entry = {
      ...entry,
      version: 4,
      form: '4',
      atyp: 'ipv4',
      host: '127.0.0.1',
      user: '',
      reply: 91,
    };
    expect(printEntry(socks4)).toBe('SOCKS4 CONNECT ipv4 127.0.0.1:443 -> 91');
  });

  test('prints an IPv6 address and a missing answer', () => {
    const pending: Entry = { ...entry, atyp: 'ipv6', host: '::1', reply: undefined };
    expect(printEntry(pending)).toBe('SOCKS5 CONNECT ipv6 [::1]:443 user=alice -> pending');
  });

  test('prints one line', () => {
    expect(printEntry({ ...entry, host: 'a\nb', user: 'x y' })).toBe(
      'SOCKS5 CONNECT name a%0Ab:443 user=x%20y -> 00',
    );
  });
});
