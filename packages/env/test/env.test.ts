// Which variable wins, and what NO_PROXY lets past.

import { describe, expect, test } from 'vitest';
import type { SocksProxy } from '@socksify/core';
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
  ['nothing set', {}, [none, none, none]],
  ['SOCKS_PROXY', { SOCKS_PROXY: 'socks5://s' }, ['s', 's', 's']],
  ['lower case before upper', { SOCKS_PROXY: 'socks5://s', socks_proxy: 'socks5://l' }, ['l', 'l', 'l']],
  ['the scheme variables', { http_proxy: 'socks5://h', HTTPS_PROXY: 'socks5://t' }, ['h', 't', none]],
  ['upper-case HTTP_PROXY', { HTTP_PROXY: 'socks5://h' }, ['h', none, none]],
  [
    'upper-case HTTP_PROXY under CGI',
    { HTTP_PROXY: 'socks5://h', REQUEST_METHOD: 'GET' },
    [none, none, none],
  ],
  ['lower-case http_proxy under CGI', { http_proxy: 'socks5://h', REQUEST_METHOD: '' }, ['h', none, none]],
  ['ALL_PROXY last', { ALL_PROXY: 'socks5://a', https_proxy: 'socks5://t' }, ['a', 't', 'a']],
  [
    'SOCKS_PROXY first',
    { SOCKS_PROXY: 'socks5://s', http_proxy: 'socks5://h', ALL_PROXY: 'socks5://a' },
    ['s', 's', 's'],
  ],
  ['empty as none', { SOCKS_PROXY: '', http_proxy: ' ', HTTP_PROXY: 'socks5://h' }, ['h', none, none]],
])('%s', (_, env, expected) => {
  expect(chosen(env)).toEqual(expected);
});

describe('a bad value', () => {
  test.each<[Env, string]>([
    [{ HTTP_PROXY: 'http://corp:3128' }, 'HTTP_PROXY'],
    [{ SOCKS_PROXY: '127.0.0.1:1080', ALL_PROXY: 'socks5://a' }, 'SOCKS_PROXY'],
    [{ all_proxy: 'socks4://u:p@h' }, 'all_proxy'],
  ])('%o throws when it would be used, and names %s', (env, name) => {
    const select = proxyFromEnv(env);
    expect(() => select(http)).toThrowError(new RegExp(`environment variable ${name}`));
    expect(() => select(http)).toThrowError(expect.objectContaining({ name: 'SocksError' }));
  });

  test('harms nobody who does not use it', () => {
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
  test.each<[entry: string, past: string[], proxied: string[]]>([
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
  ])('%j', (entry, past, proxied) => {
    const select = proxyFromEnv({ SOCKS_PROXY: 'socks5://s', NO_PROXY: entry });
    const at = (text: string) => {
      const [, host = '', port = '80'] = /^(\[.*\]|[^:]*)(?::(\d+))?$/.exec(text) ?? [];
      return select({ host, port: Number(port) });
    };
    for (const text of past) expect(at(text), text).toBeUndefined();
    for (const text of proxied) expect(at(text), text).toMatchObject({ host: 's' });
  });

  test('lower case first', () => {
    const select = proxyFromEnv({ SOCKS_PROXY: 'socks5://s', no_proxy: 'a.test', NO_PROXY: 'example.com' });
    expect(select(http)).toMatchObject({ host: 's' });
  });
});
