// Which destinations are open to which clients.

import { dialRaw, startDestination } from '@socksify/support';
import type { TcpDestination } from '@socksify/support';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createJudge, startServer } from '../src/index.ts';
import type { Match, Rule, ServerOptions, SocksServer, Subject } from '../src/index.ts';

const subject: Subject = { command: 'connect', host: 'www.example.com', port: 443, address: '192.0.2.7' };

function isDenied(match: Match, changes: Partial<Subject> = {}): boolean {
  return createJudge([{ deny: match }])({ ...subject, ...changes }) === false;
}

describe('a rule matches', () => {
  test.each<[string, Match, Partial<Subject>?]>([
    ['everything', {}],
    ['a name, whatever its case and final dot', { host: 'WWW.example.com.' }, { host: 'www.Example.com' }],
    ['a name with a final dot', { host: 'www.example.com' }, { host: 'www.example.com.' }],
    ['subdomains', { host: '*.example.com' }],
    ['subdomains of subdomains', { host: '*.com' }],
    ['a port', { port: 443 }],
    ['a range of ports, its first', { port: [443, 500] }],
    ['a range of ports, its last', { port: [400, 443] }],
    ['an address', { cidr: '192.0.2.7' }],
    ['a network', { cidr: '192.0.2.0/24' }],
    ['a network whose address has host bits', { cidr: '192.0.2.99/24' }],
    ['all of IPv4', { cidr: '0.0.0.0/0' }],
    ['an IPv6 network', { cidr: '2001:db8::/32' }, { address: '2001:db8::1' }],
    ['an IPv4-mapped address', { cidr: '192.0.2.0/24' }, { address: '::ffff:192.0.2.7' }],
    ['the same in hexadecimal', { cidr: '192.0.2.0/24' }, { address: '::ffff:c000:207' }],
    ['an IPv4-mapped network', { cidr: '::ffff:192.0.2.0/120' }],
    ['the loopback, reached by no address', { cidr: '127.0.0.0/8' }, { address: '0.0.0.0' }],
    ['the loopback, reached by no IPv6 address', { cidr: '::1' }, { address: '::' }],
    [
      'the loopback, reached by an IPv4-mapped address of zeros',
      { cidr: '127.0.0.0/8' },
      { address: '::ffff:0:0' },
    ],
    ['a user', { user: 'eve' }, { user: 'eve' }],
    ['a command', { command: 'bind' }, { command: 'bind' }],
    ['all that it names', { host: '*.example.com', port: 443, cidr: '192.0.2.0/24' }],
  ])('%s', (_, match, changes) => {
    expect(isDenied(match, changes)).toBe(true);
  });
});

describe('a rule does not match', () => {
  test.each<[string, Match, Partial<Subject>?]>([
    ['a subdomain, if the name is written', { host: 'example.com' }],
    ['the name itself, if subdomains are written', { host: '*.example.com' }, { host: 'example.com' }],
    ['a name that ends alike', { host: '*.example.com' }, { host: 'evilexample.com' }],
    ['another port', { port: 442 }],
    ['a port below the range', { port: [444, 500] }],
    ['a port above the range', { port: [1, 442] }],
    ['an address beyond the network', { cidr: '192.0.2.0/30' }],
    ['IPv4, if all of IPv6 is written', { cidr: '::/0' }],
    ['IPv6, if all of IPv4 is written', { cidr: '0.0.0.0/0' }, { address: '2001:db8::1' }],
    ['nobody, if a user is written', { user: 'eve' }],
    ['another command', { command: 'bind' }],
    ['if one part does not', { host: '*.example.com', port: 80 }],
  ])('%s', (_, match, changes) => {
    expect(isDenied(match, changes)).toBe(false);
  });
});

test('the first rule that matches decides, and what none matches is allowed', () => {
  const rules: Rule[] = [{ allow: { port: 443 } }, { deny: { host: '*.example.com' } }];
  expect(createJudge(rules)(subject)).toBe(true);
  expect(createJudge(rules.toReversed())(subject)).toBe(false);
  expect(createJudge(rules)({ ...subject, host: 'example.org', port: 80 })).toBe(true);
  expect(createJudge()(subject)).toBe(true);
});

test('a rule about an address decides when the address is known', () => {
  const judge = createJudge([{ deny: { cidr: '10.0.0.0/8', port: 443 } }, { deny: { host: '*.test' } }]);
  expect(judge({ command: 'connect', host: 'a.test', port: 443 })).toBeUndefined();
  expect(judge({ command: 'connect', host: 'a.test', port: 80 })).toBe(false);
});

test.each<[string, unknown]>([
  ['neither allow nor deny', {}],
  ['both', { allow: {}, deny: {} }],
  ['an unknown field', { allow: { hots: 'a.test' } }],
  ['an unknown field beside', { allow: {}, port: 1 }],
  ['an address for a name', { deny: { host: '10.0.0.1' } }],
  ['a star within', { deny: { host: 'a.*.test' } }],
  ['a star alone', { deny: { host: '*' } }],
  ['a dot in front', { deny: { host: '.a.test' } }],
  ['no name', { deny: { host: '' } }],
  ['a port too high', { deny: { port: 65_536 } }],
  ['a range backwards', { deny: { port: [2, 1] } }],
  ['no port', { deny: { port: Number.NaN } }],
  ['a name for a network', { deny: { cidr: 'a.test/8' } }],
  ['a prefix too long', { deny: { cidr: '10.0.0.0/33' } }],
  ['a prefix that is none', { deny: { cidr: '10.0.0.0/' } }],
  ['a negative prefix', { deny: { cidr: '10.0.0.0/-1' } }],
  ['two prefixes', { deny: { cidr: '10.0.0.0/8/8' } }],
  ['half of the IPv4-mapped addresses', { deny: { cidr: '::ffff:0:0/90' } }],
])('startServer() refuses a rule with %s', async (_, rule) => {
  await expect(startServer({ rules: [rule as Rule] })).rejects.toThrow(TypeError);
});

