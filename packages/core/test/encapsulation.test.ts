// The stream of a tunnel over a method that wraps everything: no byte is lost at its end, every failure is an error of
// the stream, and it keeps the process alive only when it should.

import { once } from 'node:events';
import { connect as dialTcp } from 'node:net';
import type { Socket } from 'node:net';
import { Duplex, finished, getDefaultHighWaterMark } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { bytes, CERTIFICATE, IN_ORDER, TLS, turns, within } from '@socksify/support';
import type { RawServer, Read } from '@socksify/support';
import { describe, expect, test } from 'vitest';
import { connect } from '../src/index.ts';
import type { AuthMethod, ConnectOptions, Encapsulation, Step } from '../src/index.ts';
import { runCore } from './core-program.ts';
import { GRANTED, startRawProxy } from './proxies.ts';

/** A frame: two octets of length, then so many bytes. */
function frame(data: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(data.length >> 8, data.length & 0xff), data]);
}

const framing: Encapsulation = {
  seal: frame,
  *open() {
    const [high = 0, low = 0] = yield { read: 2, phase: 'request' };
    const length = (high << 8) | low;
    return length === 0 ? new Uint8Array() : yield { read: length, phase: 'request' };
  },
};

const methodWith = (encapsulation: Partial<Encapsulation> = {}): AuthMethod => ({
  id: 0x80,
  // oxlint-disable-next-line require-yield -- there is nothing to say
  *authenticate() {
    return { ...framing, ...encapsulation };
  },
});

/** A proxy that sends its reply in a frame, and then calls the function. */
function granting(serve: (socket: Socket, read: Read) => unknown): Promise<RawServer> {
  return startRawProxy(async (socket, read) => {
    await read(3);
    socket.write(bytes('0580'));
    await read(2 + 10);
    socket.write(bytes(`000a ${GRANTED}`));
    await serve(socket, read);
  });
}

/** The far side of TLS. */
function serveTls(stream: Duplex): void {
  const far = new TLSSocket(stream, { isServer: true, ...TLS });
  far.on('error', () => {}).resume();
}

/** The far side of the frames. */
function unframed(socket: Socket): Duplex {
  let rest = Buffer.alloc(0);
  const plain: Duplex = new Duplex({
    read() {},
    write: (chunk, _, done) => socket.write(frame(chunk as Buffer), done),
  });
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE()) {
      const end = 2 + rest.readUInt16BE();
      plain.push(rest.subarray(2, end));
      rest = rest.subarray(end);
    }
  });
  return plain.on('error', () => {});
}

const destination = { host: '127.0.0.1', port: 80 };
const openTunnel = (proxy: RawServer, encapsulation?: Partial<Encapsulation>, options?: ConnectOptions) =>
  connect(proxy.url, destination, { auth: [methodWith(encapsulation)], ...options });

/** So many turns that Node has noticed a FIN that came. */
const NOTICED = 20;

const READERS: [string, (socket: Socket) => Promise<number>][] = [
  [
    'data',
    async (socket) => {
      let length = 0;
      socket.on('data', (chunk: Buffer) => (length += chunk.length));
      await once(socket, 'end');
      return length;
    },
  ],
  [
    'readable',
    async (socket) => {
      let length = 0;
      socket.on('readable', () => {
        for (let chunk; (chunk = socket.read() as Buffer | null); ) length += chunk.length;
      });
      await once(socket, 'end');
      return length;
    },
  ],
  [
    'for await',
    async (socket) => {
      let length = 0;
      for await (const chunk of socket) length += (chunk as Buffer).length;
      return length;
    },
  ],
];

