// Rule 29: the commands that Tor has added.

import { dialRaw } from '@socksify/support';
import { afterEach, describe, expect, test } from 'vitest';
import { printEntry, startServer } from '../src/index.ts';
import type { ServerOptions, SocksServer } from '../src/index.ts';

let server: SocksServer;
afterEach(() => server.close());

const NAMES = {
  'four.test': '192.0.2.7',
  'six.test': '2001:db8::1',
  'both.test': ['2001:db8::2', '192.0.2.8'],
  'again.test': '192.0.2.7',
};

async function answerTo(hex: string, options: ServerOptions = { tor: true }): Promise<string> {
  server = await startServer({ names: NAMES, ...options });
  const client = await dialRaw(server.port);
  client.send(hex);
  const answer = await client.rest();
  client.stream.destroy();
  return answer;
}

describe('rule 29: RESOLVE', () => {
  test.each([
    ['a name', '05 f0 00 03 09 666f75722e74657374 0000', '05000001c00002070000'],
    [
      'a name of an IPv6 address',
      '05 f0 00 03 08 7369782e74657374 0000',
      '0500000420010db80000000000000000000000010000',
    ],
    ['an address', '05 f0 00 01 c0000207 0000', '05000001c00002070000'],
    ['an unknown name', '05 f0 00 03 03 612e62 0000', '05040001000000000000'],
  ])('answers for %s over SOCKS5', async (_, request, answer) => {
    expect(await answerTo(`05 01 00 ${request}`)).toBe(`0500${answer}`);
    await server.idle();
  });

  test.each([
    ['a name', '04 f0 0000 00000001 00 666f75722e74657374 00', '005a0000c0000207'],
    ['a name of both families', '04 f0 0000 00000001 00 626f74682e74657374 00', '005a0000c0000208'],
    ['a name of an IPv6 address', '04 f0 0000 00000001 00 7369782e74657374 00', '005b000000000000'],
  ])('answers for %s over SOCKS4A', async (_, request, answer) => {
    expect(await answerTo(request)).toBe(answer);
  });

  test('follows the rules', async () => {
    const rules = [{ deny: { cidr: '192.0.2.0/24' } }];
    expect(await answerTo('05 01 00 05 f0 00 03 09 666f75722e74657374 0000', { tor: true, rules })).toMatch(
      /^05000502/,
    );
  });
});

describe('rule 29: RESOLVE_PTR', () => {
  test.each([
    ['an address', '01 c0000207', '05000003 09 666f75722e74657374 0000'],
    ['an IPv4-mapped address', '04 00000000000000000000ffffc0000207', '05000003 09 666f75722e74657374 0000'],
    ['an IPv6 address', '04 20010db8000000000000000000000001', '05000003 08 7369782e74657374 0000'],
    ['an unknown address', '01 c0000299', '05040001000000000000'],
  ])('answers for %s', async (_, address, answer) => {
    expect(await answerTo(`05 01 00 05 f1 00 ${address} 0000`)).toBe(`0500${answer.replaceAll(' ', '')}`);
    expect(server.log[0]?.command).toBe('resolve-ptr');
  });

  test('is not a command of SOCKS4', async () => {
    expect(await answerTo('04 f1 0000 c0000207 00')).toBe('005b000000000000');
    expect(server.log.map(printEntry)).toEqual(['SOCKS4 unknown command ipv4 192.0.2.7:0 -> 91']);
  });
});

test('rule 29: RESOLVE gets REP 07 from a server without tor', async () => {
  expect(await answerTo('05 01 00 05 f0 00 03 09 666f75722e74657374 0000', {})).toBe(
    '050005070001000000000000',
  );
  expect(server.log.map(printEntry)).toEqual(['SOCKS5 RESOLVE name four.test:0 -> 07']);
});

test('rule 29: the log says which credentials a request had', async () => {
  const token = '01 09 3c746f725330583e30 04 69736f31';
  const hex = `05 01 02 ${token} 05 f0 00 01 c0000207 0000`;
  expect(await answerTo(hex, { tor: true, users: 'any' })).toBe('0502010005000001c00002070000');
  expect(server.log).toMatchObject([{ user: '<torS0X>0' }]);
});
