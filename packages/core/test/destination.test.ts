// What a destination may be. The bytes it becomes are in vectors.test.ts. Rules 5 and 19.

import { describe, expect, test } from 'vitest';
import { parseDestination, parseHost, printAddress } from '../src/destination.ts';

test.each<[string, string]>([
  ['example.com', 'example.com'],
  ['Example.COM', 'Example.COM'],
  ['example.com.', 'example.com.'],
  ['under_score.test', 'under_score.test'],
  ['127.0.0.1', '127.0.0.1'],
  ['::1', '::1'],
  ['[2001:db8::1]', '2001:db8::1'],
  ['bücher.example', 'xn--bcher-kva.example'],
  ['１２７.0.0.1', '127.0.0.1'],
  ['a'.repeat(255), 'a'.repeat(255)],
])('%s is the host %s', (host, expected) => {
  expect(parseHost(host)).toBe(expected);
});

describe('no destination', () => {
  test.each<[string, unknown, unknown]>([
    ['an empty host', '', 80],
    ['256 bytes', 'a'.repeat(256), 80],
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
    ['no string', undefined, 80],
    ['port 0', 'h', 0],
    ['port 65536', 'h', 65536],
    ['a fractional port', 'h', 80.5],
    ['NaN', 'h', Number.NaN],
    ['a port as text', 'h', '80'],
    ['no port', 'h', undefined],
  ])('%s', (_, host, port) => {
    expect(() => parseDestination({ host: host as string, port: port as number })).toThrowError(
      expect.objectContaining({ code: 'ERR_SOCKS_INVALID_DESTINATION', phase: 'input' }),
    );
  });
});

test('an address is printed with brackets around IPv6', () => {
  expect(printAddress({ host: '::1', port: 80 })).toBe('[::1]:80');
  expect(printAddress({ host: 'a.test', port: 80 })).toBe('a.test:80');
});
