// What text and objects mean as a proxy, and what is refused before any IO.

import { inspect } from 'node:util';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { reveal } from '../src/hidden.ts';
import { parseProxy, printProxy, toProxy } from '../src/proxy.ts';
import { checkRoute, LazyContext, selectChain } from '../src/route.ts';
import type { ProxyLike, SocksProxy } from '../src/proxy.ts';

afterEach(() => vi.unstubAllGlobals());

const v5 = { version: 5, dns: 'remote', port: 1080 };

describe('a URL', () => {
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
  ])('is read as a proxy: %s', (url, expected) => {
    expect(revealed(parseProxy(url))).toEqual(expected);
    expect(revealed(parseProxy(new URL(url)))).toEqual(expected);
  });

  /** The password is not an own property of the credentials. */
  function revealed(proxy: SocksProxy): object {
    return proxy.credentials ? { ...proxy, credentials: reveal(proxy.credentials) } : proxy;
  }
});

test.each<[string, string]>([
  ['socks5://127.1', '127.0.0.1'],
  ['socks5://0x7f000001:1080', '127.0.0.1'],
  ['socks5://１２７.0.0.1', '127.0.0.1'],
  ['socks5://ü.test.', 'xn--tda.test.'],
])('the host of %s is %s', (url, host) => {
  expect(parseProxy(url).host).toBe(host);
  expect(toProxy({ version: 5, host: url.slice(9).replace(/:.*/, '') }).host).toBe(host);
});

test('white space and line breaks around a URL are ignored', () => {
  expect(parseProxy(' \tsocks5://u:p@h\r\n')).toMatchObject({ host: 'h', credentials: { password: 'p' } });
});

const secret = 'correct-horse';

