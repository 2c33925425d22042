// Which variable decides, and which destinations NO_PROXY lists. no-proxy.test.ts compares NO_PROXY with curl.

import { describe, expect, test } from 'vitest';
import { parseProxy, proxyGroup } from '@socksify/core';
import type { ProxyGroup, SocksProxy } from '@socksify/core';
import { selectorFromEnv } from '../src/env.ts';
import { proxyFromEnv } from '../src/index.ts';

type Env = Record<string, string>;
const http = { host: 'example.com', port: 80, protocol: 'http:' } as const;
const https = { host: 'example.com', port: 443, protocol: 'https:' } as const;
const neither = { host: 'example.com', port: 22 };

/** The host of the proxy chosen for each of the three kinds of destination. */
function chosen(env: Env) {
  const select = proxyFromEnv(env);
  return [http, https, neither].map((destination) => (select(destination) as SocksProxy | undefined)?.host);
}

const none = undefined;

test.each<[string, Env, (string | undefined)[]]>([
  ['chooses no proxy when nothing is set', {}, [none, none, none]],
  ['takes SOCKS_PROXY for every protocol', { SOCKS_PROXY: 'socks5://s' }, ['s', 's', 's']],
  [
    'prefers the lower case of a name',
    { SOCKS_PROXY: 'socks5://s', socks_proxy: 'socks5://l' },
    ['l', 'l', 'l'],
  ],
  [
    'takes the variable of the scheme',
    { http_proxy: 'socks5://h', HTTPS_PROXY: 'socks5://t' },
    ['h', 't', none],
  ],
  ['reads HTTP_PROXY in upper case', { HTTP_PROXY: 'socks5://h' }, ['h', none, none]],
  [
    'ignores HTTP_PROXY in upper case under CGI',
    { HTTP_PROXY: 'socks5://h', REQUEST_METHOD: 'GET' },
    [none, none, none],
  ],
  [
    'reads http_proxy in lower case under CGI',
    { http_proxy: 'socks5://h', REQUEST_METHOD: '' },
    ['h', none, none],
  ],
  [
    'takes ALL_PROXY when no other variable names a proxy',
    { ALL_PROXY: 'socks5://a', https_proxy: 'socks5://t' },
    ['a', 't', 'a'],
  ],
  ['takes a comma in a password for a part of it', { ALL_PROXY: 'socks5://u:p,q@a' }, ['a', 'a', 'a']],
  ['takes a comma at the end of a password for it', { ALL_PROXY: 'socks5://u:p,@a' }, ['a', 'a', 'a']],
  [
    'prefers SOCKS_PROXY to all others',
    { SOCKS_PROXY: 'socks5://s', http_proxy: 'socks5://h', ALL_PROXY: 'socks5://a' },
    ['s', 's', 's'],
  ],
  [
    'takes an empty value for none',
    { SOCKS_PROXY: '', http_proxy: '', HTTP_PROXY: 'socks5://h' },
    ['h', none, none],
  ],
  ['ignores white space around the value', { ALL_PROXY: ' socks5://a\n' }, ['a', 'a', 'a']],
])('proxyFromEnv() %s', (_, env, expected) => {
  expect(chosen(env)).toEqual(expected);
});

describe('a bad value', () => {
  test.each<[Env, string]>([
    [{ HTTP_PROXY: 'http://corp:3128' }, 'HTTP_PROXY'],
    [{ SOCKS_PROXY: '127.0.0.1:1080', ALL_PROXY: 'socks5://a' }, 'SOCKS_PROXY'],
    [{ all_proxy: 'socks4://u:p@h' }, 'all_proxy'],
    [{ http_proxy: ' ', HTTP_PROXY: 'socks5://h' }, 'http_proxy'],
    [{ SOCKS_PROXY: '\t', ALL_PROXY: 'socks5://a' }, 'SOCKS_PROXY'],
  ])('%o throws when it would be used, and names %s', (env, name) => {
    const select = proxyFromEnv(env);
    expect(() => select(http)).toThrowError(new RegExp(`environment variable ${name}`));
    expect(() => select(http)).toThrowError(expect.objectContaining({ name: 'SocksError', phase: 'input' }));
  });

  test('is an error only when it is used', () => {
    const select = proxyFromEnv({
      HTTP_PROXY: 'http://corp:3128',
      HTTPS_PROXY: 'socks5://t',
      NO_PROXY: 'local.test',
    });
    expect(select(https)).toMatchObject({ host: 't' });
    expect(select({ ...http, host: 'local.test' })).toBeUndefined();
  });
});