describe('the bytes before the FIN', () => {
  const sizes: [string, number, number][] = [
    ['1000 bytes in one frame', 1000, 1],
    ['one byte', 1, 1],
    ['more than a buffer holds', 60_000, 20],
    ['frames of one byte', 1, 500],
  ];

  for (const [name, reader] of READERS) {
    test.each(sizes)(
      `are read with ${name} by a reader that begins after the FIN: %s`,
      async (_, size, count) => {
        const proxy = await granting((socket) => {
          for (let i = 0; i < count; i++) socket.write(frame(Buffer.alloc(size, 1)));
          socket.end();
        });
        const { socket } = await openTunnel(proxy);
        await turns(NOTICED);
        expect(await reader(socket)).toBe(size * count);
        socket.destroy();
      },
    );
  }

  test('are read by a reader that pauses, so that there is back-pressure at the FIN', async () => {
    const proxy = await granting((socket) => {
      for (let i = 0; i < 20; i++) socket.write(frame(Buffer.alloc(50_000, i)));
      socket.end();
    });
    const { socket } = await openTunnel(proxy);
    let length = 0;
    for await (const chunk of socket) {
      length += (chunk as Buffer).length;
      await turns(5);
    }
    expect(length).toBe(1_000_000);
  });

  test('are none when only empty frames come', async () => {
    const proxy = await granting((socket) => socket.end(Buffer.alloc(200)));
    const { socket } = await openTunnel(proxy);
    await turns(NOTICED);
    expect(await READERS[0]?.[1](socket)).toBe(0);
  });

  test('are read when they come in the frame of the reply', async () => {
    const proxy = await startRawProxy(async (socket, read) => {
      await read(3);
      socket.write(bytes('0580'));
      await read(12);
      socket.write(bytes(`000d ${GRANTED} 616263`));
      socket.end();
    });
    const { socket } = await openTunnel(proxy);
    await turns(NOTICED);
    expect(await READERS[0]?.[1](socket)).toBe(3);
  });

  test('leave the client able to write and to end its side', async () => {
    let got = '';
    const proxy = await granting(async (socket, read) => {
      socket.end(frame(Buffer.from('bye')));
      got = await read(2 + 4);
      await once(socket.resume(), 'end');
      got += ' FIN';
    });
    const client = dialTcp({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true });
    const { socket } = await openTunnel(proxy, {}, { socket: client });
    expect(await READERS[0]?.[1](socket)).toBe(3);
    await within(once(socket.end('late'), 'finish'), 'the end of the tunnel', 5000);
    await expect.poll(() => got, { interval: 5 }).toBe('00046c617465 FIN');
  });

  test('are read by a client that has ended its side', async () => {
    const proxy = await granting(async (socket, read) => {
      // The server of the test itself would end its side now.
      socket.removeAllListeners('end');
      expect(await read(2 + 4)).toBe('0004646f6e65');
      await once(socket.resume(), 'end');
      socket.end(frame(Buffer.from('bye')));
    });
    const { socket } = await openTunnel(proxy);
    socket.end('done');
    expect(await within(READERS[0]?.[1](socket) ?? Promise.resolve(0), 'the answer', 5000)).toBe(3);
  });

  test('are followed by the end of the client, when the socket below is not half open', async () => {
    const proxy = await granting((socket) => socket.end(frame(Buffer.from('bye'))));
    const { socket } = await openTunnel(proxy);
    const closed = once(socket, 'close');
    expect(await READERS[0]?.[1](socket)).toBe(3);
    await within(closed, 'the close of the tunnel', 5000);
  });

  test('leave the client able to end its side after the socket below was destroyed', async () => {
    const proxy = await granting((socket) => socket.end(frame(Buffer.from('bye'))));
    const client = dialTcp({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true });
    const { socket } = await openTunnel(proxy, {}, { socket: client });
    expect(await READERS[0]?.[1](socket)).toBe(3);
    await once(client.destroy(), 'close');
    await within(once(socket.end(), 'finish'), 'the end of the tunnel', 5000);
  });

  test('are an error when they end inside a frame, whenever the reader begins', async () => {
    const proxy = await granting(async (socket, read) => {
      await read(2 + 2);
      socket.end(Buffer.from('0005aabb', 'hex'));
    });
    for (const late of [false, true]) {
      const { socket } = await openTunnel(proxy);
      const failed = once(socket, 'close').then(
        () => expect.unreachable('no error'),
        (error: unknown) => error,
      );
      socket.write('go');
      if (late) await turns(NOTICED);
      socket.resume();
      expect(await failed).toMatchObject({ message: 'the connection ended inside a frame' });
    }
  });
});