describe('a server with rules', () => {
  let destination: TcpDestination;
  let server: SocksServer;
  let accepted = 0;

  beforeAll(async () => {
    destination = await startDestination((socket) => {
      accepted++;
      socket.resume();
    });
  });
  afterAll(() => destination.close());
  afterEach(() => server.close());

  const names = { 'a.test': '127.0.0.1', 'b.test': ['::1', '127.0.0.1'] };
  const NAME = { a: '03 06 612e74657374', b: '03 06 622e74657374' };

  async function answerTo(options: ServerOptions, hex: string, length: number): Promise<string> {
    server = await startServer({ names, ...options });
    accepted = 0;
    const client = await dialRaw(server.port);
    client.send(hex.replaceAll('PORT', destination.hex));
    const answer = await client.receive(length);
    client.stream.destroy();
    return answer;
  }

  const loopback: Rule[] = [{ deny: { cidr: '127.0.0.0/8' } }];

  test.each<[string, Rule[], string, string]>([
    [
      'a name',
      [{ deny: { host: 'a.test' } }],
      `05 01 00 05 01 00 ${NAME.a} PORT`,
      '050005020001000000000000',
    ],
    ['an address', loopback, '05 01 00 05 01 00 01 7f000001 PORT', '050005020001000000000000'],
    ['a name that leads to one', loopback, `05 01 00 05 01 00 ${NAME.a} PORT`, '050005020001000000000000'],
    ['a name that may lead to one', loopback, `05 01 00 05 01 00 ${NAME.b} PORT`, '050005020001000000000000'],
    [
      'an address for a name',
      loopback,
      '05 01 00 05 01 00 03 09 3132372e302e302e31 PORT',
      '050005020001000000000000',
    ],
    [
      'an IPv4-mapped address',
      loopback,
      '05 01 00 05 01 00 04 00000000000000000000ffff7f000001 PORT',
      '050005020001000000000000',
    ],
    ['no address', loopback, '05 01 00 05 01 00 01 00000000 PORT', '050005020001000000000000'],
    ['SOCKS4', loopback, '04 01 PORT 7f000001 00', '005b000000000000'],
    ['SOCKS4A', loopback, '04 01 PORT 00000001 00 612e74657374 00', '005b000000000000'],
    ['a USERID', [{ deny: { user: 'eve' } }], '04 01 PORT 7f000001 657665 00', '005b000000000000'],
    [
      'BIND',
      [{ deny: { command: 'bind' } }],
      '05 01 00 05 02 00 01 00000000 0000',
      '050005020001000000000000',
    ],
    [
      'UDP ASSOCIATE',
      [{ deny: { command: 'associate' } }],
      '05 01 00 05 03 00 01 00000000 0000',
      '050005020001000000000000',
    ],
  ])('refuses %s with REP 02 or CD 91', async (_, rules, hex, answer) => {
    expect(await answerTo({ rules }, hex, answer.length / 2)).toBe(answer);
    expect(accepted).toBe(0);
  });

  test('does not look up a name that is refused as such', async () => {
    const rules: Rule[] = [{ deny: { host: '*.void' } }];
    expect(await answerTo({ rules }, '05 01 00 05 01 00 03 06 612e766f6964 0050', 12)).toMatch(/^05000502/);
  });

  test('allows what an earlier rule allows', async () => {
    const rules: Rule[] = [{ allow: { host: 'a.test', port: destination.port } }, { deny: {} }];
    expect(await answerTo({ rules }, `05 01 00 05 01 00 ${NAME.a} PORT`, 12)).toMatch(/^05000500/);
    await server.close();
    expect(await answerTo({ rules }, '05 01 00 05 01 00 01 7f000001 PORT', 12)).toMatch(/^05000502/);
  });

  test('does not take a USERID for a user who has a password', async () => {
    const rules: Rule[] = [{ allow: { user: 'alice' } }, { deny: {} }];
    const options = { users: { alice: 'secret' }, allowAnonymous: true, rules };
    expect(await answerTo(options, '04 01 PORT 7f000001 616c696365 00', 8)).toBe('005b000000000000');
    await server.close();
    const login = '01 05 616c696365 06 736563726574';
    expect(await answerTo(options, `05 01 02 ${login} 05 01 00 01 7f000001 PORT`, 14)).toMatch(
      /^0502010005 ?00/,
    );
  });

  test('does not look up a name that the system would cut at a NUL', async () => {
    const hex = '05 01 00 05 01 00 03 0b 6c6f63616c686f73740061 PORT';
    expect(await answerTo({ resolve: 'system' }, hex, 12)).toBe('050005040001000000000000');
  });
});
