// A password appears in nothing that a program prints, logs or serialises: not in an error, whatever went wrong, nor
// in what holds the proxy.

import assert from 'node:assert/strict';
import { Console } from 'node:console';
import { PassThrough } from 'node:stream';
import { createSecureContext } from 'node:tls';
import { inspect } from 'node:util';
import type { InspectOptions } from 'node:util';
import { deserialize, serialize } from 'node:v8';
import type { ScriptStep, ServerOptions } from '@socksify/server';
import { FORMS_OF_SECRET, rejection, SECRET, startSite, TLS } from '@socksify/support';
import { describe, expect, test } from 'vitest';
import { reveal } from '../src/hidden.ts';
import { chainKey, connect, parseProxy, SocksClient } from '../src/index.ts';
import type { ConnectOptions, Destination, ProxyRoute, SocksProxy } from '../src/index.ts';
import { toProxy } from '../src/proxy.ts';
import { atEnd, startProxy, startScripted } from './proxies.ts';

/** All that a logger could make of a value. */
function printed(value: unknown): string {
  const forms = [inspect(value), inspect(value, { depth: 20, showHidden: true }), String(value)];
  for (let at = value; at instanceof Error; at = at.cause) {
    forms.push(
      at.message,
      at.stack ?? '',
      JSON.stringify(at),
      JSON.stringify(Object.entries(at)),
      String(at),
    );
    for (const key of Object.getOwnPropertyNames(at)) forms.push(inspect((at as never)[key], { depth: 20 }));
  }
  forms.push(JSON.stringify(value) ?? '');
  return forms.join('\n');
}

function expectNoSecret(value: unknown): void {
  const all = printed(value);
  for (const form of FORMS_OF_SECRET) expect(all).not.toContain(form);
}

const server = (options: ServerOptions = {}) => startProxy({ users: { user: SECRET }, ...options });

const LOGIN = { username: 'user', password: SECRET };
const withLogin = (port: number, scheme = 'socks5') =>
  `${scheme}://user:${encodeURIComponent(SECRET)}@127.0.0.1:${port}`;

const scripted = async (...script: readonly ScriptStep[]) => withLogin((await startScripted(...script)).port);

const DESTINATION: Destination = { host: 'a.test', port: 80 };
const negotiated: readonly ScriptStep[] = [{ read: 4 }, { send: '0502' }, { read: 7 }, { send: '0100' }];