describe('a tunnel that nobody reads', () => {
  const frames = (count: number): Buffer =>
    Buffer.concat(Array.from({ length: count }, () => frame(Buffer.alloc(40_000, 1))));
  /** How many of these frames fill the buffer of the tunnel. It has another size in Node 20. */
  const FULL = Math.ceil(getDefaultHighWaterMark(false) / 40_000);

  test('holds what fills its buffer, and gives the rest when it is read', async () => {
    const proxy = await granting((socket) => socket.end(frames(FULL + 1)));
    const { socket } = await openTunnel(proxy);
    await expect.poll(() => socket.readableLength, { interval: 5 }).toBe(FULL * 40_000);
    await turns(NOTICED);
    expect(socket.readableLength).toBe(FULL * 40_000);
    expect(await READERS[0]?.[1](socket)).toBe((FULL + 1) * 40_000);
  });

  test('fails at once when the connection below is reset', async () => {
    let reset = (): void => {};
    const proxy = await granting((socket) => {
      reset = () => socket.resetAndDestroy();
      socket.write(frames(FULL));
    });
    const { socket } = await openTunnel(proxy);
    const closed = once(socket, 'close');
    await expect.poll(() => socket.readableLength, { interval: 5 }).toBe(FULL * 40_000);
    reset();
    await expect(within(closed, 'the close of the tunnel', 5000)).rejects.toMatchObject({
      code: 'ECONNRESET',
    });
  });
});

describe('an encapsulation that fails', () => {
  const failure = new Error('no key');
  const FAILING: [how: string, seal: () => Uint8Array | Promise<Uint8Array>][] = [
    [
      'throws',
      () => {
        throw failure;
      },
    ],
    ['rejects', () => Promise.reject(failure)],
    ['rejects with what is no error', () => Promise.reject('no key')],
  ];
  const afterRequest = (seal: () => Uint8Array | Promise<Uint8Array>) => {
    let calls = 0;
    return { seal: (data: Uint8Array) => (++calls === 1 ? frame(data) : seal()) };
  };

  test.each<[string, () => Uint8Array | Promise<Uint8Array>]>([
    ...FAILING,
    ['gives nothing', () => undefined as never],
    ['gives text', () => 'text' as never],
    ['resolves to nothing', async () => undefined as never],
  ])('is the error of the socket when seal() %s', async (how, seal) => {
    const proxy = await granting(() => {});
    const { socket } = await openTunnel(proxy, afterRequest(seal));
    const failed = once(socket, 'error') as Promise<[Error]>;
    // write() itself does not throw.
    socket.write('hello');
    const [error] = await failed;
    if (how === 'throws' || how === 'rejects') expect(error).toBe(failure);
    if (how === 'rejects with what is no error')
      expect(error).toMatchObject({ message: 'no key', cause: 'no key' });
    expect(error).toBeInstanceOf(Error);
    expect(socket.destroyed).toBe(true);
    await expect.poll(() => proxy.open.size, { interval: 5 }).toBe(0);
  });

  test.each(FAILING)('rejects the call when seal() %s for the request', async (_, seal) => {
    const proxy = await granting(() => {});
    await expect(openTunnel(proxy, { seal })).rejects.toMatchObject({
      message: expect.any(String) as string,
    });
    await expect.poll(() => proxy.open.size, { interval: 5 }).toBe(0);
  });

  test('rejects the call when it throws under TLS, and nothing is uncaught', async () => {
    const proxy = await granting(() => {});
    const seal = () => {
      throw failure;
    };
    await expect(openTunnel(proxy, afterRequest(seal), { tls: {} })).rejects.toBe(failure);
    await expect.poll(() => proxy.open.size, { interval: 5 }).toBe(0);
  });

  test.each<[string, () => Generator<Step, Uint8Array, Uint8Array>]>([
    [
      'throws',
      // oxlint-disable-next-line require-yield -- it never comes to that
      function* open() {
        throw failure;
      },
    ],
    [
      'waits for what rejects',
      function* open() {
        yield { wait: Promise.reject(failure) };
        return new Uint8Array();
      },
    ],
    ...[null, undefined, 'text', 5, {}].map((given): [string, () => Generator<Step, never, Uint8Array>] => [
      `gives ${JSON.stringify(given)} in place of bytes`,
      function* open() {
        yield* framing.open();
        return given as never;
      },
    ]),
  ])('is the error of the socket when open() %s', async (how, failing) => {
    const proxy = await granting(async (socket, read) => {
      await read(2 + 2);
      socket.write(frame(Buffer.from('x')));
    });
    let calls = 0;
    const { socket } = await openTunnel(proxy, {
      *open() {
        return yield* ++calls === 1 ? framing.open() : failing();
      },
    });
    const failed = once(socket, 'error');
    socket.resume().write('go');
    const expected = how.startsWith('gives') ? new TypeError('open() gives a Uint8Array') : failure;
    expect(await failed).toEqual([expected]);
    await expect.poll(() => proxy.open.size, { interval: 5 }).toBe(0);
  });
});

