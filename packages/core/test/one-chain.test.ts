// The two halves of a tunnel through one chain: which connection is used, what is sent again, and which address is next.
// Streams in memory stand for the connections to the last proxy.

import { Duplex } from 'node:stream';
import { bytes, rejection } from '@socksify/support';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { parseProxy } from '../src/index.ts';
import type { ConnectOptions, SocksProxy } from '../src/index.ts';
import { Attempt } from '../src/tunnel/attempt.ts';
import { Connection } from '../src/tunnel/connection.ts';
import type { Candidates } from '../src/tunnel/hops.ts';
import { negotiateChain, requestTunnel } from '../src/tunnel/one-chain.ts';
import type { Negotiated } from '../src/tunnel/one-chain.ts';
import type { Standby } from '../src/tunnel/standby.ts';
import { GRANTED } from './proxies.ts';

const io = vi.hoisted(() => ({
  toCandidates: vi.fn<(...given: readonly unknown[]) => unknown>(),
  negotiateHops: vi.fn<(...given: readonly unknown[]) => Promise<unknown>>(),
  isPipelined: vi.fn<(...given: readonly unknown[]) => boolean>(),
  requestPipelined: vi.fn<(...given: readonly unknown[]) => Promise<unknown>>(),
}));
vi.mock('../src/tunnel/hops.ts', () => ({
  toCandidates: io.toCandidates,
  negotiateHops: io.negotiateHops,
}));
vi.mock('../src/tunnel/pipeline.ts', () => ({
  isPipelined: io.isPipelined,
  requestPipelined: io.requestPipelined,
}));

const chain = [parseProxy('socks5://first.test'), parseProxy('socks5://last.test')];
const destination = { host: 'origin.test', port: 80 };
/** The hops for each of these addresses of the destination. */
const candidatesOf = (...hosts: readonly string[]): Candidates =>
  hosts.map((host) => [
    { proxy: chain[0] as SocksProxy, destination: chain[1] as SocksProxy },
    { proxy: chain[1] as SocksProxy, destination: { host, port: 80 } },
  ]);
const one = candidatesOf('127.0.0.1');
const CONNECT = '05010001' + '7f000001' + '0050';

/** A connection whose proxy answers a request with these bytes, or does as the function says. */
function connectionThat(answers: string | ((stream: Duplex) => void)) {
  const requests: string[] = [];
  const stream = new Duplex({
    read() {},
    write(data: Buffer, _encoding, done) {
      requests.push(data.toString('hex'));
      if (typeof answers === 'string') this.push(bytes(answers));
      else answers(this);
      done();
    },
  });
  return { requests, stream, connection: new Connection(stream) };
}

const reset = (code: string) => (stream: Duplex) =>
  void stream.destroy(Object.assign(new Error('no'), { code }));

/** Standby connections: `ready` is taken once. */
function standbyWith(ready?: Connection) {
  const take = vi.fn<(...given: readonly unknown[]) => Promise<Connection | undefined>>();
  take.mockResolvedValueOnce(ready);
  const fill = vi.fn<(...given: readonly unknown[]) => void>();
  return { take, fill, standby: { take, fill } as unknown as Standby };
}

beforeEach(() => {
  io.toCandidates.mockReturnValue(one);
  io.isPipelined.mockReturnValue(true);
});
afterEach(() => {
  vi.resetAllMocks();
  vi.restoreAllMocks();
});

