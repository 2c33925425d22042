// Options: one that is not valid is refused by name before any IO, one that is undefined was not given. And errors that
// say what to use when another server than a SOCKS proxy listens on the port.

import type { ScriptStep } from '@socksify/server';
import { rejection, TLS } from '@socksify/support';
import { describe, expect, test } from 'vitest';
import { connect, SocksClient } from '../src/index.ts';
import type { ConnectOptions } from '../src/index.ts';
import { GRANTED, startProxy, startScripted, SUCCESS } from './proxies.ts';

const destination = { host: '127.0.0.1', port: 80 };

/** Options that are there, and undefined. */
function undefinedOf<Name extends string>(...names: readonly Name[]): Record<Name, undefined> {
  return Object.fromEntries(names.map((name) => [name, undefined])) as Record<Name, undefined>;
}

describe('an option that is not valid', () => {
  const cases: [string, unknown][] = [
    ...['5000', -1, Number.NaN, Infinity, 2 ** 31, null, {}, true, 5n].map((value): [string, unknown] => [
      'timeout',
      value,
    ]),
    ...['x', null, 5, {}, { lookup() {} }].map((value): [string, unknown] => ['lookup', value]),
    ...[
      'x',
      null,
      5,
      { family: 9 },
      { family: '4' },
      { family: -1 },
      { encoding: 'utf8' },
      { onread: {} },
      { lookup: 'x' },
    ].map((value): [string, unknown] => ['tcp', value]),
    ...['none', null, 5, [], [null], [{ id: 0 }], [{ id: 255, authenticate() {} }], {}].map(
      (value): [string, unknown] => ['auth', value],
    ),
    ...['yes', 1, null, 0].map((value): [string, unknown] => ['pipeline', value]),
    ...[{}, 'x', null, 5, { aborted: false }].map((value): [string, unknown] => ['signal', value]),
    ...[{}, 'x', null, 5, [], { read() {} }].map((value): [string, unknown] => ['socket', value]),
    ...[true, 'x', null, 5].map((value): [string, unknown] => ['tls', value]),
    ...[true, 'x', null, {}].map((value): [string, unknown] => ['prepare', value]),
    ...['x', null, 5, {}, [], ['socks5://h'], [{ host: 'h' }], [null]].map((value): [string, unknown] => [
      'chain',
      value,
    ]),
  ];

  test.each(cases)('is refused by name before anything is dialled: %s: %o', async (name, value) => {
    const server = await startScripted(...SUCCESS);
    const options = { [name]: value } as ConnectOptions;
    const expected = {
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_VALUE',
      message: expect.stringContaining(name) as string,
    };
    await expect(connect(server.url('socks5'), destination, options)).rejects.toMatchObject(expected);
    const client = new SocksClient(server.url('socks5'));
    await expect(client.connect(destination, options)).rejects.toMatchObject(expected);
    expect(server.connections).toHaveLength(0);
  });

  test.each(['timeout', 'lookup', 'tcp', 'auth', 'pipeline'])('is refused by the constructor: %s', (name) => {
    expect(() => new SocksClient('socks5://h', { [name]: Symbol('x') as never })).toThrowError(
      expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }),
    );
  });

  test('is a rejection, and no exception of connect(), when a getter of the options throws', async () => {
    const error = new Error('getter');
    const options = Object.defineProperty({}, 'socket', {
      enumerable: true,
      get() {
        throw error;
      },
    });
    const client = new SocksClient('socks5://h');
    const connecting = client.connect(destination, options);
    await expect(connecting).rejects.toBe(error);
  });

  test.each([null, 5, 'x', true])('is refused when all options are %o', async (options) => {
    await expect(connect('socks5://h', destination, options as never)).rejects.toMatchObject({
      code: 'ERR_INVALID_ARG_VALUE',
    });
    expect(() => new SocksClient('socks5://h', options as never)).toThrowError(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }),
    );
  });

  test('is not repeated when it could hold a secret', async () => {
    const attempt = connect('socks5://h', destination, { tls: 'hunter2', lookup: undefined } as never);
    await expect(attempt).rejects.not.toThrow('hunter2');
    await expect(attempt).rejects.toThrow('tls');
  });
});