describe('rule 5: a proxy that is not valid', () => {
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
    ['a tab in the password', `socks5://u:${secret}\t@h`, 'ERR_SOCKS_INVALID_PROXY'],
    ['a line break in the host', 'socks5://proxy\n.test', 'ERR_SOCKS_INVALID_PROXY'],
    ['an encoded slash in a host that IDNA rewrites', 'socks5://ü%2Fb', 'ERR_SOCKS_INVALID_PROXY'],
    ['an encoded tab in a host that IDNA rewrites', 'socks5://ü%09b', 'ERR_SOCKS_INVALID_PROXY'],
    ['a percent sign, encoded twice', 'socks5://ü%252Fb', 'ERR_SOCKS_INVALID_PROXY'],
    ['a list', `socks5://u:${secret}@a,b`, 'ERR_SOCKS_INVALID_PROXY'],
    ['a list as host', { ...v5, host: 'a,b' }, 'ERR_SOCKS_INVALID_PROXY'],
    ['a list with a full-width comma as host', { ...v5, host: 'a，b' }, 'ERR_SOCKS_INVALID_PROXY'],
    ['a host that ends in a number', 'socks5://h.1', 'ERR_SOCKS_INVALID_PROXY'],
    ['a secret in place of the scheme', `${secret}://h`, 'ERR_SOCKS_INVALID_PROXY'],
    ['a secret in place of the scheme, and more', `${secret}://u@h:1080`, 'ERR_SOCKS_INVALID_PROXY'],
    ['credentials in the path', `socks5:///alice:${secret}@gate.example:1080`, 'ERR_SOCKS_INVALID_PROXY'],
    ['credentials behind localhost', `socks5://localhost/${secret}@gate.example`, 'ERR_SOCKS_INVALID_PROXY'],
    ['an unencoded slash, user localhost', `socks5://u:p@localhost/${secret}@g`, 'ERR_SOCKS_INVALID_PROXY'],
    ['an unencoded question mark in the password', `socks5://u:1?${secret}@h`, 'ERR_SOCKS_INVALID_PROXY'],
    ['a secret as port', { ...v5, host: 'h', port: secret }, 'ERR_SOCKS_INVALID_PROXY'],
    ['a secret as version', { version: secret, host: 'h' }, 'ERR_SOCKS_INVALID_PROXY'],
    ['a secret as dns', { ...v5, host: 'h', dns: secret }, 'ERR_SOCKS_INVALID_PROXY'],
    ['a URL as host', { ...v5, host: `socks5://u:${secret}@h` }, 'ERR_SOCKS_INVALID_PROXY'],
    ['a URL as the name of a field', { [`socks5://u:${secret}@h`]: '' }, 'ERR_SOCKS_INVALID_PROXY'],
    ['a symbol as host', { ...v5, host: Symbol('h') }, 'ERR_SOCKS_INVALID_PROXY'],
    ['an object as host', { ...v5, host: { toString: () => '::1' } }, 'ERR_SOCKS_INVALID_PROXY'],
    ['a symbol as version', { version: Symbol('5'), host: 'h' }, 'ERR_SOCKS_INVALID_PROXY'],
    [
      'an object without string form as dns',
      { ...v5, host: 'h', dns: Object.create(null) },
      'ERR_SOCKS_INVALID_PROXY',
    ],
    ['credentials that are null', { ...v5, host: 'h', credentials: null }, 'ERR_SOCKS_INVALID_CREDENTIALS'],
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
  ])('is refused without repeating a secret: %s', (_, value, code) => {
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

test('port and dns have defaults, a port may be a string of digits, and a field that is undefined was not given', () => {
  const none = { path: undefined, credentials: undefined, dns: undefined, tls: undefined };
  expect(toProxy({ version: 5, host: 'h', ...none, port: undefined })).toEqual({ ...v5, host: 'h' });
  expect(toProxy({ version: 5, host: 'h', port: '9050' })).toEqual({ ...v5, host: 'h', port: 9050 });
  expect(toProxy({ version: 5, path: '/run/s' })).toEqual({ ...v5, host: 'localhost', path: '/run/s' });
  const credentials = { username: 'u', password: undefined, user: undefined } as object as {
    username: string;
  };
  expect(toProxy({ version: 4, host: 'h', credentials, username: undefined }).credentials).toEqual({
    username: 'u',
  });
  expect(toProxy({ version: 5, host: 'h', tls: { ca: undefined as never } }).tls).toEqual({});
});

describe('an unknown field of a proxy object', () => {
  test.each<[field: string, instead: string]>([
    ['username', 'credentials: { username, password }'],
    ['password', 'credentials: { username, password }'],
    ['userId', 'credentials: { username, password }'],
    ['auth', 'credentials: { username, password }'],
    ['credential', 'credentials: { username, password }'],
    ['login', 'credentials: { username, password }'],
    ['url', 'the URL itself'],
    ['uri', 'the URL itself'],
    ['href', 'the URL itself'],
    ['type', 'version: 4 or 5'],
    ['protocol', 'version: 4 or 5'],
    ['hostname', 'host'],
    ['ipaddress', 'host'],
    ['socketPath', 'path'],
    ['secureProxy', 'tls: { ca, cert, key }'],
    ['rejectUnauthorized', 'tls: { ca, cert, key }'],
    ['resolve', "dns: 'remote' or dns: 'local'"],
    ['constructor', 'version, host, port, path, credentials, dns, tls'],
    ['timeout', 'version, host, port, path, credentials, dns, tls'],
  ])('is refused by name, with what to write instead: %s', (field, instead) => {
    for (const given of [{ version: 5, host: 'h', port: 1, [field]: 5 }, { [field]: null }]) {
      expect(() => toProxy(given as never)).toThrowError(
        expect.objectContaining({
          code: 'ERR_SOCKS_INVALID_PROXY',
          detail: expect.stringContaining(`no field ${field}: write ${instead}`),
        }),
      );
    }
  });

  test('is refused when it is a getter of a class', () => {
    class Config {
      version = 5;
      host = 'h';
      get username(): string {
        return 'alice';
      }
    }
    expect(() => toProxy(new Config() as never)).toThrowError(/no field username/);
  });

  test.each(['user', 'pass', 'userId', 'hidden2'])('is refused in credentials too: %s', (field) => {
    const credentials = { username: 'u', [field]: 'x' };
    expect(() => toProxy({ version: 5, host: 'h', credentials })).toThrowError(
      expect.objectContaining({
        code: 'ERR_SOCKS_INVALID_CREDENTIALS',
        detail: `no field ${field}: write { username, password }`,
      }),
    );
  });
});

describe('the error of a value that is no proxy', () => {
  const encode = 'percent-encode the username and password';
  test.each<[unknown, string]>([
    ['socks5://u:a/b@h', encode],
    ['socks5://u:1/b@h', encode],
    ['socks5://u:1?b@h', encode],
    ['socks5://u:1#b@h', encode],
    ['socks5://u:a#b@h', encode],
    ['socks5://localhost/b@h', '%40'],
    ['http://h:3128', 'http: is not a SOCKS scheme: use socks5'],
    ['proxy.test:1080', 'no "://": write socks5:// in front of the host'],
    ['127.0.0.1:1080', 'no "://": write socks5:// in front of the host'],
    ['socks5:127.0.0.1:1080', 'no "://": write socks5:// in front of the host'],
    [' ', 'the URL is empty'],
    ['socks5://h:99999', 'socks5://user:password@host:1080, with a port up to 65535'],
    [{ host: 'h' }, 'the version must be the number 4 or 5'],
    [{ version: '5', host: 'h' }, 'the version must be the number 4 or 5'],
    [{ version: 5 }, 'the host must be a string, not undefined'],
    [{ version: 5, host: 10n }, 'the host must be a string, not bigint'],
    [{ version: 5, host: 'h:1080' }, 'without scheme, port, user or zone'],
    [{ version: 5, host: 'h', port: null }, 'the port must be a number or a string of digits'],
    [5, 'a proxy is a URL or an object such as { version: 5, host }, not 5'],
    [[['socks5://h']], 'not array'],
    ['socks5://a,b', 'write an array for a chain, or proxyGroup() for alternatives'],
    ['socks5://a:1,b:2', 'write an array for a chain, or proxyGroup() for alternatives'],
    ['socks5://a,socks5://b', 'write an array for a chain, or proxyGroup() for alternatives'],
    ['socks5://a:1080,socks5://b:1080', 'write an array for a chain, or proxyGroup() for alternatives'],
    ['socks5://u:p@a, socks5://u:p@b', 'write an array for a chain, or proxyGroup() for alternatives'],
    ['socks5://u:p,q/r@h', encode],
    [{ version: 5, host: 'h', credentials: 'u:p' }, 'an object { username, password }, not string'],
  ])('says what to write instead of %o: %s', (value, words) => {
    expect(() => checkRoute(value as ProxyLike)).toThrowError(
      expect.objectContaining({ name: 'SocksError', message: expect.stringContaining(words) }),
    );
  });
});

test.each([
  ['socks5://u:p,@h', { host: 'h', credentials: { username: 'u', password: 'p,' } }],
  ['socks5://u:p,q@h', { host: 'h', credentials: { username: 'u', password: 'p,q' } }],
  ['socks5://u,v:p,q@h/', { host: 'h', credentials: { username: 'u,v', password: 'p,q' } }],
  ['socks5://localhost/run/a,b.sock', { path: '/run/a,b.sock' }],
])('a comma that is in no host makes no list: %s', (url, expected) => {
  expect(parseProxy(url)).toMatchObject(expected);
});

test('an object with an href is a URL, of whatever class it is', () => {
  class OtherURL {
    get href(): string {
      return 'socks5://u:p@h:1';
    }
    username = 'u';
    password = 'p';
  }
  const proxy = toProxy(new OtherURL() as unknown as URL);
  expect(proxy).toMatchObject({ host: 'h', port: 1, credentials: { username: 'u', password: 'p' } });
});

test('a proxy is parsed without the URL and TextDecoder of the global object, which may be those of jsdom', () => {
  const url = new URL('socks5://jos%C3%A9:p@h');
  vi.stubGlobal('URL', undefined);
  vi.stubGlobal('TextDecoder', undefined);
  for (const value of [url, url.href]) {
    expect(toProxy(value)).toMatchObject({ host: 'h', credentials: { username: 'josé', password: 'p' } });
  }
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

test('a selector chooses by destination, undefined means a direct connection, and any other answer that is no proxy throws', () => {
  const at = (value: unknown) =>
    selectChain(() => value as SocksProxy, { host: 'h', port: 1 }, new LazyContext());
  expect(at(undefined)).toBe('direct');
  expect(at('socks5://a')).toMatchObject([{ host: 'a' }]);
  expect(at(['socks5://a', 'socks4a://b'])).toMatchObject([{ host: 'a' }, { host: 'b' }]);
  for (const bad of [null, '', false, []]) {
    expect(() => at(bad)).toThrowError(expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }));
  }
});

describe('a field that is inherited', () => {
  class WithUser {
    version = 5 as const;
    host = 'h';
    get userId(): string {
      return 'alice';
    }
    print(): string {
      return this.host;
    }
  }

  test('is refused by name as an own field is', () => {
    expect(() => toProxy(new WithUser())).toThrowError(
      expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }),
    );
    expect(() => toProxy(new WithUser())).toThrowError(/userId: write credentials/);
    const heir = Object.assign(Object.create({ auth: 'alice:secret' }), {
      version: 5,
      host: 'h',
    }) as ProxyLike;
    expect(() => toProxy(heir)).toThrowError(/auth: write credentials/);
  });
});

test('a proxy whose hidden password was copied without its class is refused', () => {
  const { credentials, ...rest } = parseProxy('socks5://u:p@h');
  const hidden = Object.create(
    Object.getPrototypeOf((credentials as unknown as { hidden: object }).hidden),
  ) as object;
  const copy = { ...rest, credentials: { username: 'u', hidden } } as unknown as ProxyLike;
  expect(() => toProxy(copy)).toThrowError(/lost its password/);
});
