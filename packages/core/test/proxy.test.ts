// What text and objects mean as a proxy, and what is refused before any IO. Rules 5 and 10.

import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { parseProxy, printProxy, toProxy } from '../src/proxy.ts';
import { checkRoute, selectChain } from '../src/route.ts';
import type { ProxyLike, SocksProxy } from '../src/proxy.ts';

const v5 = { version: 5, dns: 'remote', port: 1080 };

describe('a URL is read as', () => {
  test.each<[string, object]>([
    ['socks5://proxy.test', { ...v5, host: 'proxy.test' }],
    ['socks://proxy.test', { ...v5, host: 'proxy.test' }],
    ['socks5h://proxy.test:9050', { ...v5, host: 'proxy.test', port: 9050 }],
    ['SOCKS5://Proxy.Test/', { ...v5, host: 'Proxy.Test' }],
    ['socks4://127.0.0.1', { version: 4, dns: 'local', host: '127.0.0.1', port: 1080 }],
    ['socks4a://127.0.0.1:1', { version: 4, dns: 'remote', host: '127.0.0.1', port: 1 }],
    ['socks5s://proxy.test', { ...v5, host: 'proxy.test', tls: {} }],
    ['socks5://[::1]:1081', { ...v5, host: '::1', port: 1081 }],
    ['socks5://b%C3%BCcher.test', { ...v5, host: 'xn--bcher-kva.test' }],
    ['socks5://localhost/run/tor/socks', { ...v5, host: 'localhost', path: '/run/tor/socks' }],
    ['socks5:///run/a%20b', { ...v5, host: 'localhost', path: '/run/a b' }],
    ['socks5://user@h', { ...v5, host: 'h', credentials: { username: 'user' } }],
    ['socks5://user:@h', { ...v5, host: 'h', credentials: { username: 'user' } }],
    ['socks5://:pass@h', { ...v5, host: 'h', credentials: { username: '', password: 'pass' } }],
    ['socks5://a%3Ab:p%40%2F%25@h', { ...v5, host: 'h', credentials: { username: 'a:b', password: 'p@/%' } }],
    ['socks5://u%:100%@h', { ...v5, host: 'h', credentials: { username: 'u%', password: '100%' } }],
    ['socks5://jos%C3%A9:p@h', { ...v5, host: 'h', credentials: { username: 'josé', password: 'p' } }],
    ['socks4a://id@h', { version: 4, dns: 'remote', port: 1080, host: 'h', credentials: { username: 'id' } }],
  ])('%s', (url, expected) => {
    expect(parseProxy(url)).toEqual(expected);
    expect(parseProxy(new URL(url))).toEqual(expected);
  });
});

const secret = 'correct-horse';