test.each(['color', 'constructor', 'toString'])('an option of another package is ignored: %s', (name) => {
  expect(() => new SocksClient('socks5://h', { [name]: 'red' })).not.toThrow();
});

describe('an option that is undefined', () => {
  test('of connect() leaves that of the client: lookup', async () => {
    const server = await startScripted(...SUCCESS);
    const client = new SocksClient(`socks5://proxy.invalid:${server.port}`, {
      lookup: (_host, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
    });
    const { socket } = await client.connect(destination, { lookup: undefined });
    socket.destroy();
    expect(server.connections).toHaveLength(1);
  });

  test('of connect() leaves that of the client: auth', async () => {
    const server = await startScripted({ read: 3 }, { send: '05ff' });
    const client = new SocksClient(`socks5://u:p@127.0.0.1:${server.port}`, { auth: 'required' });
    await expect(client.connect(destination, { auth: undefined })).rejects.toThrow();
    expect(server.connections[0]?.received.toString('hex')).toBe('050102');
  });

  test('of connect() leaves that of the client: timeout', async () => {
    const server = await startScripted({ stall: true });
    const client = new SocksClient(server.url('socks5'), { timeout: 50 });
    await expect(client.connect(destination, { timeout: undefined })).rejects.toMatchObject({
      code: 'ERR_SOCKS_TIMEOUT',
      message: expect.stringContaining('50 ms') as string,
    });
  });

  test('of connect() leaves that of the client: pipeline', async () => {
    const server = await startScripted({ read: 13 }, { send: `0500 ${GRANTED}` });
    const client = new SocksClient(server.url('socks5'), { pipeline: true });
    (await client.connect(destination, { pipeline: undefined })).socket.destroy();
    expect(server.connections[0]?.received.length).toBe(13);
  });

  test('of connect() leaves that of the client: tcp, and each option in it', async () => {
    const server = await startScripted(...SUCCESS);
    const client = new SocksClient(server.url('socks5'), { tcp: { localAddress: '127.0.0.7' } });
    for (const tcp of [
      undefined,
      { localAddress: undefined },
      { keepAlive: true, localAddress: undefined },
    ]) {
      const { socket } = await client.connect(destination, { tcp });
      expect(socket.localAddress).toBe('127.0.0.7');
      socket.destroy();
    }
  });

  test('of connect() was not given: signal, socket, tls, prepare and chain', async () => {
    const server = await startScripted(...SUCCESS);
    const none = undefinedOf('signal', 'socket', 'tls', 'prepare', 'chain');
    (await new SocksClient(server.url('socks5')).connect(destination, none)).socket.destroy();
    (await connect(server.url('socks5'), destination, none)).socket.destroy();
    expect(server.connections).toHaveLength(2);
  });

  test('of the constructor leaves the default', async () => {
    const server = await startScripted(...SUCCESS);
    const none = undefinedOf('lookup', 'auth', 'timeout', 'tcp', 'pipeline', 'standby');
    (await new SocksClient(server.url('socks5'), none).connect(destination)).socket.destroy();
    expect(server.connections).toHaveLength(1);
  });
});

describe('the error', () => {
  const HTTP = Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n').toString('hex');
  const SSH = Buffer.from('SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n').toString('hex');
  const ALERT = '15 0301 0002 0228';

  test.each<[string, string, readonly ScriptStep[], string, RegExp]>([
    ['an HTTP proxy', 'socks5', [{ read: 3 }, { send: HTTP }], 'WRONG_PROTOCOL', /HTTP/],
    ['an HTTP proxy', 'socks4', [{ read: 9 }, { send: HTTP }], 'WRONG_PROTOCOL', /HTTP/],
    [
      'an HTTP server that closes',
      'socks5',
      [{ read: 3 }, { send: HTTP }, { close: true }],
      'WRONG_PROTOCOL',
      /HTTP/,
    ],
    [
      'a TLS server that sends an alert',
      'socks5',
      [{ read: 3 }, { send: ALERT }],
      'WRONG_PROTOCOL',
      /socks5s:/,
    ],
    ['a TLS server that sends an alert', 'socks4a', [{ read: 9 }, { send: ALERT }], 'WRONG_PROTOCOL', /TLS/],
    [
      'a TLS server that sends an alert and closes',
      'socks5',
      [{ read: 3 }, { send: ALERT }, { close: true }],
      'WRONG_PROTOCOL',
      /socks5s:/,
    ],
    ['an SSH server', 'socks5', [{ send: SSH }], '(?:WRONG_)?PROTOCOL', /ssh -D/],
    ['an SSH server', 'socks4', [{ send: SSH }], '(?:WRONG_)?PROTOCOL', /ssh -D/],
    [
      'an SSH server that closes',
      'socks5',
      [{ send: SSH }, { read: 3 }, { close: true }],
      '(?:WRONG_)?PROTOCOL',
      /ssh -D/,
    ],
    // Many servers speak first, or answer a line with an error.
    ...[
      ['an SMTP or FTP', '220 mail.test ready\r\n'],
      ['a Redis', '-ERR unknown command\r\n'],
      ['an IRC', ':irc.test NOTICE * :hello\r\n'],
      ['a VNC', 'RFB 003.008\n'],
      ['a MySQL', 'J\0\0\0\n8.0.36\0'],
    ].flatMap(([name, greeting = '']): [string, string, readonly ScriptStep[], string, RegExp][] =>
      ['socks5', 'socks4a'].map((scheme) => [
        `${name} server`,
        scheme,
        [{ send: Buffer.from(greeting).toString('hex') }],
        'PROTOCOL',
        /another server: use the SOCKS port/,
      ]),
    ),
    ['a TLS server that waits for more', 'socks5', [{ stall: true }], 'TIMEOUT', /socks5s:/],
    ['a shadowsocks server that waits for more', 'socks5', [{ stall: true }], 'TIMEOUT', /shadowsocks/],
    [
      'a shadowsocks server that closes',
      'socks5',
      [{ read: 3 }, { close: true }],
      'PROXY_CLOSED',
      /shadowsocks/,
    ],
    [
      'a shadowsocks server that resets',
      'socks5',
      [{ read: 3 }, { reset: true }],
      'PROXY_CLOSED',
      /shadowsocks/,
    ],
  ])(
    'says what to use when the port belongs to %s and the scheme is %s',
    async (_, scheme, steps, code, hint) => {
      const server = await startScripted(...steps);
      const attempt = connect(server.url(scheme), destination, { timeout: 300 });
      const error = await rejection(attempt);
      expect(error.code).toMatch(new RegExp(`^ERR_SOCKS_${code}$`));
      expect(error.hint).toMatch(hint);
      expect(error.message).toContain(error.hint);
    },
  );

  test('says so when the port belongs to a real TLS server', async () => {
    const { port } = await startProxy({ tls: TLS });
    const attempt = connect(`socks5://127.0.0.1:${port}`, destination, { timeout: 500 });
    await expect(attempt).rejects.toMatchObject({ hint: expect.stringContaining('TLS') as string });
  });

  test.each<[string, readonly ScriptStep[], RegExp]>([
    ['a SOCKS server without TLS that waits', [{ stall: true }], /socks5:/],
    ['a SOCKS server without TLS that answers', [{ read: 5 }, { send: '05ff' }], /socks5:|without TLS/],
  ])('of socks5s:// says so when the port belongs to %s', async (_, steps, hint) => {
    const server = await startScripted(...steps);
    const attempt = connect(server.url('socks5s'), destination, { timeout: 300 });
    await expect(attempt).rejects.toMatchObject({ hint: expect.stringMatching(hint) as string });
  });
});

test.each<[string, object]>([
  ['a signal without removeEventListener()', { signal: { aborted: false, addEventListener() {} } }],
  ['a socket without on()', { socket: { read() {}, write() {} } }],
])('%s is refused', async (_, options) => {
  const refused = connect('socks5://127.0.0.1', { host: 'h', port: 1 }, options);
  await expect(refused).rejects.toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' });
});