describe('the generator that open() returns', () => {
  test('gets the rejection of its `wait` thrown into it, and may continue', async () => {
    const proxy = await granting((socket) => socket.write(frame(Buffer.from('x'))));
    const { socket } = await openTunnel(proxy, {
      *open() {
        try {
          yield { wait: Promise.reject(new Error('not yet')) };
        } catch {
          return yield* framing.open();
        }
        return Buffer.from('never');
      },
    });
    expect(String((await once(socket, 'data'))[0])).toBe('x');
    socket.destroy();
  });

  test.each<[string, Step]>([
    ['a read', { read: 5, phase: 'request' }],
    ['a wait', { wait: new Promise(() => {}) }],
  ])('is closed when the socket is destroyed during %s', async (_, step) => {
    const proxy = await granting((socket) => socket.write(bytes('00')));
    let [calls, closed] = [0, 0];
    const { socket } = await openTunnel(proxy, {
      *open() {
        if (++calls === 1) return yield* framing.open();
        try {
          setImmediate(() => socket.destroy());
          return yield step;
        } finally {
          closed++;
        }
      },
    });
    socket.resume();
    await expect.poll(() => closed, { interval: 5 }).toBe(1);
  });

  test('is closed when an abort ends the attempt in the middle of the reply', async () => {
    const controller = new AbortController();
    const proxy = await startRawProxy(async (socket, read) => {
      await read(3);
      socket.write(bytes('0580'));
      await read(12);
      socket.write(bytes('00'));
    });
    let closed = 0;
    const attempt = openTunnel(
      proxy,
      {
        *open() {
          try {
            setImmediate(() => controller.abort());
            return yield { read: 5, phase: 'request' };
          } finally {
            closed++;
          }
        },
      },
      { signal: controller.signal },
    );
    await expect(attempt).rejects.toMatchObject({ name: 'AbortError' });
    await expect.poll(() => closed, { interval: 5 }).toBe(1);
    await expect.poll(() => proxy.open.size, { interval: 5 }).toBe(0);
  });
});

describe('a reset after the hand-over', () => {
  const transports = ['a TCP socket', 'a stream that was handed in'];
  const layers = ['nothing', 'an encapsulation', 'TLS', 'TLS over an encapsulation'];
  test.each(transports.flatMap((transport) => layers.map((layer) => ({ transport, layer }))))(
    'is the error of a tunnel with $layer over $transport',
    async ({ transport, layer }) => {
      const [sealed, secured] = [layer.includes('encapsulation'), layer.includes('TLS')];
      let reset = (): void => {};
      const proxy = await startRawProxy(async (socket, read) => {
        reset = () => socket.resetAndDestroy();
        await read(3);
        socket.write(bytes('0580'));
        await read(sealed ? 12 : 10);
        socket.write(bytes(sealed ? `000a ${GRANTED}` : GRANTED));
        if (secured) serveTls(sealed ? unframed(socket) : socket);
      });
      const raw = dialTcp(proxy.port, '127.0.0.1');
      const wrapped = new Duplex({
        read: () => raw.resume(),
        write: (chunk, _, done) => raw.write(chunk as Buffer, done),
        destroy(error, done) {
          raw.destroy();
          done(error);
        },
      });
      raw.pause().on('data', (chunk) => wrapped.push(chunk) || raw.pause());
      raw.on('error', (error) => wrapped.destroy(error));
      const { socket } = await connect(proxy.url, destination, {
        auth: [sealed ? methodWith() : { id: 0x80, *authenticate() {} }],
        ...(transport !== 'a TCP socket' && { socket: wrapped }),
        ...(secured && { tls: { ca: CERTIFICATE, checkServerIdentity: () => undefined } }),
      });
      if (transport === 'a TCP socket') raw.destroy();
      const failed = new Promise((resolve) => finished(socket, resolve));
      socket.resume();
      await turns(3);
      reset();
      expect(await failed).toMatchObject({ code: 'ECONNRESET' });
    },
  );
});