describe('the connection for a tunnel', () => {
  const { connection } = connectionThat('');

  test('is negotiated for the first address, whether or not names have to be looked up', async () => {
    for (const candidates of [one, Promise.resolve(one)]) {
      vi.clearAllMocks();
      io.toCandidates.mockReturnValue(candidates);
      io.negotiateHops.mockResolvedValue(connection);
      const attempt = new Attempt({});
      const negotiated = await negotiateChain(chain, destination, attempt);
      expect(negotiated).toStrictEqual({
        chain,
        destination,
        candidates: one,
        connection,
        isStandby: false,
        took: undefined,
      });
      expect(io.toCandidates.mock.calls).toEqual([[chain, destination, attempt]]);
      expect(io.negotiateHops.mock.calls).toEqual([[one[0], attempt, undefined]]);
    }
  });

  test('is for the addresses that are left, which are not looked up again', async () => {
    io.negotiateHops.mockResolvedValue(connection);
    const left = candidatesOf('127.0.0.2', '127.0.0.3');
    const { candidates } = await negotiateChain(chain, destination, new Attempt({}), undefined, left);
    expect(candidates).toBe(left);
    expect(io.negotiateHops.mock.calls[0]?.[0]).toBe(left[0]);
    expect(io.toCandidates).not.toHaveBeenCalled();
  });

  test('is one in standby if there is one, and then nothing is dialled or pipelined', async () => {
    const attempt = new Attempt({ pipeline: true });
    const { take, standby } = standbyWith(connection);
    const negotiated = await negotiateChain(chain, destination, attempt, standby);
    expect(negotiated).toMatchObject({ isStandby: true, took: undefined });
    expect(negotiated.connection).toBe(connection);
    expect(take.mock.calls).toEqual([[chain, attempt]]);
    expect(io.negotiateHops).not.toHaveBeenCalled();
  });

  test('lets standby connections be opened once it is dialled, which wait for its negotiation', async () => {
    const { fill, standby } = standbyWith();
    io.negotiateHops.mockResolvedValue(connection);
    const negotiated = await negotiateChain(chain, destination, new Attempt({}), standby);
    expect(negotiated.isStandby).toBe(false);
    expect(fill).not.toHaveBeenCalled();
    const [, , ahead] = io.negotiateHops.mock.calls[0] as [unknown, unknown, { onDialled: () => void }];
    ahead.onDialled();
    expect(fill.mock.calls).toEqual([[chain, io.negotiateHops.mock.results[0]?.value]]);
  });

  test('is not negotiated with the last proxy when its handshake is pipelined, and its time is measured', async () => {
    let now = 1000;
    vi.spyOn(performance, 'now').mockImplementation(() => now);
    io.negotiateHops.mockImplementation(async () => {
      now += 25;
      return connection;
    });
    const attempt = new Attempt({ pipeline: true });
    expect(await negotiateChain(chain, destination, attempt)).toMatchObject({ connection, took: 25 });
    expect(io.negotiateHops.mock.calls).toEqual([[one[0], attempt, { negotiateLast: false }]]);
    await negotiateChain(chain.slice(0, 1), destination, attempt);
    expect(io.isPipelined.mock.calls).toEqual([
      [chain[1], attempt.options],
      [chain[0], attempt.options],
    ]);
  });

  test.each<[string, ConnectOptions, boolean]>([
    ['without the option pipeline', {}, true],
    ['when the proxy is known not to pipeline', { pipeline: true }, false],
  ])('is negotiated with the last proxy %s', async (_, options, isPipelined) => {
    io.isPipelined.mockReturnValue(isPipelined);
    io.negotiateHops.mockResolvedValue(connection);
    const { took } = await negotiateChain(chain, destination, new Attempt(options));
    expect(took).toBeUndefined();
    expect(io.negotiateHops.mock.calls[0]?.[2]).toBeUndefined();
  });
});

