// parseProxy and proxyFromEnv on any text: a proxy, an error of ours, or a direct connection that the configuration names.

import assert from 'node:assert/strict';
import { isIPv4, isIPv6 } from 'node:net';
import { inspect } from 'node:util';
import { parseHost, parseProxy, SocksError } from '@socksify/core';
import type { SocksProxy } from '@socksify/core';
import { proxyFromEnv } from '@socksify/env';
import fc from 'fast-check';
import { given, goodPort, host, hostLike, name, text } from './input.ts';
import { count, defineProperty } from './property.ts';
import type { Property } from './property.ts';

const SECRET = 'Hunter2Hunter2';
const piece = fc.oneof(
  text,
  fc.constantFrom('', '%', '%zz', '%00', '%ff', '%C3%A9', '[', ']', '@', ':', '/', '#'),
);
const scheme = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom('socks', 'socks4', 'socks4a', 'socks5', 'socks5h', 'socks5s', 'SOCKS5'),
  },
  { weight: 1, arbitrary: fc.constantFrom('http', 'https', 'file', 'socks6', '') },
);
const url = fc
  .record({
    before: fc.constantFrom('', '', '', ' ', '\t'),
    scheme,
    slashes: fc.constantFrom('://', '://', '://', ':', ':/', ''),
    login: given(fc.tuple(fc.oneof(piece, piece.map(encodeLoose)), fc.constantFrom('', `:${SECRET}`))),
    host: fc.oneof(host, host.map(encodeLoose), fc.constantFrom('localhost', '127.0.0.1', '[::1]'), name),
    port: fc.oneof(
      fc.constantFrom('', '', '', ':', ':0', ':65536', ':x'),
      goodPort.map((port) => `:${port}`),
    ),
    tail: fc.oneof(
      fc.constantFrom('', '', '/', '?q', '#f'),
      piece.map((path) => `/${path}`),
    ),
  })
  .map((part) => {
    const login = part.login ? `${part.login.join('')}@` : '';
    return [part.before, part.scheme, part.slashes, login, part.host, part.port, part.tail].join('');
  });

/** A lone half of a pair has no encoding. */
function encodeLoose(value: string): string {
  return encodeURIComponent(value.toWellFormed());
}

const CODES = /^ERR_SOCKS_INVALID_(?:PROXY|CREDENTIALS)$/;

function schemeOf({ version, dns, tls }: SocksProxy): string {
  if (version === 4) return dns === 'remote' ? 'socks4a' : 'socks4';
  return tls ? 'socks5s' : 'socks5';
}

/** Written again by the rules of the README alone. */
function print(proxy: SocksProxy): string {
  const { username, password } = proxy.credentials ?? {};
  const secret = password === undefined ? '' : `:${encodeURIComponent(password)}`;
  const login = username === undefined ? '' : `${encodeURIComponent(username)}${secret}@`;
  const start = `${schemeOf(proxy)}://${login}`;
  if (proxy.path !== undefined) return `${start}localhost/${encodeURIComponent(proxy.path.slice(1))}`;
  // Brackets would have the URL parser write an address anew, and refuse a zone.
  return `${start}${encodeURIComponent(proxy.host)}:${proxy.port}`;
}

const parsed = { proxy: 0, error: 0 };
const parses = fc.property(fc.oneof({ weight: 5, arbitrary: url }, text), (value) => {
  let proxy: SocksProxy;
  try {
    proxy = parseProxy(value);
  } catch (error) {
    count(parsed, 'error');
    assert.ok(error instanceof SocksError, inspect(error));
    assert.match(error.code, CODES);
    assert.equal(error.phase, 'input');
    assert.ok(!`${inspect(error)}${JSON.stringify(error)}${error.stack}`.includes(SECRET));
    return;
  }
  count(parsed, 'proxy');
  assert.ok(Object.isFrozen(proxy));
  assert.ok(proxy.credentials === undefined || Object.isFrozen(proxy.credentials));
  assert.ok(Number.isInteger(proxy.port) && proxy.port >= 1 && proxy.port <= 65_535);
  // Behind a third slash it is no password but part of a path, which is no secret.
  const shown = `${inspect(proxy)}${JSON.stringify(proxy)}`;
  if (proxy.credentials?.password === SECRET) assert.ok(!shown.includes(SECRET));
  const again = parseProxy(print(proxy));
  assert.deepEqual(again, proxy);
  assert.equal(again.credentials?.password, proxy.credentials?.password);
});

// The forbidden domain code points of the URL Standard.
const isForbidden = (value: string) =>
  Array.from(value).some((character) => character <= ' ' || '\u007f#%/:<>?@[\\]^|'.includes(character));

/** Not with URL.canParse(), which is wrong about Latin-1 on Node 20 and 22 once it has been compiled. */
function hostByUrl(value: string): string | undefined {
  try {
    return new URL(`http://${value}/`).hostname;
  } catch {
    return undefined;
  }
}

const hosts = { refused: 0, ipv4: 0, ipv6: 0, kept: 0, rewritten: 0 };
const readsHosts = fc.property(hostLike, (input) => {
  const read = parseHost(input);
  const bare = input.replace(/^\[(.*)\]$/s, '$1');
  if (isIPv6(bare) && !bare.includes('%')) {
    count(hosts, 'ipv6');
    assert.equal(read, bare);
    return;
  }
  const standard = isForbidden(input) || input.length > 255 ? undefined : hostByUrl(input);
  if (read === undefined) {
    count(hosts, 'refused');
    assert.ok(standard === undefined || standard.length > 255);
    return;
  }
  // So nothing was cut, decoded or dropped at such a character.
  assert.ok(!isForbidden(input));
  count(hosts, isIPv4(read) ? 'ipv4' : read === input ? 'kept' : 'rewritten');
  assert.match(read, /^[\u0021-\u007e]{1,255}$/);
  assert.ok(!isForbidden(read));
  assert.equal(parseHost(read), read);
  // The URL parser refuses some ASCII names with xn--; which ones depends on its version.
  if (standard === undefined) assert.ok(read === input && /xn--/i.test(input));
  else assert.equal(standard, read.toLowerCase());
});