describe('NO_PROXY', () => {
  test.each<[entry: string, direct: string[], proxied: string[]]>([
    ['*', ['a.test', '1.2.3.4', '[::1]'], []],
    ['a.test, *', ['b.test'], []],
    ['*:80', ['a.test:80'], ['a.test:443']],
    [
      'example.com',
      ['example.com', 'EXAMPLE.com', 'example.com.', 'a.b.example.com'],
      ['evilexample.com', 'example.co'],
    ],
    ['.example.com', ['example.com', 'a.example.com'], ['evilexample.com']],
    ['Example.COM.', ['example.com'], []],
    ['*.example.com', ['a.example.com'], ['example.com', 'evilexample.com']],
    ['example.com:8080', ['example.com:8080', 'a.example.com:8080'], ['example.com:80']],
    ['bücher.example', ['xn--bcher-kva.example', 'bücher.example'], []],
    ['10.1.2.3', ['10.1.2.3', '[::ffff:10.1.2.3]', '[::ffff:a01:203]'], ['10.1.2.4', '10.1.2.3.example.com']],
    ['::1', ['[::1]', '[0:0:0:0:0:0:0:1]'], ['[::2]', '127.0.0.1']],
    ['[::1]', ['[::1]:80', '[::1]:443'], []],
    ['[::1]:80', ['[::1]:80'], ['[::1]:443']],
    ['::ffff:10.0.0.1', ['10.0.0.1'], ['10.0.0.2']],
    ['10.0.0.0/8', ['10.255.0.1', '[::ffff:10.0.0.1]'], ['11.0.0.1', 'ten.test']],
    ['fd00::/8', ['[fd12::1]'], ['[fe80::1]', '10.0.0.1']],
    ['0.0.0.0/0', ['8.8.8.8'], ['a.test', '[2001:db8::1]']],
    ['10.0.0.0/33', [], ['10.0.0.1', '10.0.0.0']],
    ['10.0.0/8', [], ['10.0.0.1']],
    ['10.0.0.0/', [], ['10.0.0.0']],
    ['10.0.0.1-10.0.0.9', ['10.0.0.1', '10.0.0.5', '10.0.0.9'], ['10.0.0.0', '10.0.0.10']],
    ['10.0.0.9-10.0.0.1', [], ['10.0.0.5']],
    ['my-host', ['my-host', 'a.my-host'], ['host']],
    ['fe80::1%eth0', [], ['fe80.test']],
    ['a.test b.test\tc.test,,d.test', ['a.test', 'b.test', 'c.test', 'd.test'], ['e.test']],
    ['', [], ['a.test', '127.0.0.1', 'localhost', '[::1]']],
    [' , ', [], ['a.test']],
  ])('%j lists the right hosts and no other', (entry, direct, proxied) => {
    const select = proxyFromEnv({ SOCKS_PROXY: 'socks5://s', NO_PROXY: entry });
    const at = (text: string) => {
      const [, host = '', port = '80'] = /^(\[.*\]|[^:]*)(?::(\d+))?$/.exec(text) ?? [];
      return select({ host, port: Number(port) });
    };
    for (const text of direct) expect(at(text), text).toBeUndefined();
    for (const text of proxied) expect(at(text), text).toMatchObject({ host: 's' });
  });

  test('a host that is not valid is not dialled directly, whatever the list', () => {
    const select = proxyFromEnv({ SOCKS_PROXY: 'socks5://s', NO_PROXY: '*' });
    for (const host of ['', '.', 'a b', 'a.1', 'évil.test/.a.test', '[fe80::1%1]', undefined as never]) {
      expect(select({ host, port: 80 })).toMatchObject({ host: 's' });
    }
  });

  test('a port as text is compared as a number', () => {
    const select = proxyFromEnv({ SOCKS_PROXY: 'socks5://s', NO_PROXY: 'a.test:443' });
    expect(select({ host: 'a.test', port: '443' as never })).toBeUndefined();
  });

  test('counts in lower case when both are set', () => {
    const select = proxyFromEnv({ SOCKS_PROXY: 'socks5://s', no_proxy: 'a.test', NO_PROXY: 'example.com' });
    expect(select(http)).toMatchObject({ host: 's' });
  });
});