describe('the request', () => {
  function negotiatedOver(connection: Connection, rest: Partial<Negotiated> = {}): Negotiated {
    const base = { chain, destination, candidates: one, isStandby: false, took: undefined };
    return { ...base, connection, ...rest };
  }

  test('is for the last hop, and when it is granted, standby connections are opened', async () => {
    const { connection, requests } = connectionThat(GRANTED);
    const { fill, standby } = standbyWith();
    const attempt = new Attempt({});
    const opened = await requestTunnel(negotiatedOver(connection), attempt, standby);
    expect(opened).toEqual({ connection, bound: { host: '0.0.0.0', port: 0 } });
    expect(requests).toEqual([CONNECT]);
    expect(attempt.progress.hop).toBe(one[0]?.[1]);
    expect(fill.mock.calls).toEqual([[chain]]);
    expect(connection.ended).toBeUndefined();
  });

  test('needs no standby connections', async () => {
    const { connection } = connectionThat(GRANTED);
    expect(await requestTunnel(negotiatedOver(connection), new Attempt({}))).toMatchObject({ connection });
  });

  test('is pipelined when connecting was measured', async () => {
    const { connection, requests } = connectionThat(GRANTED);
    const opened = { connection, bound: { host: '127.0.0.9', port: 9 } };
    io.requestPipelined.mockResolvedValue(opened);
    const attempt = new Attempt({});
    expect(await requestTunnel(negotiatedOver(connection, { took: 0 }), attempt)).toBe(opened);
    expect(io.requestPipelined.mock.calls).toEqual([[connection, one[0], attempt, 0]]);
    expect(requests).toEqual([]);
  });

  test('that is refused closes the connection, and standby connections are opened all the same', async () => {
    const { connection, stream } = connectionThat('0504');
    const { fill, standby } = standbyWith();
    const error = await rejection(requestTunnel(negotiatedOver(connection), new Attempt({}), standby));
    expect(error).toMatchObject({ code: 'ERR_SOCKS_HOST_UNREACHABLE', phase: 'request' });
    expect(connection.ended?.reason).toBe(error);
    expect(stream.destroyed).toBe(true);
    expect(fill.mock.calls).toEqual([[chain]]);
    expect(io.negotiateHops).not.toHaveBeenCalled();
  });

  test('that is refused needs no standby connections', async () => {
    const { connection } = connectionThat('0504');
    expect(await rejection(requestTunnel(negotiatedOver(connection), new Attempt({})))).toMatchObject({
      code: 'ERR_SOCKS_HOST_UNREACHABLE',
    });
  });

  test.each([
    ['an error of an earlier phase', undefined],
    ['an error that is no SocksError', Object.assign(new Error('no'), { phase: 'request' })],
  ])('that failed with %s opens no standby connection and tries nothing again', async (_, foreign) => {
    const attempt = new Attempt({});
    attempt.progress.enter('authentication');
    const reason = foreign ?? attempt.progress.error('ERR_SOCKS_PROXY_CLOSED');
    io.requestPipelined.mockRejectedValue(reason);
    const { connection } = connectionThat('');
    const { fill, standby } = standbyWith();
    const candidates = candidatesOf('127.0.0.1', '127.0.0.2');
    const negotiated = negotiatedOver(connection, { took: 1, candidates, isStandby: true });
    expect(await rejection(requestTunnel(negotiated, attempt, standby))).toBe(reason);
    expect(connection.ended?.reason).toBe(reason);
    expect(fill).not.toHaveBeenCalled();
    expect(io.negotiateHops).not.toHaveBeenCalled();
  });

  test('of an attempt that has stopped is not sent again, and opens no standby connection', async () => {
    const attempt = new Attempt({});
    const reason = new Error('enough');
    const { connection } = connectionThat(() => attempt.stop(reason));
    attempt.own(connection);
    const { fill, standby } = standbyWith();
    const candidates = candidatesOf('127.0.0.1', '127.0.0.2');
    const negotiated = negotiatedOver(connection, { candidates, isStandby: true });
    expect(await rejection(requestTunnel(negotiated, attempt, standby))).toBe(reason);
    expect(fill).not.toHaveBeenCalled();
    expect(io.negotiateHops).not.toHaveBeenCalled();
  });

  test('that is refused when the attempt has stopped is not sent again either', async () => {
    const attempt = new Attempt({});
    const { connection } = connectionThat((stream) => {
      stream.push(bytes('0504'));
      attempt.stop(new Error('enough'));
    });
    const { fill, standby } = standbyWith();
    const negotiated = negotiatedOver(connection, { candidates: candidatesOf('127.0.0.1', '127.0.0.2') });
    await rejection(requestTunnel(negotiated, attempt, standby));
    expect(fill).not.toHaveBeenCalled();
    expect(io.negotiateHops).not.toHaveBeenCalled();
  });

  describe('on a standby connection', () => {
    test.each(['ECONNRESET', 'EPIPE'])('that fails with %s is sent once more, on a new one', async (code) => {
      const stale = connectionThat(reset(code));
      const fresh = connectionThat(GRANTED);
      io.negotiateHops.mockResolvedValue(fresh.connection);
      const { take, fill, standby } = standbyWith();
      const attempt = new Attempt({});
      const negotiated = negotiatedOver(stale.connection, { isStandby: true });
      const { connection } = await requestTunnel(negotiated, attempt, standby);
      expect(connection).toBe(fresh.connection);
      expect(fresh.requests).toEqual([CONNECT]);
      expect(io.negotiateHops.mock.calls).toEqual([[one[0], attempt, undefined]]);
      expect(io.toCandidates).not.toHaveBeenCalled();
      // Another standby connection could be as old.
      expect(take).not.toHaveBeenCalled();
      expect(fill).toHaveBeenLastCalledWith(chain);
    });

    test('that is reset twice is not sent a third time', async () => {
      io.negotiateHops.mockImplementation(async () => connectionThat(reset('ECONNRESET')).connection);
      const stale = connectionThat(reset('ECONNRESET'));
      const negotiated = negotiatedOver(stale.connection, { isStandby: true });
      expect(await rejection(requestTunnel(negotiated, new Attempt({})))).toMatchObject({
        code: 'ERR_SOCKS_PROXY_CLOSED',
      });
      expect(io.negotiateHops).toHaveBeenCalledTimes(1);
    });

    test.each<[string, (stream: Duplex) => void]>([
      ['an orderly close', (stream) => void stream.push(null)],
      ['a close', (stream) => void stream.destroy()],
      ['another error', reset('ETIMEDOUT')],
      ['an error without a code', (stream) => void stream.destroy(new Error('no'))],
      [
        'a reset inside the reply',
        (stream) => {
          stream.push(bytes('05'));
          reset('ECONNRESET')(stream);
        },
      ],
      ['a refusal', (stream) => void stream.push(bytes('0504'))],
    ])('is not sent again after %s', async (_, answer) => {
      const { connection } = connectionThat(answer);
      const negotiated = negotiatedOver(connection, { isStandby: true });
      expect(await rejection(requestTunnel(negotiated, new Attempt({})))).toMatchObject({ phase: 'request' });
      expect(io.negotiateHops).not.toHaveBeenCalled();
    });
  });

  test('on a new connection is not sent again after a reset', async () => {
    const { connection } = connectionThat(reset('ECONNRESET'));
    const error = await rejection(requestTunnel(negotiatedOver(connection), new Attempt({})));
    expect(error).toMatchObject({ code: 'ERR_SOCKS_PROXY_CLOSED', cause: { code: 'ECONNRESET' } });
    expect(io.negotiateHops).not.toHaveBeenCalled();
  });
});

