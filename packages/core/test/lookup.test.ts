// Look-ups that the client does itself: their answers are checked, an address is tried only if it can help, and onion names are never
// looked up.

import type { LookupFunction } from 'node:net';
import type { ScriptedServer, ScriptStep } from '@socksify/server';
import { freePort, IN_ORDER } from '@socksify/support';
import { describe, expect, test } from 'vitest';
import { connect, SocksClient } from '../src/index.ts';
import type { ProxyRoute, SocksProxy } from '../src/index.ts';
import { runCore } from './core-program.ts';
import { GRANTED, startProxy, startScripted } from './proxies.ts';

const DESTINATION = { host: 'name.test', port: 80 };
const local = ({ port }: { port: number }, version: 4 | 5 = 5): SocksProxy => ({
  version,
  host: '127.0.0.1',
  port,
  dns: 'local',
});
/** Answers in a later turn, as look-ups do: an error that is thrown into the callback is then uncaught. */
const answering =
  (...answer: readonly unknown[]): LookupFunction =>
  (_host, _options, done) =>
    void setImmediate(() => (done as (...given: readonly unknown[]) => void)(...answer));
const addresses = (...all: readonly unknown[]) =>
  answering(
    null,
    all.map((address) => ({ address, family: String(address).includes(':') ? 6 : 4 })),
  );
const codeOf = (attempt: Promise<unknown>) =>
  attempt.then(
    () => 'a tunnel',
    (error: Error & { code?: string }) => error.code,
  );

const NONSENSE: [string, LookupFunction][] = [
  ['nothing', answering(null)],
  ['null', answering(null, null)],
  ['an empty list', answering(null, [])],
  ['a list of null', answering(null, [null])],
  ['a list of undefined', answering(null, [undefined])],
  ['a list of text', answering(null, ['127.0.0.1'])],
  ['a number', answering(null, 5)],
  ['an object', answering(null, {})],
  ['empty text', answering(null, '')],
  ['a name', answering(null, 'evil.test', 4)],
  ['a list of names', addresses('evil.test')],
  ['a URL', addresses('http://127.0.0.1')],
  ['an address with a port', addresses('127.0.0.1:80')],
  ['a short form', addresses('127.1')],
  ['addresses that are no text', addresses(5, null, {})],
  ['text with a NUL', addresses('127.0.0.1\0')],
];

describe.each(NONSENSE)('a look-up that answers %s', (_, lookup) => {
  test.each([4, 5] as const)('is ERR_SOCKS_LOOKUP over SOCKS%d, and nothing is dialled', async (version) => {
    const server = await startScripted();
    const attempt = connect(local(server, version), DESTINATION, { lookup, timeout: 2000 });
    expect(await codeOf(attempt)).toBe('ERR_SOCKS_LOOKUP');
    expect(server.connections).toHaveLength(0);
  });

  test('is ERR_SOCKS_PROXY_UNREACHABLE when the name is that of the proxy', async () => {
    const attempt = connect('socks5://proxy.test', DESTINATION, { lookup, timeout: 2000 });
    await expect(attempt).rejects.toMatchObject({
      code: 'ERR_SOCKS_PROXY_UNREACHABLE',
      cause: { code: 'ENOTFOUND' },
    });
  });

  test('means that the destination of a direct connection cannot be connected to', async () => {
    const attempt = connect(() => undefined, DESTINATION, { lookup, timeout: 2000 });
    expect(await codeOf(attempt)).toBe('ENOTFOUND');
  });
});