describe('a protocol', () => {
  const env = { http_proxy: 'socks5://h', https_proxy: 'socks5://t', all_proxy: 'socks5://a' };
  test.each<[unknown, string]>([
    ['http:', 'h'],
    ['http', 'h'],
    ['HTTP:', 'h'],
    ['ws:', 'h'],
    ['ws', 'h'],
    ['https:', 't'],
    ['https', 't'],
    ['wss:', 't'],
    ['WSS', 't'],
    ['ftp:', 'a'],
    ['httpx:', 'a'],
    ['xhttp:', 'a'],
    ['https:x', 'a'],
    ['xhttps:', 'a'],
    ['socks5:', 'a'],
    ['', 'a'],
    ['constructor', 'a'],
    ['__proto__', 'a'],
    [undefined, 'a'],
    [null, 'a'],
  ])('%j leads to the proxy %s, and to SOCKS_PROXY if that is set', (protocol, expected) => {
    const destination = { host: 'example.com', port: 443, protocol: protocol as 'http:' };
    expect(proxyFromEnv(env)(destination)).toMatchObject({ host: expected });
    expect(proxyFromEnv({ all_proxy: 'socks5://a' })(destination)).toMatchObject({ host: 'a' });
    expect(proxyFromEnv({ ...env, SOCKS_PROXY: 'socks5://s' })(destination)).toMatchObject({ host: 's' });
  });
});

describe('on Windows, where names of variables have no case', () => {
  const at = (env: Env, platform: NodeJS.Platform = 'win32') =>
    (selectorFromEnv(env, platform)(http) as SocksProxy | undefined)?.host;

  test('any spelling is found, in a copy too', () => {
    for (const name of ['Http_Proxy', 'Socks_Proxy', 'aLL_proxy', 'http_PROXY']) {
      expect(at({ [name]: 'socks5://w' }), name).toBe('w');
      expect(at({ [name]: 'socks5://w' }, 'linux'), name).toBeUndefined();
    }
    expect(at({ ALL_PROXY: 'socks5://a', No_Proxy: 'example.com' })).toBeUndefined();
    expect(at({ Http_Proxy: 'socks5://w', HTTP_PROXY: 'socks5://u', http_proxy: 'socks5://l' })).toBe('l');
  });

  test('no spelling of HTTP_PROXY is read under CGI', () => {
    for (const name of ['HTTP_PROXY', 'http_proxy', 'Http_Proxy']) {
      for (const method of ['REQUEST_METHOD', 'request_method', 'Request_Method']) {
        expect(at({ [name]: 'socks5://evil', [method]: 'GET' }), name).toBeUndefined();
        expect(at({ [name]: 'socks5://evil', [method]: 'GET', Socks_Proxy: 'socks5://s' }), name).toBe('s');
      }
    }
  });

  test('process.env of Windows, which ignores case, gives the same answers', () => {
    const windows = (env: Env): Env => {
      const find = (name: string | symbol) =>
        Object.keys(env).find((key) => key.toUpperCase() === String(name).toUpperCase()) ?? '';
      return new Proxy(env, { get: (_, name) => env[find(name)], has: (_, name) => find(name) in env });
    };
    expect(at(windows({ HTTP_PROXY: 'socks5://evil', REQUEST_METHOD: 'GET' }))).toBeUndefined();
    expect(at(windows({ Http_Proxy: 'socks5://w' }))).toBe('w');
  });
});

