// What a destination may be. vectors.test.ts shows the bytes that it becomes.

import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { isOnion, parseDestination, parseHost, printAddress } from '../src/destination.ts';

test.each<[string, string]>([
  ['example.com', 'example.com'],
  ['Example.COM', 'Example.COM'],
  ['example.com.', 'example.com.'],
  ['under_score.test', 'under_score.test'],
  ['127.0.0.1', '127.0.0.1'],
  ['::1', '::1'],
  ['[2001:db8::1]', '2001:db8::1'],
  ['bücher.example', 'xn--bcher-kva.example'],
  ['a..b', 'a..b'],
  ['xn--a', 'xn--a'],
  ['Straße.test', 'xn--strae-oqa.test'],
  ['bücher.example.', 'xn--bcher-kva.example.'],
  ['bücher。example', 'xn--bcher-kva.example'],
  ['ＷＷＷ.test', 'www.test'],
  ['exa\u00admple.test', 'example.test'],
  ['❤\ufe0f.test', 'xn--qei.test'],
  ['a'.repeat(255), 'a'.repeat(255)],
])('%s is the host %s', (host, expected) => {
  expect(parseHost(host)).toBe(expected);
});

// The column on the right is what the URL Standard (section 3.5, "IPv4 parser") reads.
test.each<[string, string]>([
  ['127.1', '127.0.0.1'],
  ['127.0.1', '127.0.0.1'],
  ['127.0.0.1.', '127.0.0.1'],
  ['0x7f.1', '127.0.0.1'],
  ['0X7F.0.0.0x1', '127.0.0.1'],
  ['0177.0.0.1', '127.0.0.1'],
  ['2130706433', '127.0.0.1'],
  ['0x7f000001', '127.0.0.1'],
  ['017700000001', '127.0.0.1'],
  ['1.256', '1.0.1.0'],
  ['0', '0.0.0.0'],
  ['0x', '0.0.0.0'],
  ['１２７.0.0.1', '127.0.0.1'],
  ['１２７。１', '127.0.0.1'],
  ['0ｘ7f｡1', '127.0.0.1'],
  ['②.1', '2.0.0.1'],
  ['127.0.0.1\u00ad', '127.0.0.1'],
])('%s is the IPv4 address %s', (host, expected) => {
  expect(parseHost(host)).toBe(expected);
});

describe('a host that ends in a number but is no IPv4 address', () => {
  test.each([
    '4294967296',
    '256.0.0.1',
    '1.2.3.256',
    '1.2.3.4.5',
    'a.1',
    'a.0x',
    'a.0x1f.',
    '09',
    'a.09',
    '1..2',
    'é.1',
  ])('is refused: %s', (host) => {
    expect(parseHost(host)).toBeUndefined();
  });
});

test.each(['1e3', '0xg', 'a.0xg', '1.2.3.4a', '127.0.0.1..', '1_000', 'a.1.b'])('%s stays a name', (host) => {
  expect(parseHost(host)).toBe(host);
});

describe('a character that no host can contain', () => {
  const characters = [
    '/',
    '\\',
    '?',
    '#',
    '@',
    ':',
    '%',
    '%2f',
    '%2e',
    '[',
    ']',
    '<',
    '>',
    '^',
    '|',
    ' ',
    '\t',
    '\n',
    '\r',
  ];
  // Characters that IDNA maps to one of these.
  const mapped = [
    '／',
    '＼',
    '？',
    '＃',
    '＠',
    '：',
    '％',
    '％2f',
    '［',
    '］',
    '\u00a0',
    '\u3000',
    '℀',
    '⒈',
    '㏂',
    '\ud800',
  ];
  test.each([...characters, '\0', '\u001f', '\u007f', ...mapped])(
    'is refused wherever it stands, in a name that IDNA rewrites too: %j',
    (character) => {
      for (const name of ['évil.test', '１２７.0.0.1', 'evil.test', '127.1']) {
        for (const host of [
          `${name}${character}.trusted.example`,
          `${name}${character}`,
          `${character}${name}`,
        ]) {
          expect(parseHost(host), host).toBeUndefined();
        }
      }
    },
  );
});

test('a host of more than 255 characters is refused before IDNA reads it', () => {
  expect(parseHost('é'.repeat(60))).toMatch(/^xn--/);
  expect(parseHost('é'.repeat(1_000_000))).toBeUndefined();
  expect(parseHost(`${'é.'.repeat(100)}test`)).toBeUndefined();
});