describe('an address that a request cannot carry', () => {
  test('rule 11: is left out if it is 0.0.0.x, which would mean SOCKS4A', async () => {
    const server = await startScripted({ read: 9 }, { send: '005a 0000 00000000' });
    const lookup = addresses('0.0.0.5', '0.0.0.1', '127.0.0.1');
    const { socket } = await connect(local(server, 4), DESTINATION, { lookup });
    // 04, CONNECT, port 80, 127.0.0.1, no USERID
    expect(server.connections[0]?.received.toString('hex')).toBe('04010050' + '7f000001' + '00');
    expect(server.connections).toHaveLength(1);
    socket.destroy();
  });

  test.each([
    ['0.0.0.5', 4],
    ['::1', 4],
    ['fe80::1%lo', 5],
    ['fe80::1%1', 5],
  ] as const)('is ERR_SOCKS_LOOKUP if it is the only one: %s over SOCKS%d', async (address, version) => {
    const server = await startScripted();
    const attempt = connect(local(server, version), DESTINATION, { lookup: addresses(address) });
    expect(await codeOf(attempt)).toBe('ERR_SOCKS_LOOKUP');
    expect(server.connections).toHaveLength(0);
  });

  test('is left out if it has a zone', async () => {
    const server = await startScripted({ read: 3 }, { send: '0500' }, { read: 10 }, { send: GRANTED });
    const lookup = addresses('fe80::1%lo', '127.0.0.1');
    (await connect(local(server), DESTINATION, { lookup })).socket.destroy();
    expect(server.connections[0]?.received.toString('hex')).toBe('050100' + '050100017f0000010050');
  });
});

describe('the next address', () => {
  const five = addresses('127.0.0.1', '127.0.0.2', '127.0.0.3', '::1', '127.0.0.5');
  const withPassword = (server: ScriptedServer): SocksProxy => ({
    ...local(server),
    credentials: { username: 'u', password: 'wrong' },
  });
  test.each<[string, string, readonly ScriptStep[]]>([
    ['the password is wrong', 'AUTH_FAILED', [{ read: 4 }, { send: '0502' }, { read: 9 }, { send: '0101' }]],
    ['no method is acceptable', 'NO_ACCEPTABLE_METHOD', [{ read: 4 }, { send: '05ff' }]],
    ['the proxy closes', 'PROXY_CLOSED', [{ read: 4 }, { close: true }]],
    ['the proxy speaks HTTP', 'WRONG_PROTOCOL', [{ read: 4 }, { send: '4854' }]],
    [
      'the proxy does not support CONNECT',
      'COMMAND_NOT_SUPPORTED',
      [{ read: 4 }, { send: '0500' }, { read: 10 }, { send: '0507' }],
    ],
    [
      'the proxy breaks the protocol',
      'PROTOCOL',
      [{ read: 4 }, { send: '0500' }, { read: 10 }, { send: '0900' }],
    ],
  ])('is not tried when %s', async (_, code, steps) => {
    const server = await startScripted(...steps);
    const attempt = connect(withPassword(server), DESTINATION, { lookup: five });
    expect(await codeOf(attempt)).toBe(`ERR_SOCKS_${code}`);
    expect(server.connections).toHaveLength(1);
  });

  test('is not tried when the proxy cannot be dialled', async () => {
    const port = await freePort();
    let lookups = 0;
    const lookup: LookupFunction = (...given) => {
      lookups++;
      five(...given);
    };
    expect(await codeOf(connect(local({ port }), DESTINATION, { lookup }))).toBe(
      'ERR_SOCKS_PROXY_UNREACHABLE',
    );
    expect(lookups).toBe(1);
  });

  test('is not tried when the second hop of a chain refuses the password', async () => {
    const first = await startProxy();
    const second = await startScripted({ read: 4 }, { send: '0502' }, { read: 9 }, { send: '0101' });
    const chain = [first.url('socks5'), withPassword(second)];
    expect(await codeOf(connect(chain, DESTINATION, { lookup: five }))).toBe('ERR_SOCKS_AUTH_FAILED');
    expect(second.connections).toHaveLength(1);
  });

  test('is tried when the proxy cannot connect to the one before it', async () => {
    const server = await startScripted({ read: 3 }, { send: '0500' }, { read: 10 }, { send: '0504' });
    const lookup = addresses('127.0.0.1', '127.0.0.2', '127.0.0.3');
    expect(await codeOf(connect(local(server), DESTINATION, { lookup }))).toBe('ERR_SOCKS_HOST_UNREACHABLE');
    const requested = server.connections.map(({ received }) => received.toString('hex').slice(14, 22));
    expect(requested).toEqual(['7f000001', '7f000002', '7f000003']);
  });
});

