// How a chain becomes hops, and what is sent to each of them in which order. A stream in memory stands for the proxies.

import type { LookupFunction } from 'node:net';
import { Duplex } from 'node:stream';
import nodeTls from 'node:tls';
import { bytes, rejection, TLS } from '@socksify/support';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { parseProxy } from '../src/index.ts';
import type { AuthMethod, ConnectOptions, SocksProxy } from '../src/index.ts';
import { toProxy } from '../src/proxy.ts';
import { Attempt } from '../src/tunnel/attempt.ts';
import { Connection } from '../src/tunnel/connection.ts';
import { EncapsulatedSocket } from '../src/tunnel/encapsulated.ts';
import { negotiateHops, toCandidates } from '../src/tunnel/hops.ts';
import type { SecureOptions } from '../src/tunnel/secure.ts';
import { GRANTED } from './proxies.ts';

/** What a hop does before its handshake. Each test says what `dial` gives. */
const io = vi.hoisted(() => ({
  dial: vi.fn<(proxy: unknown, attempt: unknown) => unknown>(),
  secure: vi.fn<(connection: unknown, proxy: unknown, options: SecureOptions) => Promise<void>>(),
}));
vi.mock('../src/tunnel/dial.ts', async (original) => ({ ...(await original<object>()), dial: io.dial }));
vi.mock('../src/tunnel/secure.ts', async (original) => ({
  ...(await original<object>()),
  secure: io.secure,
}));
afterEach(() => {
  vi.resetAllMocks();
  vi.restoreAllMocks();
});

const origin = { host: 'origin.test', port: 80 };
const [first, second] = [parseProxy('socks5://first.test'), parseProxy('socks5://second.test')];
/** CONNECT to second.test, port 1080 */
const REQUEST_SECOND = '05010003' + '0b' + '7365636f6e642e74657374' + '0438';

/** A stream that answers each write with the next of these answers, and records what is written. */
function answering(...answers: readonly string[]) {
  const log: unknown[] = [];
  const left = [...answers];
  const stream = new Duplex({
    read() {},
    write(data: Buffer, _encoding, done) {
      log.push(data.toString('hex'));
      const answer = left.shift();
      if (answer !== undefined) this.push(bytes(answer));
      done();
    },
  });
  return { stream, log, connection: new Connection(stream) };
}

function attemptOver(connection?: Connection, options: ConnectOptions = {}): Attempt {
  const attempt = new Attempt(options);
  attempt.existing = connection;
  return attempt;
}

/** The phases that the attempt enters, each with the port of the proxy. */
function phasesOf(attempt: Attempt): string[] {
  const phases: string[] = [];
  const enter = attempt.progress.enter.bind(attempt.progress);
  attempt.progress.enter = (phase, hop) => {
    enter(phase, hop);
    phases.push(`${attempt.progress.hop.proxy?.host} ${phase}`);
  };
  return phases;
}

function hopsOf(...chain: readonly SocksProxy[]) {
  return chain.map((proxy, i) => ({ proxy, destination: chain[i + 1] ?? origin }));
}