test.each(['x.onion', 'X.ONION', 'a.x.Onion.', 'ｘ.ｏｎｉｏｎ', 'x。ⓞnion。'])(
  '%s is an onion name',
  (host) => {
    expect(isOnion(parseHost(host) ?? '')).toBe(true);
  },
);

test.each(['onion.test', 'xonion', 'x.onion.test'])('%s is not an onion name', (host) => {
  expect(isOnion(parseHost(host) ?? '')).toBe(false);
});

test.each<[unknown, number]>([
  [1, 1],
  [65_535, 65_535],
  ['465', 465],
  ['00080', 80],
  ['65535', 65_535],
])('%j is the port %d', (port, expected) => {
  expect(parseDestination({ host: 'h', port: port as string })).toEqual({ host: 'h', port: expected });
});

describe('rule 5: a destination', () => {
  test.each<[string, unknown, unknown]>([
    ['an empty host', '', 80],
    ['a host of 256 bytes', 'a'.repeat(256), 80],
    ['a NUL', 'a\0b', 80],
    ['a space', 'a b', 80],
    ['CR and LF', 'a\r\nb', 80],
    ['DEL', 'a\u007f', 80],
    ['a port in the host', 'example.com:80', 80],
    ['a URL', 'http://example.com', 80],
    ['a user in the host', 'u@example.com', 80],
    ['a zone', 'fe80::1%eth0', 80],
    ['a zone in brackets', '[fe80::1%25eth0]', 80],
    ['brackets around a name', '[example.com]', 80],
    ['a name that IDNA refuses', 'ä\u2028b', 80],
    ['no host', undefined, 80],
    ['port 0', 'h', 0],
    ['port 65536', 'h', 65536],
    ['a fractional port', 'h', 80.5],
    ['NaN as port', 'h', Number.NaN],
    ['an empty port', 'h', ''],
    ['a port with a sign', 'h', '+80'],
    ['a port with a space', 'h', '80 '],
    ['a port in hex', 'h', '0x50'],
    ['a port with a fraction, as text', 'h', '80.0'],
    ['a port in full-width digits', 'h', '８０'],
    ['port 65536 as text', 'h', '65536'],
    ['a bigint as port', 'h', 80n],
    ['a symbol as port', 'h', Symbol('80')],
    ['an object without string form as port', 'h', Object.create(null)],
    ['no port', 'h', undefined],
    ['a bigint as host', 10n, 80],
    ['a symbol as host', Symbol('h'), 80],
    ['a circular object as host', globalThis, 80],
    ['a String object as host', Object('h'), 80],
    ['null as host', null, 80],
  ])('is refused when it has %s', (_, host, port) => {
    expect(() => parseDestination({ host: host as string, port: port as number })).toThrowError(
      expect.objectContaining({ code: 'ERR_SOCKS_INVALID_DESTINATION', phase: 'input' }),
    );
  });
});

test.each([undefined, null, 'example.com:80', 80, true, Symbol('h'), () => {}])(
  'a destination that is %o is refused, and the error names its type',
  (value) => {
    expect(() => parseDestination(value as never)).toThrowError(
      expect.objectContaining({
        code: 'ERR_SOCKS_INVALID_DESTINATION',
        message: expect.stringContaining('a destination is an object { host, port }, not'),
      }),
    );
  },
);

test('a protocol that is undefined was not given', () => {
  expect(parseDestination({ host: 'h', port: 1, protocol: undefined })).toEqual({ host: 'h', port: 1 });
});

describe('a host or port that may contain a secret', () => {
  test.each<[host: unknown, port: unknown]>([
    ['https://alice:hunter2@gate.example', 80],
    ['alice:hunter2@gate.example', 80],
    ['alice:hunter2', 80],
    ['hunter2 ', 80],
    ['hunter2'.repeat(40), 80],
    ['hunter2.1', 80],
    [{ toString: () => 'hunter2' }, 80],
    ['h', 'hunter2'],
    ['h', ['hunter2']],
  ])('is not repeated by the error: %j, %j', (host, port) => {
    let error: unknown;
    try {
      parseDestination({ host: host as string, port: port as string });
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ code: 'ERR_SOCKS_INVALID_DESTINATION' });
    expect(inspect(error, { showHidden: true })).not.toContain('hunter2');
  });
});

test('an address is printed with brackets around IPv6', () => {
  expect(printAddress({ host: '::1', port: 80 })).toBe('[::1]:80');
  expect(printAddress({ host: 'a.test', port: 80 })).toBe('a.test:80');
});
