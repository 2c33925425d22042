// An authentication method of the caller: GSSAPI (RFC 1961) without Kerberos, with its messages, its asynchronous steps
// and its encapsulation. The server sends typed bytes. Frames are those of the golden vectors.

import { once } from 'node:events';
import type { Socket } from 'node:net';
import { bytes } from '@socksify/support';
import type { Read } from '@socksify/support';
import vectors from '@socksify/vectors' with { type: 'json' };
import { describe, expect, test } from 'vitest';
import { connect, handshake, parseProxy } from '../src/index.ts';
import type { AuthMethod, Steps } from '../src/index.ts';
import { startRawProxy } from './proxies.ts';

/*
 *     +------+------+------+.......................+
 *     + ver  | mtyp | len  |       token           |       sections 3.3, 4.3 and 6; ver 01
 *     +------+------+------+.......................+
 *     | 0x01 | 1    | 0x02 | up to 2^16 - 1 octets |
 *     +------+------+------+.......................+
 */
function frame(mtyp: number, token: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(0x01, mtyp, token.length >> 8, token.length & 0xff), token]);
}

function* readFrame(expected: number): Steps<Uint8Array> {
  const [ver, mtyp] = yield { read: 2, phase: 'authentication' };
  if (mtyp === 0xff) throw new Error('the server aborts');
  if (ver !== 0x01 || mtyp !== expected) throw new Error('not a GSSAPI message');
  const [high = 0, low = 0] = yield { read: 2, phase: 'authentication' };
  const length = (high << 8) | low;
  return length === 0 ? new Uint8Array() : yield { read: length, phase: 'authentication' };
}

/** As good as a mechanism for a test: a token, the answer to it, and every byte turned over. */
const flip = (data: Uint8Array) => Uint8Array.from(data, (byte) => byte ^ 0xff);

function gssapi(
  seal: (data: Uint8Array) => Uint8Array | Promise<Uint8Array> = (data) => frame(3, flip(data)),
): AuthMethod {
  return {
    id: 0x01,
    *authenticate() {
      let token = new Uint8Array();
      yield {
        wait: Promise.resolve(Uint8Array.of(0xaa, 0xbb, 0xcc)).then((made) => {
          token = made;
        }),
      };
      yield { write: frame(1, token) };
      yield* readFrame(1);
      yield { write: frame(2, Uint8Array.of(0x01)) };
      yield* readFrame(2);
      return {
        seal,
        open: function* open() {
          return flip(yield* readFrame(3));
        },
      };
    },
  };
}

/** The URL of a proxy that serves its connections with this function. */
const serve = async (serveOne: (socket: Socket, read: Read) => Promise<void>) =>
  (await startRawProxy(serveOne)).url;

const send = (socket: Socket, hex: string) => socket.write(bytes(hex));
const flipped = (hex: string) => Buffer.from(flip(bytes(hex))).toString('hex');

const REQUEST = '05010001 7f000001 0050';
const REPLY = '0500 0001 00000000 0000';
const destination = { host: '127.0.0.1', port: 80 };