describe('the next address', () => {
  const two = candidatesOf('127.0.0.1', '127.0.0.2');
  const rest = { chain, destination, candidates: two, isStandby: false, took: undefined };

  test('is requested on another connection, which may be one in standby', async () => {
    const refusing = connectionThat('0505');
    const granting = connectionThat(GRANTED);
    const { take, standby } = standbyWith(granting.connection);
    const attempt = new Attempt({});
    const { connection } = await requestTunnel(
      { ...rest, connection: refusing.connection },
      attempt,
      standby,
    );
    expect(connection).toBe(granting.connection);
    expect(take.mock.calls).toEqual([[chain, attempt]]);
    expect(granting.requests).toEqual(['05010001' + '7f000002' + '0050']);
    expect(refusing.stream.destroyed).toBe(true);
    expect(io.toCandidates).not.toHaveBeenCalled();
  });

  test('is not tried after the last one', async () => {
    io.negotiateHops.mockImplementation(async () => connectionThat('0504').connection);
    const refusing = connectionThat('0505');
    expect(
      await rejection(requestTunnel({ ...rest, connection: refusing.connection }, new Attempt({}))),
    ).toMatchObject({ code: 'ERR_SOCKS_HOST_UNREACHABLE' });
    expect(io.negotiateHops).toHaveBeenCalledTimes(1);
  });

  test('is not tried over a socket that was handed in, which cannot be replaced', async () => {
    const { connection } = connectionThat('0505');
    const attempt = new Attempt({});
    attempt.existing = connection;
    expect(await rejection(requestTunnel({ ...rest, connection }, attempt))).toMatchObject({
      code: 'ERR_SOCKS_CONNECTION_REFUSED',
    });
    expect(io.negotiateHops).not.toHaveBeenCalled();
  });

  // REP 07 and a reply with a wrong VER over SOCKS5; CD 92 and 93, and an answer in HTTP, over SOCKS4.
  test.each<[string, 4 | 5, string]>([
    ['COMMAND_NOT_SUPPORTED', 5, '0507'],
    ['PROTOCOL', 5, '0900'],
    ['IDENTD_UNREACHABLE', 4, '005c'],
    ['IDENTD_MISMATCH', 4, '005d'],
    ['WRONG_PROTOCOL', 4, '4854'],
  ])('cannot help after ERR_SOCKS_%s over SOCKS%d', async (code, version, answer) => {
    const { connection } = connectionThat(answer);
    const candidates = two.map((hops) => hops.map((hop) => ({ ...hop, proxy: { ...hop.proxy, version } })));
    const negotiated = { ...rest, candidates, connection };
    expect(await rejection(requestTunnel(negotiated, new Attempt({})))).toMatchObject({
      code: `ERR_SOCKS_${code}`,
      phase: 'request',
    });
    expect(io.negotiateHops).not.toHaveBeenCalled();
  });
});