interface Failing {
  readonly route: ProxyRoute;
  readonly destination?: Destination;
  readonly options?: ConnectOptions;
}
const FAILURES: readonly [what: string, code: string, begin: () => Promise<Failing> | Failing][] = [
  [
    'a refused password',
    'ERR_SOCKS_AUTH_FAILED',
    async () => ({ route: withLogin((await server({ users: { user: 'other' } })).port) }),
  ],
  ['a refusal', 'ERR_SOCKS_HOST_UNREACHABLE', async () => ({ route: withLogin((await server()).port) })],
  [
    'a rule of the proxy',
    'ERR_SOCKS_NOT_ALLOWED',
    async () => ({ route: withLogin((await server({ allow: () => false })).port) }),
  ],
  ['no proxy', 'ERR_SOCKS_PROXY_UNREACHABLE', () => ({ route: withLogin(1) })],
  [
    'a proxy that closes',
    'ERR_SOCKS_PROXY_CLOSED',
    async () => ({ route: await scripted(...negotiated, { close: true }) }),
  ],
  [
    'a proxy that resets',
    'ERR_SOCKS_PROXY_CLOSED',
    async () => ({ route: await scripted({ read: 4 }, { reset: true }) }),
  ],
  [
    'a proxy that echoes what it was sent',
    'ERR_SOCKS_AUTH_FAILED',
    async () => ({
      route: await scripted({ read: 4 }, { send: '0502' }, { send: Buffer.from(SECRET).toString('hex') }),
    }),
  ],
  [
    'a proxy that does not answer',
    'ERR_SOCKS_TIMEOUT',
    async () => ({ route: await scripted({ read: 4 }, { stall: true }), options: { timeout: 50 } }),
  ],
  [
    'another protocol',
    'ERR_SOCKS_WRONG_PROTOCOL',
    async () => ({ route: await scripted({ send: '485454502f312e31' }) }),
  ],
  [
    'TLS to the proxy',
    'ERR_SOCKS_PROXY_TLS',
    async () => ({ route: withLogin((await server({ tls: TLS })).port, 'socks5s') }),
  ],
  [
    'a TLS option to the proxy that Node refuses',
    'ERR_SOCKS_PROXY_TLS',
    async () => ({
      route: {
        version: 5,
        host: '127.0.0.1',
        port: (await server()).port,
        tls: { ticketKeys: SECRET as never },
      },
    }),
  ],
  [
    'a TLS option to the destination that Node refuses',
    'ERR_INVALID_ARG_TYPE',
    () => ({ route: withLogin(1), options: { tls: { ticketKeys: SECRET as never } } }),
  ],
  [
    'TLS to the destination',
    'DEPTH_ZERO_SELF_SIGNED_CERT',
    async () => {
      const site = await startSite();
      atEnd(() => site.close());
      const { port } = await server({ names: { 'a.test': '127.0.0.1' } });
      return {
        route: withLogin(port),
        destination: { host: 'a.test', port: site.https },
        options: { tls: {} },
      };
    },
  ],
  [
    'the second hop of a chain',
    'ERR_SOCKS_AUTH_FAILED',
    async () => {
      const [first, second] = [await server(), await server({ users: { user: 'other' } })];
      return { route: [withLogin(first.port), withLogin(second.port)] };
    },
  ],
  [
    'a look-up',
    'ERR_SOCKS_LOOKUP',
    () => ({
      route: { ...parseProxy(withLogin(1)), dns: 'local' },
      options: { lookup: (_name, _options, done) => done(new Error('no'), []) },
    }),
  ],
  [
    'a bad host',
    'ERR_SOCKS_INVALID_DESTINATION',
    () => ({ route: withLogin(1), destination: { host: ' ', port: 1 } }),
  ],
  [
    'a bad port',
    'ERR_SOCKS_INVALID_DESTINATION',
    () => ({ route: withLogin(1), destination: { host: 'a', port: 0 } }),
  ],
  [
    'a selector with a bad answer',
    'ERR_SOCKS_INVALID_PROXY',
    () => ({ route: () => `http://user:${encodeURIComponent(SECRET)}@a` }),
  ],
];

test.each(FAILURES)('an error shows no password: %s', async (_, code, begin) => {
  const { route, destination = DESTINATION, options = {} } = await begin();
  const error = await rejection(connect(route, destination, options));
  expect(error).toMatchObject({ code });
  expectNoSecret(error);
});

test('the errors of a closed client show no password', async () => {
  const client = new SocksClient(await scripted({ read: 4 }, { stall: true }));
  const failed = rejection(client.connect(DESTINATION));
  await client.close();
  for (const error of [await failed, await rejection(client.connect(DESTINATION))]) {
    expect(error).toMatchObject({ code: 'ERR_SOCKS_CLOSED' });
    expectNoSecret(error);
  }
  expectNoSecret(client);
});

describe('a proxy that is not valid', () => {
  const encoded = encodeURIComponent(SECRET);
  const object: SocksProxy = { version: 5, host: 'a', port: 1, dns: 'remote', credentials: LOGIN };
  test.each<[string, unknown]>([
    ['no URL', `user:${encoded}@host:1`],
    ['a URL without a host', `socks5://user:${encoded}@`],
    ['another scheme', `http://user:${encoded}@host`],
    ['a port that is none', `socks5://user:${encoded}@host:port`],
    ['a space in the host', `socks5://user:${encoded}@ho st`],
    ['a query', `socks5://user:${encoded}@host?x`],
    ['the password in the path', `socks5://host/${encoded}`],
    ['the password in the fragment', `socks5://host#${encoded}`],
    ['the password not encoded', `socks5://user:${SECRET}@host`],
    ['octets that are no UTF-8', `socks5://user:${encoded}%ff@host`],
    ['a password that is too long', { ...object, credentials: { ...LOGIN, password: SECRET.repeat(20) } }],
    ['a password for SOCKS4', { ...object, version: 4 }],
    ['credentials as text', { ...object, credentials: `user:${SECRET}` }],
    ['a password that is no text', { ...object, credentials: { username: 'user', password: [SECRET] } }],
    ['a lone surrogate', { ...object, credentials: { ...LOGIN, password: `${SECRET}\ud800` } }],
    ['a bad hop', [object, { ...object, version: 6 }]],
  ])('is refused without repeating its password: %s', (_, value) => {
    for (const begin of [
      () => new SocksClient(value as ProxyRoute),
      () => typeof value === 'string' && parseProxy(value),
    ]) {
      let thrown: unknown;
      try {
        begin();
      } catch (error) {
        thrown = error;
      }
      if (thrown !== undefined) expectNoSecret(thrown);
    }
    expect(() => new SocksClient(value as ProxyRoute)).toThrowError();
  });
});

