// How TLS is begun over a connection, without a server, and which options Node gets for it.

import { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import tls from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { CERTIFICATE as ca, deferred, rejection, TLS } from '@socksify/support';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { StreamClosed } from '../src/tunnel/connection.ts';
import type { Connection } from '../src/tunnel/connection.ts';
import { secure, withSecureContext } from '../src/tunnel/secure.ts';
import type { SecureOptions } from '../src/tunnel/secure.ts';

afterEach(() => void vi.restoreAllMocks());

/** A stream that hands on the first bytes it is given, and never answers. */
function silentStream() {
  const { promise: hello, resolve } = deferred<string>();
  const stream = new Duplex({
    read() {},
    write(data: Buffer, _encoding, done) {
      resolve(data.toString('latin1'));
      done();
    },
  });
  return { stream, hello };
}

/** A connection whose TLS handshake ends as `until` does: at once, unless the test says otherwise. */
function connectionOver(stream: Duplex, until: () => Promise<unknown> = async () => undefined) {
  const log: unknown[] = [];
  const connection = {
    stream,
    wrap: (layer: Duplex) => void log.push(['wrap', layer]),
    until(events: readonly string[]) {
      log.push(['until', events]);
      return until();
    },
  };
  return { connection: connection as unknown as Connection, log };
}

/** The TLSSocket that became the first layer. */
function wrapped([first]: readonly unknown[]): TLSSocket {
  return (first as [string, TLSSocket])[1];
}

async function begun(host: string, options: SecureOptions = {}, stream = silentStream()) {
  const sockets: TLSSocket[] = [];
  const onSocket = (socket: TLSSocket): void => void sockets.push(socket);
  await secure(connectionOver(stream.stream).connection, { host, port: 443 }, { ...options, onSocket });
  return { hello: await stream.hello, secured: sockets[0] as TLSSocket };
}

describe('the ClientHello', () => {
  // Type 00, host_name; the length in two bytes; the name without its last dot (RFC 6066 section 3).
  test.each([
    ['origin.test', {}, '\0\0\x0borigin.test'],
    ['origin.test.', {}, '\0\0\x0borigin.test'],
    ['127.0.0.1', { servername: 'a.origin.test' }, '\0\0\x0da.origin.test'],
    ['origin.test', { servername: 'b.test' }, '\0\0\x06b.test'],
  ])('to %s with the options %o has the name', async (host, options, name) => {
    const { hello, secured } = await begun(host, options);
    expect(hello).toContain(name);
    secured.destroy();
  });

  test.each(['127.0.0.1', '2001:db8::1'])('to the IP address %s has no name', async (host) => {
    const { hello, secured } = await begun(host);
    expect(hello).not.toContain(host);
    secured.destroy();
  });
});

describe('checkServerIdentity()', () => {
  /** What Node gets for the function of the caller. */
  async function given(options: SecureOptions): Promise<tls.ConnectionOptions> {
    const connect = vi.spyOn(tls, 'connect');
    const { secured } = await begun('origin.test', options);
    secured.destroy();
    return connect.mock.calls[0]?.[0] as tls.ConnectionOptions;
  }
  const certificate = {} as tls.PeerCertificate;

  test('is not given to Node if the caller has none', async () => {
    expect(await given({})).not.toHaveProperty('checkServerIdentity');
  });

  test.each([undefined, new RangeError('another name')])(
    'gets name and certificate, and returns %o',
    async (verdict) => {
      const check = vi.fn<typeof tls.checkServerIdentity>(() => verdict);
      const { checkServerIdentity } = await given({ checkServerIdentity: check });
      expect(checkServerIdentity?.('origin.test', certificate)).toBe(verdict);
      expect(check.mock.calls).toEqual([['origin.test', certificate]]);
    },
  );

  test.each([undefined, null, '', 'no', new RangeError('no')])(
    'returns an error when it throws %o',
    async (thrown) => {
      const { checkServerIdentity } = await given({
        checkServerIdentity() {
          throw thrown;
        },
      });
      const returned = checkServerIdentity?.('origin.test', certificate);
      expect(returned).toBeInstanceOf(Error);
      if (thrown instanceof Error) expect(returned).toBe(thrown);
      else expect(returned?.cause).toBe(thrown);
    },
  );
});

describe('TLS over a connection', () => {
  test('becomes its outermost layer, is given to onSocket(), and only then is waited for', async () => {
    const { connection, log } = connectionOver(silentStream().stream);
    const onSocket = (socket: TLSSocket): void => void log.push(['onSocket', socket]);
    await secure(connection, { host: 'origin.test', port: 443 }, { onSocket });
    const secured = wrapped(log);
    expect(secured).toBeInstanceOf(tls.TLSSocket);
    expect(log).toEqual([
      ['wrap', secured],
      ['onSocket', secured],
      ['until', ['secureConnect']],
    ]);
    secured.destroy();
  });

  test('needs no onSocket()', async () => {
    const { connection, log } = connectionOver(silentStream().stream);
    await secure(connection, { host: 'origin.test', port: 443 }, {});
    const secured = wrapped(log);
    expect(log).toHaveLength(2);
    secured.destroy();
  });

  test('passes ref() and unref() to a stream that has them', async () => {
    const stream = silentStream();
    const called: string[] = [];
    Object.assign(stream.stream, {
      ref: () => void called.push('ref'),
      unref: () => void called.push('unref'),
    });
    const { secured } = await begun('origin.test', {}, stream);
    called.length = 0;
    expect(secured.unref()).toBe(secured);
    expect(secured.ref()).toBe(secured);
    expect(called).toEqual(['unref', 'ref']);
    secured.destroy();
  });

  test('has ref() and unref() over a stream that has neither', async () => {
    const { secured } = await begun('origin.test');
    expect(secured.unref()).toBe(secured);
    expect(secured.ref()).toBe(secured);
    secured.destroy();
  });

  test('leaves ref() and unref() to Node over a net.Socket', async () => {
    const socket = new Socket();
    const { connection, log } = connectionOver(socket);
    await secure(connection, { host: 'origin.test', port: 443 }, {});
    const secured = wrapped(log);
    expect(Object.hasOwn(secured, 'ref')).toBe(false);
    secured.destroy();
    socket.destroy();
  });
});

describe('TLS that fails', () => {
  const at = { host: 'origin.test', port: 443 };

  test('as Node fails when the stream below closes, with code, host and port', async () => {
    const { connection, log } = connectionOver(silentStream().stream, () =>
      Promise.reject(new StreamClosed()),
    );
    const error = await rejection(secure(connection, at, {}));
    expect(error).not.toBeInstanceOf(StreamClosed);
    expect(error).toMatchObject({
      message: 'Client network socket disconnected before secure TLS connection was established',
      code: 'ECONNRESET',
      ...at,
    });
    const secured = wrapped(log);
    secured.destroy();
  });

  test('for another reason throws that reason unchanged', async () => {
    const reason = new Error('certificate has expired');
    const { connection, log } = connectionOver(silentStream().stream, () => Promise.reject(reason));
    expect(await rejection(secure(connection, at, {}))).toBe(reason);
    const secured = wrapped(log);
    secured.destroy();
  });

  test('at its options leaves the listeners of others on the stream, and none of its own', async () => {
    const { stream } = silentStream();
    const own = (): void => {};
    stream.on('close', own);
    const { connection, log } = connectionOver(stream);
    const options = { secureContext: {} } as unknown as SecureOptions;
    expect(await rejection(secure(connection, at, options))).toBeInstanceOf(TypeError);
    expect(stream.listeners('close')).toEqual([own]);
    expect(log).toEqual([]);
  });
});

describe('a SecureContext', () => {
  test('is made before anything is dialled, and takes the place of the keys', () => {
    const { secureContext, ...others } = withSecureContext({
      ca,
      ...TLS,
      passphrase: 'x',
      servername: 'a.test',
    });
    expect(secureContext?.context).toBeDefined();
    expect(others).toStrictEqual({ ca, cert: TLS.cert, servername: 'a.test' });
    expect(() => withSecureContext({ ciphers: 'bogus' })).toThrow(/cipher/i);
  });

  test('that was given is kept, and Node reads no other option for one', () => {
    const secureContext = tls.createSecureContext();
    const create = vi.spyOn(tls, 'createSecureContext');
    expect(withSecureContext({ secureContext, ciphers: 'bogus' })).toEqual({
      secureContext,
      ciphers: 'bogus',
    });
    expect(create).not.toHaveBeenCalled();
  });

  test('has the default ciphers of the process, unless others are given', () => {
    const create = vi.spyOn(tls, 'createSecureContext');
    withSecureContext({ ca, ciphers: undefined });
    expect(create).toHaveBeenLastCalledWith({ ca, ciphers: tls.DEFAULT_CIPHERS });
    withSecureContext({ ciphers: 'TLS_AES_128_GCM_SHA256' });
    expect(create).toHaveBeenLastCalledWith({ ciphers: 'TLS_AES_128_GCM_SHA256' });
  });

  test('leaves out options that are undefined', () => {
    const { secureContext: _, ...others } = withSecureContext({ servername: undefined, port: 1 });
    expect(Object.keys(others)).toEqual(['port']);
  });
});

test.each([undefined, null, 5, 'yes', Promise.resolve({ ca })])(
  '%o in place of TLS options is refused',
  (options) => {
    expect(() => withSecureContext(options as never)).toThrow(
      expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }),
    );
  },
);
