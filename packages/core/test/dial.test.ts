// What Node is called with to dial, and the errors of a dial. Nothing is dialled here.

import { Socket } from 'node:net';
import type { LookupFunction } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { ConnectOptions } from '../src/options.ts';
import { Attempt } from '../src/tunnel/attempt.ts';
import { dial, toProxyError } from '../src/tunnel/dial.ts';
import { Progress } from '../src/tunnel/progress.ts';

const connect = vi.hoisted(() => vi.fn<(options: object) => unknown>());
vi.mock('node:net', async (original) => ({ ...(await original<object>()), connect }));
afterEach(() => void vi.resetAllMocks());

const destination = { host: 'proxy.test', port: 1080 };
const LOOKUP: LookupFunction = (_host, _options, done) => done(null, '127.0.0.1', 4);

/** A socket that dials nothing, and counts the calls of unref(). */
function socketOf() {
  const socket = new Socket();
  connect.mockReturnValue(socket);
  return { socket, unref: vi.spyOn(socket, 'unref').mockReturnValue(socket) };
}

const thrownBy = (run: () => unknown): unknown => {
  try {
    run();
  } catch (error) {
    return error;
  }
  return expect.unreachable('it threw nothing');
};

describe('a dial', () => {
  const defaults = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 };

  test('is without the delay of Nagle, with keep-alive, and gives a connection of the attempt', () => {
    const { socket, unref } = socketOf();
    const attempt = new Attempt({});
    const connection = dial(destination, attempt);
    expect(connect.mock.calls).toStrictEqual([[{ ...defaults, ...destination, path: undefined }]]);
    expect([connection.stream, connection.owner]).toEqual([socket, attempt]);
    expect(unref).not.toHaveBeenCalled();
    expect(socket.listenerCount('connectionAttempt')).toBe(0);
    socket.destroy();
  });

  test('of a Unix socket has its path', () => {
    const { socket } = socketOf();
    dial({ host: 'localhost', port: 0, path: '/run/tor.sock' }, new Attempt({}));
    expect(connect.mock.calls[0]?.[0]).toMatchObject({ path: '/run/tor.sock' });
    socket.destroy();
  });

  test('has the tcp options of the caller, but never another host, port or Unix socket', () => {
    const { socket } = socketOf();
    const tcp = { noDelay: false, localAddress: '127.0.0.2', host: 'evil.test', port: 1, path: '/evil.sock' };
    dial(destination, new Attempt({ tcp }));
    expect(connect.mock.calls[0]).toStrictEqual([
      { ...defaults, noDelay: false, localAddress: '127.0.0.2', ...destination, path: undefined },
    ]);
    socket.destroy();
  });

  test.each<[string, ConnectOptions]>([
    ['lookup', { lookup: LOOKUP }],
    ['tcp.lookup', { tcp: { lookup: LOOKUP } }],
    [
      'lookup before tcp.lookup',
      {
        lookup: LOOKUP,
        tcp: {
          lookup() {
            throw new Error('the other one');
          },
        },
      },
    ],
  ])('calls the look-up function of the caller: %s', async (_, options) => {
    const { socket } = socketOf();
    dial(destination, new Attempt(options));
    const given = connect.mock.calls[0]?.[0] as { lookup: LookupFunction };
    const answer = await new Promise((resolve) => {
      given.lookup('proxy.test', { all: true }, (_error, found) => resolve(found));
    });
    expect(answer).toEqual([{ address: '127.0.0.1', family: 4 }]);
    socket.destroy();
  });

  test('is not begun by an attempt that has stopped', () => {
    const reason = new Error('enough');
    const attempt = new Attempt({});
    attempt.stop(reason);
    expect(thrownBy(() => dial(destination, attempt))).toBe(reason);
    expect(connect).not.toHaveBeenCalled();
  });

  test('with options that Node refuses throws ERR_INVALID_ARG_VALUE, and says that tcp has them', () => {
    const cause = new RangeError('localPort is out of range');
    connect.mockImplementation(() => {
      throw cause;
    });
    const error = thrownBy(() => dial(destination, new Attempt({})));
    expect(error).toBeInstanceOf(TypeError);
    expect(error).toMatchObject({
      code: 'ERR_INVALID_ARG_VALUE',
      message: 'tcp: localPort is out of range',
      cause,
    });
  });

  test('in the background does not keep the process alive, whichever address is dialled', () => {
    const { socket, unref } = socketOf();
    dial(destination, new Attempt({}, undefined, true));
    expect(unref).toHaveBeenCalledTimes(1);
    socket.emit('connectionAttempt', '127.0.0.1', 1080, 4);
    socket.emit('connectionAttempt', '::1', 1080, 6);
    expect(unref).toHaveBeenCalledTimes(3);
    socket.emit('connect');
    expect([socket.listenerCount('connectionAttempt'), socket.listenerCount('connect')]).toEqual([0, 0]);
    socket.destroy();
  });
});

describe('the error of a dial, or of TLS to the proxy', () => {
  function attemptIn(phase: 'dial' | 'proxy-tls'): Attempt {
    const attempt = new Attempt({}, new Progress({ host: 'origin.test', port: 80 }));
    attempt.progress.enter(phase);
    return attempt;
  }
  const withCode = (code: string) => Object.assign(new Error('no'), { code });

  test('has the error of the system as its cause', () => {
    const cause = withCode('ECONNREFUSED');
    const error = toProxyError(cause, attemptIn('dial'));
    expect(error).toMatchObject({
      code: 'ERR_SOCKS_PROXY_UNREACHABLE',
      phase: 'dial',
      destination: 'origin.test:80',
      detail: 'ECONNREFUSED',
      cause,
    });
    expect(error).not.toHaveProperty('hint');
  });

  test('has no detail and no hint without a code', () => {
    const error = toProxyError(new Error('no'), attemptIn('proxy-tls'));
    expect(error).toMatchObject({ code: 'ERR_SOCKS_PROXY_TLS', phase: 'proxy-tls' });
    expect(error).not.toHaveProperty('detail');
    expect(error).not.toHaveProperty('hint');
  });

  // The names of OpenSSL's X509_V_ERR_* that mean that the issuer is not trusted, as Node gives them.
  test.each([
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'socks5://'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'tls: { ca }'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'tls: { ca }'],
    ['UNABLE_TO_GET_ISSUER_CERT', 'tls: { ca }'],
    ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'tls: { ca }'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'tls: { ca }'],
  ])('says what to write instead after %s', (code, hint) => {
    const error = toProxyError(withCode(code), attemptIn('proxy-tls'));
    expect(error).toMatchObject({ detail: code, hint: expect.stringContaining(hint) });
  });

  test.each(['CERT_HAS_EXPIRED', 'ERR_TLS_CERT_ALTNAME_INVALID', 'ECONNRESET'])(
    'gives no hint after %s, which another certificate authority does not help',
    (code) => {
      expect(toProxyError(withCode(code), attemptIn('proxy-tls'))).not.toHaveProperty('hint');
    },
  );

  test('is an option that is not valid unchanged', () => {
    const error = withCode('ERR_INVALID_ARG_VALUE');
    expect(toProxyError(error, attemptIn('dial'))).toBe(error);
  });

  test('is the reason of the attempt when the attempt has stopped', () => {
    const attempt = attemptIn('dial');
    const reason = new Error('enough');
    attempt.stop(reason);
    expect(thrownBy(() => toProxyError(withCode('ECONNREFUSED'), attempt))).toBe(reason);
  });
});