describe('is refused, without repeating a secret', () => {
  test.each<[string, unknown, string]>([
    ['no scheme', 'proxy.test', 'ERR_SOCKS_INVALID_PROXY'],
    ['host and port alone', '127.0.0.1:1080', 'ERR_SOCKS_INVALID_PROXY'],
    ['no slashes', 'socks5:127.0.0.1:1080', 'ERR_SOCKS_INVALID_PROXY'],
    ['no slashes, and a path', 'socks5:proxy.test/sock', 'ERR_SOCKS_INVALID_PROXY'],
    ['one slash', 'socks5:/proxy.test', 'ERR_SOCKS_INVALID_PROXY'],
    ['another scheme', `http://u:${secret}@proxy.test`, 'ERR_SOCKS_INVALID_PROXY'],
    ['an unencoded slash in the password', `socks5://u:${secret}/x@proxy.test`, 'ERR_SOCKS_INVALID_PROXY'],
    ['an unencoded hash in the password', `socks5://u:1#${secret}@proxy.test`, 'ERR_SOCKS_INVALID_PROXY'],
    ['port 0', 'socks5://proxy.test:0', 'ERR_SOCKS_INVALID_PROXY'],
    ['port 65536', 'socks5://proxy.test:65536', 'ERR_SOCKS_INVALID_PROXY'],
    ['no host', 'socks5://', 'ERR_SOCKS_INVALID_PROXY'],
    ['a path on another host', 'socks5://proxy.test/sock', 'ERR_SOCKS_INVALID_PROXY'],
    ['a query', 'socks5://proxy.test?x', 'ERR_SOCKS_INVALID_PROXY'],
    ['the empty string', '', 'ERR_SOCKS_INVALID_PROXY'],
    ['null', null, 'ERR_SOCKS_INVALID_PROXY'],
    ['undefined', undefined, 'ERR_SOCKS_INVALID_PROXY'],
    ['a number', 1080, 'ERR_SOCKS_INVALID_PROXY'],
    ['an empty chain', [], 'ERR_SOCKS_INVALID_PROXY'],
    ['a chain with a hole', ['socks5://a', undefined], 'ERR_SOCKS_INVALID_PROXY'],
    ['a Unix socket behind a hop', ['socks5://a', 'socks5://localhost/x'], 'ERR_SOCKS_INVALID_PROXY'],
    ['version 6', { ...v5, version: 6, host: 'h' }, 'ERR_SOCKS_INVALID_PROXY'],
    ['no host in an object', { ...v5 }, 'ERR_SOCKS_INVALID_PROXY'],
    ['a fractional port', { ...v5, host: 'h', port: 1.5 }, 'ERR_SOCKS_INVALID_PROXY'],
    ['a space in the host', { ...v5, host: 'a b' }, 'ERR_SOCKS_INVALID_PROXY'],
    ['an unknown dns', { ...v5, host: 'h', dns: 'none' }, 'ERR_SOCKS_INVALID_PROXY'],
    ['tls: true', { ...v5, host: 'h', tls: true }, 'ERR_SOCKS_INVALID_PROXY'],
    [
      'a username of 256 bytes',
      { ...v5, host: 'h', credentials: { username: 'é'.repeat(128) } },
      'ERR_SOCKS_INVALID_CREDENTIALS',
    ],
    ['a password of 256 bytes', `socks5://u:${'p'.repeat(256)}@h`, 'ERR_SOCKS_INVALID_CREDENTIALS'],
    [
      'a lone surrogate',
      { ...v5, host: 'h', credentials: { username: '\ud800' } },
      'ERR_SOCKS_INVALID_CREDENTIALS',
    ],
    ['credentials that are bytes', `socks5://u:${secret}%ff@h`, 'ERR_SOCKS_INVALID_PROXY'],
    [
      'a password without username',
      { ...v5, host: 'h', credentials: { password: secret } },
      'ERR_SOCKS_INVALID_CREDENTIALS',
    ],
    ['a NUL in the SOCKS4 USERID', 'socks4a://a%00b@h', 'ERR_SOCKS_INVALID_CREDENTIALS'],
    ['a password for SOCKS4', `socks4://u:${secret}@h`, 'ERR_SOCKS_INVALID_CREDENTIALS'],
  ])('%s', (_, value, code) => {
    let error: unknown;
    try {
      checkRoute(value as ProxyLike);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ name: 'SocksError', code, phase: 'input' });
    expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(secret);
  });
});

test('a plain object is as good as a URL, and is copied', () => {
  const plain = { version: 5 as const, host: '[::1]', port: 9050, dns: 'remote' as const };
  const proxy = toProxy(plain);
  expect(proxy).toEqual(parseProxy('socks5://[::1]:9050'));
  expect(Object.isFrozen(proxy)).toBe(true);
  expect(toProxy(proxy)).toBe(proxy);
});

test('printing or serialising a proxy does not show its password', () => {
  const proxy = parseProxy(`socks5://user:${secret}@proxy.test`);
  expect(proxy.credentials?.password).toBe(secret);
  expect({ ...proxy.credentials }).toEqual({ username: 'user', password: secret });
  expect(inspect(proxy, { depth: 9 })).not.toContain(secret);
  expect(JSON.stringify(proxy)).not.toContain(secret);
  expect(printProxy(proxy)).toBe('socks5://proxy.test:1080');
});

test.each<[string, string]>([
  ['socks5://[::1]', 'socks5://[::1]:1080'],
  ['socks5h://a', 'socks5://a:1080'],
  ['socks5s://a', 'socks5s://a:1080'],
  ['socks4://a', 'socks4://a:1080'],
  ['socks4a://u@a:1', 'socks4a://a:1'],
  ['socks5://localhost/run/s', 'socks5://localhost/run/s'],
])('%s prints as %s', (url, printed) => {
  expect(printProxy(parseProxy(url))).toBe(printed);
});

test('a selector chooses by destination; undefined is direct, anything else that is no proxy throws', () => {
  const at = (value: unknown) => selectChain(() => value as SocksProxy, { host: 'h', port: 1 });
  expect(at(undefined)).toBe('direct');
  expect(at('socks5://a')).toMatchObject([{ host: 'a' }]);
  expect(at(['socks5://a', 'socks4a://b'])).toMatchObject([{ host: 'a' }, { host: 'b' }]);
  for (const bad of [null, '', false, []]) {
    expect(() => at(bad)).toThrowError(expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }));
  }
});