describe('the hops of a chain', () => {
  test('are each proxy with the next one, and the last proxy with the destination', () => {
    expect(toCandidates([first, second], origin, attemptOver())).toEqual([
      [
        { proxy: first, destination: second },
        { proxy: second, destination: origin },
      ],
    ]);
  });

  test.each<[string, SocksProxy, string, ConnectOptions]>([
    ['an address that SOCKS4 cannot carry', parseProxy('socks4://h'), 'INVALID_DESTINATION', {}],
    ['missing credentials', first, 'INVALID_CREDENTIALS', { auth: 'required' }],
  ])('are refused for %s, whichever hop it is', (_, proxy, code, options) => {
    const last = { host: '::1', port: 80 };
    const good = parseProxy('socks5://u:p@h');
    for (const chain of [[proxy], [good, proxy]]) {
      expect(() => toCandidates(chain, last, attemptOver(undefined, options))).toThrow(
        expect.objectContaining({ code: `ERR_SOCKS_${code}` }),
      );
    }
    expect(toCandidates([good], last, attemptOver(undefined, options))).toHaveLength(1);
  });

  test("are looked up if one proxy has dns: 'local', and once for each address", async () => {
    const lookup = vi.fn<LookupFunction>((_host, _options, done) =>
      done(null, [
        { address: '127.0.0.1', family: 4 },
        { address: '::1', family: 6 },
      ]),
    );
    const local = parseProxy('socks5://third.test');
    const chain = [first, { ...local, dns: 'local' as const }, second];
    const candidates = await toCandidates(chain, origin, attemptOver(undefined, { lookup }));
    expect(candidates.map((hops) => hops[1]?.destination.host)).toEqual(['127.0.0.1', '::1']);
    expect(candidates.map((hops) => hops[2]?.destination.host)).toEqual(['origin.test', 'origin.test']);
    expect(lookup).toHaveBeenCalledTimes(1);
  });

  describe('that begin with an onion name', () => {
    const onion = parseProxy('socks5://abc.onion');

    test('are refused, because this name would be looked up', () => {
      for (const chain of [[onion], [onion, first]]) {
        expect(() => toCandidates(chain, origin, attemptOver())).toThrow(
          expect.objectContaining({
            code: 'ERR_SOCKS_INVALID_PROXY',
            message: expect.stringContaining('use this proxy as a later hop'),
          }),
        );
      }
    });

    test('are no problem behind another hop, at a Unix socket, or over a socket that was handed in', () => {
      expect(toCandidates([first, onion], origin, attemptOver())).toHaveLength(1);
      expect(toCandidates([{ ...onion, path: '/run/tor.sock' }], origin, attemptOver())).toHaveLength(1);
      expect(toCandidates([onion], origin, attemptOver(answering().connection))).toHaveLength(1);
    });
  });
});

describe('the negotiation with a chain', () => {
  test('is a greeting at each hop, and a request at each hop but the last', async () => {
    const { connection, log } = answering('0500', GRANTED, '0500');
    const attempt = attemptOver(connection);
    const phases = phasesOf(attempt);
    expect(await negotiateHops(hopsOf(first, second), attempt)).toBe(connection);
    expect(log).toEqual(['050100', REQUEST_SECOND, '050100']);
    expect(phases).toEqual([
      'first.test dial',
      'first.test greeting',
      'first.test request',
      'second.test dial',
      'second.test greeting',
    ]);
    expect(io.dial).not.toHaveBeenCalled();
    expect(io.secure).not.toHaveBeenCalled();
  });

  test('can leave out the last greeting, and only that', async () => {
    const { connection, log } = answering('0500', GRANTED, '0500');
    const attempt = attemptOver(connection);
    await negotiateHops(hopsOf(first, second), attempt, { negotiateLast: false });
    expect(log).toEqual(['050100', REQUEST_SECOND]);
  });

  test('sends no greeting over SOCKS4', async () => {
    const { connection, log } = answering('005a000000000000');
    const four = parseProxy('socks4a://first.test');
    await negotiateHops(hopsOf(four, parseProxy('socks4://127.0.0.2:80')), attemptOver(connection));
    expect(log).toEqual(['04010050' + '7f000002' + '00']);
  });

  test('has the methods of the option auth, and 02 beside 00 for credentials without it', async () => {
    const login = parseProxy('socks5://u:p@first.test');
    const { connection, log } = answering('0500');
    await negotiateHops(hopsOf(login), attemptOver(connection));
    expect(log).toEqual(['05020200']);
    const other = answering('0502', '0100');
    await negotiateHops(hopsOf(login), attemptOver(other.connection, { auth: 'required' }));
    expect(other.log).toEqual(['050102', '01' + '0175' + '0170']);
  });

  test('sends credentials only after what it is to wait for', async () => {
    const { connection, log } = answering('0502', '0100');
    const wrong = new Error('the other negotiation failed');
    const before = Promise.reject(wrong);
    const negotiation = negotiateHops(hopsOf(parseProxy('socks5://u:p@h')), attemptOver(connection), {
      before,
    });
    expect(await rejection(negotiation)).toBe(wrong);
    expect(log).toEqual(['05020200']);
  });

  test('goes on inside the encapsulation that a method agrees on', async () => {
    const method: AuthMethod = {
      id: 0x80,
      // oxlint-disable-next-line require-yield -- there is nothing to say
      *authenticate() {
        return {
          seal: (data) => Buffer.concat([Buffer.of(0xee), data]),
          *open() {
            return yield { read: 2, phase: 'request' };
          },
        };
      },
    };
    const { connection, stream, log } = answering('0580', GRANTED, '0580');
    await negotiateHops(hopsOf(first, second), attemptOver(connection, { auth: [method] }));
    expect(log).toEqual(['050180', `ee${REQUEST_SECOND}`, 'ee050180']);
    expect(connection.stream).toBeInstanceOf(EncapsulatedSocket);
    expect(connection.stream).not.toBe(stream);
    connection.destroy(new Error('over'));
  });

  test('wraps nothing without an encapsulation', async () => {
    const { connection, stream } = answering('0500');
    await negotiateHops(hopsOf(first), attemptOver(connection));
    expect(connection.stream).toBe(stream);
  });
});