test('the options of a tunnel are those of the socket below it', async () => {
  const proxy = await granting(() => {});
  const raw = dialTcp(Number(new URL(proxy.url).port), '127.0.0.1');
  const { socket } = await openTunnel(proxy, {}, { socket: raw });
  const calls: unknown[] = [];
  for (const name of ['setNoDelay', 'setKeepAlive', 'setTimeout', 'ref', 'unref'] as const) {
    const original = raw[name] as (...given: unknown[]) => Socket;
    Object.assign(raw, {
      [name]: (...given: unknown[]) => {
        calls.push([name, ...given]);
        return original.apply(raw, given);
      },
    });
  }
  expect(socket.setNoDelay(true).setKeepAlive(true, 1000).unref().ref()).toBe(socket);
  const idle = new Promise<void>((resolve) => void socket.setTimeout(1, resolve));
  expect(calls).toEqual([
    ['setNoDelay', true],
    ['setKeepAlive', true, 1000],
    ['unref'],
    ['ref'],
    ['setTimeout', 1],
  ]);
  await idle;
  expect(socket.setTimeout(0)).toBe(socket);
  socket.destroy();
});

test('the options of a tunnel over a stream that has none change nothing', async () => {
  const proxy = await granting(() => {});
  const raw = dialTcp(Number(new URL(proxy.url).port), '127.0.0.1');
  const bare = new Duplex({
    read: () => void raw.resume(),
    write: (chunk, _, done) => raw.write(chunk as Buffer, done),
  });
  raw.pause().on('data', (chunk) => bare.push(chunk));
  const { socket } = await openTunnel(proxy, {}, { socket: bare });
  expect(socket.setNoDelay().setKeepAlive().setTimeout(1).unref().ref()).toBe(socket);
  socket.destroy();
  raw.destroy();
});

describe('a process', () => {
  const program = `
    const [, url, layer, last] = process.argv;
    const frame = (data) => Buffer.concat([Buffer.of(data.length >> 8, data.length & 0xff), data]);
    const method = { id: 0x80, *authenticate() { return { seal: frame, *open() {
      const [high, low] = yield { read: 2, phase: 'request' };
      return yield { read: (high << 8) | low, phase: 'request' };
    } }; } };
    const tls = layer === 'TLS' ? { rejectUnauthorized: false } : undefined;
    const { socket } = await core.connect(url, { host: '127.0.0.1', port: 80 }, { auth: [method], tls });
    socket.unref();
    if (last === 'ref') {
      socket.ref();
      socket.on('data', (data) => { console.log(String(data)); socket.destroy(); });
      socket.write('hello');
    }
  `;
  /** Sends everything back, a while later. */
  const echo = (stream: Duplex) =>
    stream.on('error', () => {}).on('data', (data) => setTimeout(() => stream.write(data), 100));
  const echoing = (layer: string) =>
    granting((socket) => {
      const plain = unframed(socket);
      echo(layer === 'TLS' ? new TLSSocket(plain, { isServer: true, ...TLS }) : plain);
    });

  describe.each(['nothing', 'TLS'])('with %s over the encapsulation', (layer) => {
    test('ends while a tunnel that was unref()ed is open', async () => {
      const { url } = await echoing(layer);
      expect(await runCore(program, [url, layer, 'unref'])).toEqual(IN_ORDER);
    });

    test('lives as long as a tunnel that was ref()ed again', async () => {
      const { url } = await echoing(layer);
      const ending = await runCore(program, [url, layer, 'ref']);
      expect(ending).toEqual({ ...IN_ORDER, stdout: 'hello\n' });
    });
  });
});