test.each<[string, unknown]>([
  ['null', null],
  ['a URL as text', 'socks5://proxy.test'],
  ['a number', 5],
  ['a URL', new URL('socks5://proxy.test')],
  ['a list of URLs', ['socks5://proxy.test']],
  ['an empty list', []],
  ['a proxy', parseProxy('socks5://proxy.test')],
  ['a proxy as an object', { version: 5, host: 'proxy.test' }],
  ['a Map', new Map([['SOCKS_PROXY', 'socks5://proxy.test']])],
  ['a promise', Promise.resolve({ SOCKS_PROXY: 'socks5://proxy.test' })],
  ['a group', proxyGroup(['socks5://proxy.test'])],
  ['a variable that is a URL', { SOCKS_PROXY: new URL('socks5://proxy.test') }],
  ['a variable that is a list', { SOCKS_PROXY: ['socks5://proxy.test'] }],
  ['a variable that is false', { ALL_PROXY: false }],
  ['NO_PROXY that is a list', { SOCKS_PROXY: 'socks5://proxy.test', NO_PROXY: ['localhost'] }],
])('%s in place of the variables is refused', (_, env) => {
  expect(() => proxyFromEnv(env as never)).toThrowError(
    expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }),
  );
});

describe('a list with commas', () => {
  test.each(['SOCKS_PROXY', 'http_proxy', 'ALL_PROXY'])(
    'in %s is a group in this order, made once',
    (name) => {
      const select = proxyFromEnv({ [name]: 'socks5://u:p,q@a, socks4a://b:1,socks5://c' });
      const group = select(http) as ProxyGroup;
      expect(group.state().map(({ proxies }) => proxies)).toEqual([
        ['socks5://a:1080'],
        ['socks4a://b:1'],
        ['socks5://c:1080'],
      ]);
      expect(select(http)).toBe(group);
    },
  );

  test('is one group for all protocols, so that what one request finds out counts for the next', () => {
    for (const name of ['SOCKS_PROXY', 'ALL_PROXY']) {
      const select = proxyFromEnv({ [name]: 'socks5://a,socks5://b' });
      const group = select(http);
      expect(select(https)).toBe(group);
      expect(select({ host: 'example.com', port: 21 })).toBe(group);
    }
  });

  test.each([
    'socks5://a,',
    ',socks5://a',
    'socks5://a,,socks5://b',
    'socks5://a,b',
    'socks5://a,http://b',
    'socks5://localhost/run/x.sock,',
    'socks5://secret:secret@a,socks4://secret:secret@b',
  ])('is not valid with an entry that is empty or bad, and never a direct connection: %s', (value) => {
    const select = proxyFromEnv({ SOCKS_PROXY: value, ALL_PROXY: 'socks5://other' });
    let error: unknown;
    try {
      void select(http);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({
      code: expect.stringMatching(/INVALID_(?:PROXY|CREDENTIALS)$/),
      phase: 'input',
      message: expect.stringContaining('environment variable SOCKS_PROXY: '),
    });
    expect(String(error)).not.toContain('secret');
  });

  test.each(['socks5://a,', 'socks5://abc,b', 'socks5://user:word@abc,b', 'socks5://localhost/run/x.sock,'])(
    'says what an entry looks like when a comma has no URL behind it: %s',
    (value) => {
      expect(() => proxyFromEnv({ SOCKS_PROXY: value })(http)).toThrowError(
        'environment variable SOCKS_PROXY: a list has a URL with its scheme behind each comma',
      );
    },
  );
});