test('an object that holds a proxy does not print its password', () => {
  const proxy = parseProxy(withLogin(1));
  expect(proxy.credentials?.password).toBe(SECRET);
  expectNoSecret(proxy);
  for (const route of [proxy, [proxy, proxy], () => proxy]) expectNoSecret(new SocksClient(route));
});

describe('the password and TLS keys of a checked proxy', () => {
  const bytes = Buffer.from(SECRET);
  const proxy = toProxy({
    version: 5,
    host: 'a',
    credentials: LOGIN,
    tls: {
      ca: 'ca',
      cert: 'cert',
      key: bytes,
      passphrase: SECRET,
      pfx: [{ buf: bytes, passphrase: SECRET }],
      session: bytes,
    },
  });
  const values = [
    proxy,
    proxy.credentials,
    proxy.tls,
    { ...proxy },
    { ...proxy.credentials },
    { ...proxy.tls },
  ];
  const hex = bytes.toString('hex').replaceAll(/..\B/g, '$& ');

  test('can be read', () => {
    const { username, password } = proxy.credentials ?? {};
    expect({ username, password }).toEqual(LOGIN);
    expect(proxy.tls?.key).toBe(bytes);
    expect(proxy.tls?.passphrase).toBe(SECRET);
    expect(reveal(proxy.tls ?? {})).toMatchObject({ ca: 'ca', cert: 'cert', key: bytes, session: bytes });
  });

  const options: InspectOptions[] = [true, false].flatMap((showHidden) =>
    [true, false].flatMap((customInspect) =>
      ([true, false, 'get'] as const).map((getters) => ({ showHidden, customInspect, getters, depth: null })),
    ),
  );
  test.each<[string, (value: unknown) => unknown]>([
    ...options.map((o): [string, (value: unknown) => string] => [
      `inspect() with ${inspect(o)}`,
      (v) => inspect(v, o),
    ]),
    ['JSON', (value) => JSON.stringify(value)],
    ['text', String],
    ['entries', (value) => Object.entries(value as object).flat()],
    ['structuredClone()', structuredClone],
    ['v8.serialize()', (value) => serialize(value).toString('latin1')],
    ['console.table()', (value) => logged('table', [value])],
    ['console.dir()', (value) => logged('dir', value)],
    ['console.log()', (value) => logged('log', value)],
    ['assert', (value) => caught(() => assert.deepEqual(value, { other: 1 }))],
    ['assert of two', (value) => caught(() => assert.deepEqual(value, { ...(value as object), other: 1 }))],
    ['an error with them as its cause', (value) => new Error('no', { cause: value })],
  ])('are not in %s', (_, print) => {
    for (const value of values) {
      const output = print(value);
      expectNoSecret(output);
      expect(inspect(output, { depth: null, maxStringLength: null })).not.toContain(hex);
    }
  });

  function logged(method: 'table' | 'dir' | 'log', value: unknown): string {
    const stream = new PassThrough();
    new Console({ stdout: stream, inspectOptions: { depth: null } })[method](value);
    return (stream.read() as Buffer).toString();
  }

  function caught(check: () => void): unknown {
    try {
      check();
    } catch (error) {
      return error;
    }
    throw new Error('nothing thrown');
  }

  test('are carried by spreads', () => {
    const { credentials = LOGIN, tls = {} } = proxy;
    const copy = toProxy({ ...proxy, port: 2, credentials: { ...credentials }, tls: { ...tls } });
    expect(copy).toMatchObject({
      port: 2,
      credentials: LOGIN,
      tls: { ca: 'ca', key: bytes, passphrase: SECRET },
    });
    const other = toProxy({
      ...proxy,
      credentials: { ...credentials, username: 'other' },
      tls: { ...tls, key: 'k' },
    });
    expect(other).toMatchObject({ credentials: { ...LOGIN, username: 'other' }, tls: { key: 'k' } });
    expect(
      toProxy({ ...proxy, credentials: { ...credentials, password: 'new' } }).credentials?.password,
    ).toBe('new');
  });

  test('are lost in some copies, and such a copy is refused', () => {
    const json = (value: unknown) => JSON.parse(JSON.stringify(value)) as SocksProxy;
    const clone = structuredClone(proxy);
    for (const copy of [
      clone,
      json(proxy),
      { ...proxy, tls: clone.tls },
      { ...proxy, credentials: clone.credentials, tls: {} },
      { ...proxy, tls: json(proxy.tls) as object },
      deserialize(serialize({ ...proxy })) as SocksProxy,
    ]) {
      expect(() => toProxy(copy)).toThrowError(/this copy has lost its password or TLS keys/);
    }
    const { credentials, ...open } = structuredClone(parseProxy('socks5://user@a'));
    expect(toProxy({ ...open, credentials })).toEqual(parseProxy('socks5://user@a'));
  });

  test('are read from a proxy that another copy of this package made, but not from a spread of it', async () => {
    // The tests use the source, and this is the built copy.
    const built: { parseProxy: typeof parseProxy } = await import('@socksify/core');
    const foreign = built.parseProxy(`socks5s://user:${encodeURIComponent(SECRET)}@a`);
    expect(toProxy(foreign)).not.toBe(foreign);
    expect(toProxy(foreign).credentials).toMatchObject(LOGIN);
    const { credentials = LOGIN } = foreign;
    for (const copy of [{ ...credentials }, structuredClone(credentials)]) {
      expect(() => toProxy({ ...foreign, credentials: copy })).toThrowError(
        /this copy has lost its password/,
      );
    }
  });

  test('distinguish the keys of chains', () => {
    const withKey = (key: string) => toProxy({ version: 5, host: 'a', tls: { key, ca: 'ca' } });
    const withPassword = (password: string) =>
      toProxy({ version: 5, host: 'a', credentials: { username: 'u', password } });
    for (const make of [withKey, withPassword]) {
      expect(chainKey([make('1')])).toBe(chainKey([make('1')]));
      expect(chainKey([make('1')])).not.toBe(chainKey([make('2')]));
    }
  });

  test('distinguish the keys of chains by what a function or an object of a class is, and data by its value', () => {
    const keyOf = (tls: object) => chainKey([toProxy({ version: 5, host: 'a', tls })]);
    const [one, other] = [() => undefined, () => undefined];
    expect(keyOf({ checkServerIdentity: one })).toBe(keyOf({ checkServerIdentity: one }));
    expect(keyOf({ checkServerIdentity: one })).not.toBe(keyOf({ checkServerIdentity: other }));
    const context = createSecureContext();
    expect(keyOf({ secureContext: context })).toBe(keyOf({ secureContext: context }));
    expect(keyOf({ secureContext: context })).not.toBe(keyOf({ secureContext: createSecureContext() }));
    expect(keyOf({ ALPNProtocols: ['a'] })).toBe(keyOf({ ALPNProtocols: ['a'] }));
    expect(keyOf({ ALPNProtocols: ['a'] })).not.toBe(keyOf({ ALPNProtocols: ['b'] }));
    expect(keyOf({ secureOptions: 1n })).toBe(keyOf({ secureOptions: 1n }));
    expect(keyOf({ secureOptions: 1n })).not.toBe(keyOf({ secureOptions: 1 }));
    expect(keyOf({ servername: null })).not.toBe(keyOf({ servername: 'null' }));
  });

  test('are used in a connection, from a spread too', async () => {
    const { port } = await server({
      tls: { ...TLS, ca: TLS.cert, requestCert: true, rejectUnauthorized: true },
      allow: () => false,
    });
    const secure = toProxy({
      version: 5,
      host: '127.0.0.1',
      port,
      credentials: LOGIN,
      tls: { ...TLS, ca: TLS.cert, checkServerIdentity: () => undefined },
    });
    for (const route of [secure, { ...secure }, { ...secure, tls: { ...secure.tls } }]) {
      await expect(connect(route, DESTINATION)).rejects.toMatchObject({ code: 'ERR_SOCKS_NOT_ALLOWED' });
    }
  });
});
