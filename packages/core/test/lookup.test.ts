// Look-ups that the client does itself: their answers are checked, an address is tried only if it can help, and onion names are never
// looked up.

import type { LookupFunction } from 'node:net';
import type { ScriptedServer, ScriptStep } from '@socksify/server';
import { freePort, IN_ORDER, rejection } from '@socksify/support';
import { describe, expect, test } from 'vitest';
import { connect, SocksClient } from '../src/index.ts';
import type { ProxyRoute, SocksProxy } from '../src/index.ts';
import { Attempt } from '../src/tunnel/attempt.ts';
import { lookUpToDial, resolveHops } from '../src/tunnel/lookup.ts';
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
    ['is async and throws', async () => Promise.reject(new Error('no resolver'))],
  ])('is the cause of the failure when it %s', async (_, lookup) => {
    await expect(connect('socks5://proxy.test', DESTINATION, { lookup })).rejects.toMatchObject({
      code: 'ERR_SOCKS_PROXY_UNREACHABLE',
      cause: { message: 'no resolver' },
    });
    await expect(connect(() => undefined, DESTINATION, { lookup })).rejects.toThrow('no resolver');
    await expect(connect(local({ port: 9 }), DESTINATION, { lookup })).rejects.toMatchObject({
      code: 'ERR_SOCKS_LOOKUP',
      cause: { message: 'no resolver' },
    });
  });

  test.each([undefined, null])('fails without an address when it throws %o', async (thrown) => {
    const lookup: LookupFunction = () => {
      // oxlint-disable-next-line typescript/only-throw-error -- the callers of this package may throw anything
      throw thrown;
    };
    const attempt = connect('socks5://proxy.test', DESTINATION, { lookup, timeout: 2000 });
    await expect(attempt).rejects.toMatchObject({
      code: 'ERR_SOCKS_PROXY_UNREACHABLE',
      cause: { code: 'ENOTFOUND' },
    });
  });

  test.each(NONSENSE)('in tcp is checked as `lookup` is, when it answers %s', async (_, lookup) => {
    const attempt = connect('socks5://proxy.test', DESTINATION, { tcp: { lookup }, timeout: 2000 });
    await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_PROXY_UNREACHABLE' });
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

describe('the look-ups of a chain', () => {
  const hop = (host: string, dns: 'local' | 'remote' = 'local', version: 4 | 5 = 5) => ({
    proxy: { ...local({ port: 1080 }, version), dns },
    destination: { host, port: 80 },
  });
  /** Gives these addresses for every name, and records how it was called. */
  function recording(...all: readonly string[]) {
    const calls: unknown[] = [];
    const answer = addresses(...all);
    const lookup: LookupFunction = (host, options, done) => {
      calls.push([host, options]);
      answer(host, options, done);
    };
    return { calls, attempt: new Attempt({ lookup }) };
  }
  const failing = (error: Error, version: 4 | 5) =>
    rejection(resolveHops([hop('name.test', 'local', version)], new Attempt({ lookup: answering(error) })));
  const nothing = (answer: readonly string[], version: 4 | 5) =>
    rejection(
      resolveHops([hop('name.test', 'local', version)], new Attempt({ lookup: addresses(...answer) })),
    );

  test('are for all addresses, and for those of IPv4 alone over SOCKS4', async () => {
    const { calls, attempt } = recording('127.0.0.1');
    await resolveHops([hop('five.test'), hop('four.test', 'local', 4)], attempt);
    expect(calls).toEqual([
      ['five.test', { all: true, family: 0 }],
      ['four.test', { all: true, family: 4 }],
    ]);
    expect(attempt.progress).toMatchObject({ phase: 'lookup', hop: { destination: { host: 'four.test' } } });
  });

  test("leave out addresses, and names for a proxy without dns: 'local'", async () => {
    const { calls, attempt } = recording('127.0.0.1');
    const hops = [hop('::1'), hop('remote.test', 'remote'), hop('127.0.0.2', 'remote')];
    expect(await resolveHops(hops, attempt)).toEqual([hops]);
    expect(calls).toEqual([]);
    expect(attempt.progress.phase).toBe('input');
  });

  test('give the hops once for each combination of addresses, in the order of the look-ups', async () => {
    const { attempt } = recording('127.0.0.1', '::1');
    const hosts = (await resolveHops([hop('a.test'), hop('b.test')], attempt)).map((hops) =>
      hops.map(({ destination }) => destination.host),
    );
    expect(hosts).toEqual([
      ['127.0.0.1', '127.0.0.1'],
      ['127.0.0.1', '::1'],
      ['::1', '127.0.0.1'],
      ['::1', '::1'],
    ]);
  });

  test('that fail are ERR_SOCKS_LOOKUP with the error of the look-up as the cause', async () => {
    const cause = Object.assign(new Error('no'), { code: 'ENOTFOUND' });
    const about = { code: 'ERR_SOCKS_LOOKUP', phase: 'lookup', destination: 'name.test:80', cause };
    expect(await failing(cause, 5)).toMatchObject({ ...about, detail: 'ENOTFOUND' });
    expect(await failing(cause, 4)).toMatchObject({
      ...about,
      detail: 'ENOTFOUND; SOCKS4 needs an A record: use socks4a://',
    });
    expect(await failing(new Error('no'), 5)).toMatchObject({ detail: 'failed' });
  });

  test('that fail when the attempt has stopped are the reason of the attempt', async () => {
    const reason = new Error('aborted');
    const lookup: LookupFunction = (_host, _options, done) => {
      attempt.stop(reason);
      done(new Error('no'), []);
    };
    const attempt = new Attempt({ lookup });
    expect(await rejection(resolveHops([hop('name.test')], attempt))).toBe(reason);
  });

  test('that end with the attempt, before they answer, are its reason', async () => {
    const reason = new Error('aborted');
    const attempt = new Attempt({ lookup: () => attempt.stop(reason) });
    expect(await rejection(resolveHops([hop('name.test')], attempt))).toBe(reason);
  });

  test('that give nothing for the request say what is missing', async () => {
    expect(await nothing([], 5)).toMatchObject({ detail: 'the look-up gave no IP address' });
    expect(await nothing(['fe80::1%lo'], 5)).toMatchObject({ detail: 'no address that SOCKS can carry' });
    const needsIPv4 = { detail: expect.stringContaining('use socks4a:// or socks5://') };
    expect(await nothing([], 4)).toMatchObject(needsIPv4);
    expect(await nothing(['::1'], 4)).toMatchObject(needsIPv4);
    expect(await nothing(['0.0.0.1'], 4)).toMatchObject(needsIPv4);
  });
});

describe('a look-up function for net.connect', () => {
  const answerOf = (lookup: LookupFunction, options: { all?: boolean }) =>
    new Promise<unknown[]>((resolve) => {
      lookUpToDial(lookup)('name.test', options, (...answer) => resolve(answer));
    });
  const both = [
    { address: '::1', family: 6 },
    { address: '127.0.0.1', family: 4 },
  ];

  test('gives all addresses, or the first one, as net.connect wants them', async () => {
    const lookup = addresses('::1', 'evil.test', '127.0.0.1');
    expect(await answerOf(lookup, { all: true })).toEqual([null, both]);
    expect(await answerOf(lookup, {})).toEqual([null, '::1', 6]);
  });

  test('gives the error of the look-up, and no address', async () => {
    const error = new Error('no resolver');
    expect(await answerOf(answering(error, both), {})).toEqual([error, []]);
  });

  test('gives ENOTFOUND without an address, and names the host', async () => {
    for (const options of [{ all: true }, {}]) {
      const [error, none] = await answerOf(addresses('evil.test'), options);
      expect(error).toMatchObject({ code: 'ENOTFOUND', message: 'no address of name.test' });
      expect(none).toEqual([]);
    }
  });
});