const VARIABLES = ['SOCKS_PROXY', 'HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'NO_PROXY', 'REQUEST_METHOD'];
const variable = fc.constantFrom(...VARIABLES, ...VARIABLES.map((word) => word.toLowerCase()));
const value = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom('socks5://127.0.0.1', 'socks4a://u@h.test:1', ' ', '') },
  url,
  text,
);
const destination = fc.record({
  host,
  port: goodPort,
  protocol: given(fc.constantFrom('http:' as const, 'https:' as const)),
});

const selected = { proxy: 0, direct: 0, error: 0 };
const selects = fc.property(fc.dictionary(variable, value), destination, (env, { protocol, ...to }) => {
  const requested = protocol === undefined ? to : { ...to, protocol };
  const ask = (): unknown => {
    try {
      return proxyFromEnv(env)(requested) ?? 'direct';
    } catch (error) {
      assert.ok(error instanceof SocksError, inspect(error));
      assert.match(error.code, CODES);
      return error.code;
    }
  };
  const answer = ask();
  assert.deepEqual(ask(), answer);
  count(selected, answer === 'direct' ? 'direct' : typeof answer === 'string' ? 'error' : 'proxy');
  // Never direct, unless nothing is set for this protocol or NO_PROXY says so.
  const words = ['SOCKS_PROXY', 'ALL_PROXY', ...(protocol === 'https:' ? ['HTTPS_PROXY'] : [])];
  const set = words.flatMap((word) => [word, word.toLowerCase()]).some((word) => env[word]);
  if (set && !env['NO_PROXY']?.trim() && !env['no_proxy']?.trim()) assert.notEqual(answer, 'direct');
});

interface Bypass {
  readonly entry: string;
  readonly matches: (host: string, port: number) => boolean;
}

function toInteger(address: string): number {
  return address.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0);
}

// Few names and addresses, so that they meet.
const names = fc.constantFrom('a.test', 'b.a.test', 'ba.test', 'test', 'c.b.a.test');
const addresses = fc.constantFrom('10.0.0.1', '10.0.0.2', '10.0.1.1', '10.128.0.1', '192.168.0.1');
const ports = fc.constantFrom(80, 443);
const bypass: fc.Arbitrary<Bypass> = fc.oneof(
  fc
    .tuple(names, fc.constantFrom('', '.'), fc.constantFrom('', '.'), given(ports))
    .map(([word, dot, end, only]) => ({
      entry: `${dot}${word.toUpperCase()}${end}${only === undefined ? '' : `:${only}`}`,
      matches: (to: string, at: number) =>
        `.${to}`.endsWith(`.${word}`) && (only === undefined || only === at),
    })),
  names.map((word) => ({ entry: `*.${word}`, matches: (to: string) => to.endsWith(`.${word}`) })),
  fc.tuple(addresses, given(ports)).map(([address, only]) => ({
    entry: only === undefined ? address : `${address}:${only}`,
    matches: (to: string, at: number) => to === address && (only === undefined || only === at),
  })),
  fc.tuple(addresses, fc.integer({ min: 0, max: 32 })).map(([address, bits]) => ({
    entry: `${address}/${bits}`,
    matches: (to: string) =>
      isIPv4(to) &&
      Math.floor(toInteger(to) / 2 ** (32 - bits)) === Math.floor(toInteger(address) / 2 ** (32 - bits)),
  })),
  fc.tuple(addresses, addresses).map(([first, last]) => ({
    entry: `${first}-${last}`,
    matches: (to: string) =>
      isIPv4(to) && toInteger(first) <= toInteger(to) && toInteger(to) <= toInteger(last),
  })),
  fc
    .constantFrom('10.0.0.1/33', '10.0.0/8', 'a.test/8', 'zz')
    .map((entry) => ({ entry, matches: () => false })),
);

const bypassed = { bypassed: 0, proxied: 0 };
const bypasses = fc.property(
  fc.array(bypass, { minLength: 1, maxLength: 4 }),
  fc.constantFrom(',', ' ', ', ', '\n'),
  fc.oneof(
    names,
    addresses,
    name.map((word) => word.replace(/\.$/, '')),
  ),
  ports,
  (entries, separator, to, at) => {
    const env = { ALL_PROXY: 'socks5://h.test', NO_PROXY: entries.map(({ entry }) => entry).join(separator) };
    const direct = proxyFromEnv(env)({ host: to, port: at }) === undefined;
    count(bypassed, direct ? 'bypassed' : 'proxied');
    assert.equal(
      direct,
      entries.some(({ matches }) => matches(to.toLowerCase(), at)),
    );
  },
);

export const CONFIGURATION: readonly Property[] = [
  defineProperty('any text is a proxy that survives being written, or an error of ours', parses, parsed),
  defineProperty(
    'any environment names a proxy, or is an error, and never turns direct by itself',
    selects,
    selected,
  ),
  defineProperty('NO_PROXY means what its table says', bypasses, bypassed),
  defineProperty('any text is no host, or the one that the URL Standard reads in it', readsHosts, hosts),
];