describe('the first hop', () => {
  test('is dialled, and what is to happen then happens once, before the greeting', async () => {
    const { connection, stream, log } = answering('0500', GRANTED, '0500');
    io.dial.mockReturnValue(connection);
    const attempt = attemptOver();
    const opening = negotiateHops(hopsOf(first, second), attempt, {
      onDialled: () => void log.push('dialled'),
    });
    expect(io.dial.mock.calls).toEqual([[first, attempt]]);
    expect(log).toEqual([]);
    stream.emit('connect');
    expect(await opening).toBe(connection);
    expect(log).toEqual(['dialled', '050100', REQUEST_SECOND, '050100']);
    expect(io.dial).toHaveBeenCalledTimes(1);
  });

  test('that cannot be dialled is ERR_SOCKS_PROXY_UNREACHABLE, and nothing is said to have been dialled', async () => {
    const { connection, log } = answering();
    io.dial.mockReturnValue(connection);
    const cause = Object.assign(new Error('no'), { code: 'ECONNREFUSED' });
    const opening = rejection(negotiateHops(hopsOf(first), attemptOver(), { onDialled: () => log.push('') }));
    connection.destroy(cause);
    expect(await opening).toMatchObject({
      code: 'ERR_SOCKS_PROXY_UNREACHABLE',
      proxy: 'socks5://first.test:1080',
      cause,
    });
    expect(log).toEqual([]);
  });
});

describe('TLS to a proxy', () => {
  const tls = parseProxy('socks5s://second.test');

  test('comes before its greeting, with the options of this proxy, its keys included', async () => {
    const { connection, log } = answering('0500', GRANTED, '0500');
    const withKeys = toProxy({ ...tls, tls: { ...TLS, servername: 'a.test' } });
    const createSecureContext = vi.spyOn(nodeTls, 'createSecureContext');
    io.secure.mockImplementation(async () => void log.push('tls'));
    const attempt = attemptOver(connection);
    const phases = phasesOf(attempt);
    await negotiateHops(hopsOf(first, withKeys), attempt);
    expect(log).toHaveLength(4);
    expect(log.slice(2)).toEqual(['tls', '050100']);
    expect(phases.slice(-3)).toEqual(['second.test dial', 'second.test proxy-tls', 'second.test greeting']);
    const [[below, proxy, options] = []] = io.secure.mock.calls;
    expect([below, proxy]).toEqual([connection, withKeys]);
    expect(options).toMatchObject({ servername: 'a.test', secureContext: { context: expect.anything() } });
    expect(createSecureContext.mock.lastCall?.[0]).toMatchObject({ ...TLS });
  });

  test('that fails is ERR_SOCKS_PROXY_TLS', async () => {
    const { connection, log } = answering('0500', GRANTED);
    const cause = Object.assign(new Error('no'), { code: 'CERT_HAS_EXPIRED' });
    io.secure.mockRejectedValue(cause);
    const attempt = attemptOver(connection);
    expect(await rejection(negotiateHops(hopsOf(first, tls), attempt))).toMatchObject({
      code: 'ERR_SOCKS_PROXY_TLS',
      proxy: 'socks5s://second.test:1080',
      cause,
    });
    expect(log).toHaveLength(2);
  });
});