describe('an onion name', () => {
  const lookup: LookupFunction = (host) => {
    throw new Error(`${host} was looked up`);
  };
  const onions = ['abc.onion', 'abc.onion.', 'ABC.ONION', 'a.b.Onion', 'onion'];

  test.each(onions)('is not dialled directly: %s', async (host) => {
    for (const route of [() => undefined, async () => undefined] satisfies ProxyRoute[]) {
      for (const tls of [undefined, {}]) {
        const attempt = connect(route, { host, port: 80 }, { lookup, ...(tls && { tls }) });
        await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_INVALID_DESTINATION' });
      }
    }
    const chosen = new SocksClient('socks5://h').connect({ host, port: 80 }, { chain: 'direct', lookup });
    await expect(chosen).rejects.toMatchObject({ code: 'ERR_SOCKS_INVALID_DESTINATION' });
  });

  test.each(onions)('is not looked up as the name of a proxy: %s', async (host) => {
    for (const scheme of ['socks5', 'socks5s', 'socks4', 'socks4a']) {
      for (const route of [
        `${scheme}://${host}`,
        [`${scheme}://${host}`, 'socks5://h'],
        () => `${scheme}://${host}`,
      ]) {
        const attempt = connect(route, { host: '127.0.0.1', port: 80 }, { lookup });
        await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_INVALID_PROXY' });
      }
    }
  });

  test('may be the name of a later hop, and the first hop gets the request for it', async () => {
    const first = await startScripted({ read: 3 }, { send: '0500' }, { read: 16 }, { send: '0504' });
    const chain = [`socks5://127.0.0.1:${first.port}`, 'socks5://abc.onion:80'];
    const attempt = connect(chain, DESTINATION, { lookup });
    await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_HOST_UNREACHABLE' });
    const [connection] = first.connections;
    expect(connection?.received.toString('hex')).toBe(
      '050100' + '05010003' + '09' + '6162632e6f6e696f6e' + '0050',
    );
  });

  test('is not a name that only has the same last letters', async () => {
    const looked: string[] = [];
    const refusing: LookupFunction = (host, _options, done) => {
      looked.push(host);
      done(Object.assign(new Error('no'), { code: 'ENOTFOUND' }), []);
    };
    await codeOf(connect(() => undefined, { host: 'red-onion', port: 80 }, { lookup: refusing }));
    await codeOf(connect('socks5://onion.test', DESTINATION, { lookup: refusing }));
    expect(looked).toEqual(['red-onion', 'onion.test']);
  });
});

describe('a look-up of the name to dial', () => {
  test.each<[string, LookupFunction]>([
    [
      'throws',
      () => {
        throw new Error('no resolver');
      },
    ],
    ['fails', answering(new Error('no resolver'))],
  ])('is the cause of the failure when it %s', async (_, lookup) => {
    await expect(connect('socks5://proxy.test', DESTINATION, { lookup })).rejects.toMatchObject({
      code: 'ERR_SOCKS_PROXY_UNREACHABLE',
      cause: { message: 'no resolver' },
    });
    await expect(connect(() => undefined, DESTINATION, { lookup })).rejects.toThrow('no resolver');
  });

  test('may answer with one address when it is called for all', async () => {
    const server = await startScripted({ read: 3 }, { send: '0500' }, { read: 16 }, { send: GRANTED });
    const lookup = answering(null, '127.0.0.1', 4);
    const { socket } = await connect(`socks5://proxy.test:${server.port}`, DESTINATION, { lookup });
    socket.destroy();
    expect(server.connections).toHaveLength(1);
  });

  test('does not end the process when it answers nonsense', async () => {
    const source = `
      const answers = [[null, []], [null, [null]], [null], [null, 'x'], [null, [{ address: 'fe80::1%lo', family: 6 }]]];
      for (const answer of answers) {
        const lookup = (host, options, done) => setImmediate(() => done(...answer));
        for (const route of ['socks4://127.0.0.1:9', { version: 5, host: '127.0.0.1', port: 9, dns: 'local' }]) {
          await core.connect(route, { host: 'a.test', port: 1 }, { lookup }).then(() => { throw 1; }, (error) => {
            if (error.code !== 'ERR_SOCKS_LOOKUP') throw error;
          });
        }
      }
    `;
    expect(await runCore(source)).toEqual(IN_ORDER);
  });
});