describe('rule 25: GSSAPI', () => {
  test('exchanges its messages, and wraps the request, the reply and the data of the application', async () => {
    const seen: string[] = [];
    const proxy = await serve(async (socket, read) => {
      seen.push(await read(3));
      send(socket, '0501');
      seen.push(await read(7));
      send(socket, '0101 0002 1122');
      seen.push(await read(5));
      send(socket, '0102 0001 01');
      seen.push(await read(4 + 10));
      // the reply in two frames, the second of which carries the first bytes of the application too
      send(
        socket,
        `0103 0004 ${flipped('0500 0001')} 0103 0009 ${flipped('00000000 0000')}${flipped('323232')}`,
      );
      seen.push(await read(4 + 5));
      send(socket, `0103 0000 0103 0005 ${flipped('776f726c64')}`);
      socket.end();
    });
    const { socket, bound } = await connect(proxy, destination, { auth: [gssapi()] });
    expect(bound).toEqual({ host: '0.0.0.0', port: 0 });
    socket.write('hello');
    const received: Buffer[] = [];
    for await (const chunk of socket) received.push(chunk as Buffer);
    expect(Buffer.concat(received).toString()).toBe('222world');
    expect(seen).toEqual([
      '050101',
      '01010003aabbcc',
      '0102000101',
      `0103000a${flipped(REQUEST)}`,
      `01030005${flipped(Buffer.from('hello').toString('hex'))}`,
    ]);
  });

  test('is offered beside other methods, in the order of the list, and the server chooses', async () => {
    let greeting = '';
    const proxy = await serve(async (socket, read) => {
      greeting = await read(4);
      send(socket, '0500');
      await read(10);
      send(socket, REPLY);
    });
    const none: AuthMethod = { id: 0, *authenticate() {} };
    (await connect(proxy, destination, { auth: [none, gssapi()] })).socket.destroy();
    expect(greeting).toBe('05020001');
  });

  test('makes a failure to seal an error of the socket', async () => {
    const proxy = await serve(async (socket, read) => {
      await read(3);
      send(socket, '0501');
      await read(7);
      send(socket, '0101 0000');
      await read(5);
      send(socket, '0102 0001 01');
      await read(14);
      send(socket, `0103 000a ${flipped(REPLY)}`);
    });
    let calls = 0;
    const seal = (data: Uint8Array) => {
      calls += 1;
      return calls === 1 ? frame(3, flip(data)) : Promise.reject<Uint8Array>(new Error('no key'));
    };
    const { socket } = await connect(proxy, destination, { auth: [gssapi(seal)] });
    socket.write('hello');
    expect(await once(socket, 'error')).toMatchObject([{ message: 'no key' }]);
  });

  test.each<[string, string, object]>([
    ['aborts', '01ff', { code: 'ERR_SOCKS_AUTH_FAILED', cause: { message: 'the server aborts' } }],
    [
      'answers something else',
      '0000',
      { code: 'ERR_SOCKS_AUTH_FAILED', cause: { message: 'not a GSSAPI message' } },
    ],
    ['closes', '', { code: 'ERR_SOCKS_PROXY_CLOSED', phase: 'authentication' }],
  ])('fails when the server %s', async (_, answer, expected) => {
    const proxy = await serve(async (socket, read) => {
      await read(3);
      send(socket, '0501');
      await read(7);
      socket.end(Buffer.from(answer, 'hex'));
    });
    await expect(connect(proxy, destination, { auth: [gssapi()] })).rejects.toMatchObject(expected);
  });

  test('fails when the mechanism rejects or throws', async () => {
    const proxy = await serve(async (socket, read) => {
      await read(3);
      send(socket, '0501');
    });
    const cause = new Error('no ticket');
    const waiting: AuthMethod = {
      id: 1,
      *authenticate() {
        yield { wait: Promise.reject(cause) };
      },
    };
    const throwing: AuthMethod = {
      id: 1,
      *authenticate() {
        throw cause;
      },
    };
    for (const method of [waiting, throwing]) {
      await expect(connect(proxy, destination, { auth: [method] })).rejects.toMatchObject({
        code: 'ERR_SOCKS_AUTH_FAILED',
        phase: 'authentication',
        cause,
      });
    }
  });
});

describe('the golden vectors of RFC 1961', () => {
  const all = vectors.filter(({ version }) => version === '5-rfc1961');
  const tokens = all.filter(({ direction, expect: { result } }) => direction === 's2c' && result === 'ok');

  test.each(all.filter(({ inputs }) => inputs.mtyp !== undefined))(
    'are what the frames of the client are: $name',
    ({ hex, inputs }) => {
      expect(frame(inputs.mtyp ?? 0, bytes(inputs.token ?? '')).toString('hex')).toBe(hex);
    },
  );

  test.each(tokens)('are read as a token: $name', ({ hex, expect: { token } }) => {
    const steps = readFrame(1);
    let rest = bytes(hex ?? '');
    let step = steps.next(Buffer.alloc(0));
    while (!step.done && 'read' in step.value) {
      const taken = rest.subarray(0, step.value.read);
      rest = rest.subarray(step.value.read);
      step = steps.next(taken);
    }
    expect(rest).toHaveLength(0);
    expect(Buffer.from(step.value as Uint8Array).toString('hex')).toBe(token);
  });
});

describe('rule 16: a greeting', () => {
  const methods = (ids: readonly number[]): AuthMethod[] => ids.map((id) => ({ id, *authenticate() {} }));
  const greeting = (ids: readonly number[]) => {
    const step = handshake(parseProxy('socks5://h'), destination, { auth: methods(ids) }).next(
      Buffer.alloc(0),
    );
    return 'write' in (step.value as object)
      ? Buffer.from((step.value as { write: Uint8Array }).write).toString('hex')
      : '';
  };
  const all = vectors.filter(({ inputs }) => inputs.methods);

  test.each(all.filter(({ hex }) => hex !== null))(
    'offers just the methods of the list: $name',
    ({ hex, inputs }) => {
      expect(greeting(inputs.methods ?? [])).toBe(hex);
    },
  );

  test.each([
    ...all.filter(({ hex }) => hex === null),
    { name: 'duplicate', inputs: { methods: [0, 0] } },
    { name: 'fraction', inputs: { methods: [0.5] } },
  ])('is refused before a byte is sent: $name', ({ inputs }) => {
    expect(() => greeting(inputs.methods ?? [])).toThrowError(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }),
    );
  });

  test('of a method with an encapsulation needs a transport that can carry it', () => {
    const method: AuthMethod = {
      id: 1,
      *authenticate() {
        return {
          seal: (data) => data,
          *open() {
            return yield { read: 1, phase: 'request' };
          },
        };
      },
    };
    const steps = handshake(parseProxy('socks5://h'), destination, { auth: [method] });
    steps.next(Buffer.alloc(0));
    steps.next(Buffer.alloc(0));
    expect(() => steps.next(Buffer.from('0501', 'hex'))).toThrowError(
      expect.objectContaining({ code: 'ERR_SOCKS_AUTH_FAILED' }),
    );
  });
});
