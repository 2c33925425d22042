// A connection and its layers, over streams without a socket: reads, waits, the end, and the hand-over.

import { Duplex } from 'node:stream';
import { rejection, turns } from '@socksify/support';
import { describe, expect, test } from 'vitest';
import { Connection, READ_EVENTS, StreamClosed } from '../src/tunnel/connection.ts';

/** A stream that receives what a test pushes. */
function stream(name = '', log: string[] = []): Duplex {
  return new Duplex({
    read() {},
    write: (_data, _encoding, done) => done(),
    destroy(error, done) {
      log.push(name);
      done(error);
    },
  });
}

/** The event, which comes in a later turn than `destroy()`; `closed` is true before it. */
async function close(of: Duplex): Promise<void> {
  await new Promise<void>((resolve) => void of.once('close', resolve));
}

const listeners = (of: Duplex): unknown => ({
  error: of.listenerCount('error'),
  close: of.listenerCount('close'),
  readable: of.listenerCount('readable'),
  end: of.listenerCount('end'),
});
const untouched = listeners(stream());
const held = { ...(untouched as object), error: 1, close: 1 };
const text = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString();

describe('a read', () => {
  test('gives so many bytes, counts them, and leaves the others in the stream', () => {
    const below = stream();
    const connection = new Connection(below);
    below.push('abcde');
    expect(text(connection.read(2))).toBe('ab');
    expect(connection.received).toBe(2);
    expect(text(connection.read(1))).toBe('c');
    expect(connection.received).toBe(3);
    expect(below.readableLength).toBe(2);
    expect(connection.ended).toBeUndefined();
  });

  test('of too many bytes gives none of them, and counts none', () => {
    const below = stream();
    const connection = new Connection(below);
    expect(connection.read(1)).toBeUndefined();
    below.push('ab');
    expect(connection.read(3)).toBeUndefined();
    expect([connection.received, below.readableLength]).toEqual([0, 2]);
    expect(connection.ended).toBeUndefined();
  });

  test('of no bytes leaves the stream alone', () => {
    const below = stream();
    const connection = new Connection(below);
    below.push('ab');
    expect(connection.read(0)).toEqual(new Uint8Array());
    expect(below.readableLength).toBe(2);
  });

  test('gives nothing when the connection has ended', () => {
    const below = stream();
    const connection = new Connection(below);
    below.push('ab');
    connection.destroy(new Error('over'));
    expect(connection.read(0)).toBeUndefined();
    expect(connection.read(1)).toBeUndefined();
  });

  test('of more bytes than came before the end of the stream ends the connection, and counts those that came', async () => {
    const below = stream();
    const connection = new Connection(below);
    below.push('ab');
    below.push(null);
    expect(connection.read(3)).toBeUndefined();
    expect(connection.received).toBe(2);
    expect(connection.ended?.reason).toBeInstanceOf(StreamClosed);
    expect(below.destroyed).toBe(true);
    await close(below);
  });

  test('ends the connection when the stream has ended without a byte', async () => {
    const below = stream();
    const connection = new Connection(below);
    below.push(null);
    const ended = connection.until(['end']);
    below.read(0);
    await ended;
    expect(connection.ended).toBeUndefined();
    expect(connection.read(1)).toBeUndefined();
    expect(connection.ended?.reason).toBeInstanceOf(StreamClosed);
  });
});

describe('a wait', () => {
  test('is over at the first of its events, without a listener left', async () => {
    const below = stream();
    const connection = new Connection(below);
    const waiting = connection.until(['first', 'second']);
    expect([below.listenerCount('first'), below.listenerCount('second')]).toEqual([1, 1]);
    below.emit('second');
    expect([below.listenerCount('first'), below.listenerCount('second')]).toEqual([0, 0]);
    expect(await waiting).toEqual(new Uint8Array());
    expect(listeners(below)).toEqual(held);
  });

  test('for bytes goes on until all of them have come', async () => {
    const below = stream();
    const connection = new Connection(below);
    const waiting = connection.until(READ_EVENTS, 3);
    below.push('a');
    await turns(1);
    expect(below.listenerCount('readable')).toBe(1);
    below.push('bcd');
    expect(text(await waiting)).toBe('abc');
    expect([connection.received, below.readableLength]).toEqual([3, 1]);
    expect(listeners(below)).toEqual(held);
  });

  test('rejects with the reason when the connection ends, and leaves no listener', async () => {
    const below = stream();
    const connection = new Connection(below);
    const reason = new Error('over');
    const failed = rejection(connection.until(READ_EVENTS, 3));
    connection.destroy(reason);
    expect(await failed).toBe(reason);
    expect([below.listenerCount('readable'), below.listenerCount('end')]).toEqual([0, 0]);
  });

  test('rejects at once when the connection has ended, and adds no listener', async () => {
    const below = stream();
    const connection = new Connection(below);
    const reason = new Error('over');
    connection.destroy(reason);
    expect(await rejection(connection.until(['connect']))).toBe(reason);
    expect(await rejection(connection.race(Promise.resolve()))).toBe(reason);
    expect(below.listenerCount('connect')).toBe(0);
  });

  test('that is interrupted rejects, and the connection stays open', async () => {
    const below = stream();
    const connection = new Connection(below);
    const reason = new Error('taken');
    const failed = rejection(connection.until(['connect']));
    connection.interrupt(reason);
    expect(await failed).toBe(reason);
    expect(below.listenerCount('connect')).toBe(0);
    expect([connection.ended, below.destroyed]).toEqual([undefined, false]);
    below.push('a');
    expect(text(connection.read(1))).toBe('a');
  });

  test('that nobody has begun can be interrupted', () => {
    const connection = new Connection(stream());
    connection.interrupt(new Error('taken'));
    expect(connection.ended).toBeUndefined();
  });

  test('for a promise settles as the promise does', async () => {
    const connection = new Connection(stream());
    const reason = new Error('no ticket');
    expect(await connection.race(Promise.resolve(5))).toBe(5);
    expect(await rejection(connection.race(Promise.reject(reason)))).toBe(reason);
    expect(connection.ended).toBeUndefined();
  });

  test('for a promise rejects with the reason when the connection ends first', async () => {
    const connection = new Connection(stream());
    const reason = new Error('over');
    const failed = rejection(connection.race(new Promise(() => {})));
    connection.destroy(reason);
    expect(await failed).toBe(reason);
  });
});

describe('hasMore()', () => {
  test('is true as soon as there is a byte, and leaves it in the stream', async () => {
    const below = stream();
    const connection = new Connection(below);
    const more = connection.hasMore();
    await turns(1);
    below.push('a');
    expect(await more).toBe(true);
    expect(await connection.hasMore()).toBe(true);
    expect([connection.received, below.readableLength]).toEqual([0, 1]);
  });

  test('is false at the end of the stream, also when it is called again', async () => {
    const below = stream();
    const connection = new Connection(below);
    below.push(null);
    expect(await connection.hasMore()).toBe(false);
    expect(await connection.hasMore()).toBe(false);
    expect(connection.ended).toBeUndefined();
  });

  test('is false at an end that comes while it waits', async () => {
    const below = stream();
    const more = new Connection(below).hasMore();
    await turns(1);
    below.push(null);
    expect(await more).toBe(false);
  });
});

describe('the end of a connection', () => {
  test('has the error of the stream as its reason, and is reported once', async () => {
    const reasons: unknown[] = [];
    const below = stream();
    const connection = new Connection(below, (reason) => void reasons.push(reason));
    const reason = new Error('broken');
    below.destroy(reason);
    await close(below);
    connection.destroy(new Error('later'));
    expect(connection.ended?.reason).toBe(reason);
    expect(reasons).toEqual([reason]);
  });

  test('has the error of a reset as its reason when the stream closed without an error', async () => {
    const below = stream();
    const connection = new Connection(below);
    below.destroy();
    await close(below);
    expect(connection.ended?.reason).toBeInstanceOf(StreamClosed);
    expect(connection.ended?.reason).toMatchObject({
      message: 'the connection was closed',
      code: 'ECONNRESET',
    });
  });

  test('counts the bytes that nobody has read', () => {
    const below = stream();
    const connection = new Connection(below);
    connection.received = 4;
    below.push('abc');
    connection.destroy(new Error('over'));
    expect(connection.received).toBe(7);
  });

  test('destroys the layers that are open, the outermost first', () => {
    const log: string[] = [];
    const [first, second, third] = ['first', 'second', 'third'].map((name) => stream(name, log));
    const connection = new Connection(first as Duplex);
    connection.wrap(second as Duplex);
    connection.wrap(third as Duplex);
    second?.destroy();
    connection.destroy(new Error('over'));
    expect(log).toEqual(['second', 'third', 'first']);
  });

  test('calls destroy() of no layer that is destroyed', () => {
    const below = stream();
    const connection = new Connection(below);
    below.destroy();
    let calls = 0;
    below.destroy = () => {
      calls++;
      return below;
    };
    connection.destroy(new Error('over'));
    expect(calls).toBe(0);
  });

  test.each([
    ['with its error', new Error('broken')],
    ['without an error', undefined],
  ])('comes at once over a stream that was destroyed before, %s', async (_, error) => {
    const below = stream();
    below.on('error', () => {}).destroy(error);
    const connection = new Connection(below);
    const reason = connection.ended?.reason;
    if (error) expect(reason).toBe(error);
    else expect(reason).toBeInstanceOf(StreamClosed);
    await close(below);
  });
});

describe('a layer over a connection', () => {
  test('takes the place of the one below, which keeps an empty listener for errors', async () => {
    const [below, above] = [stream(), stream()];
    const connection = new Connection(below);
    expect(connection.stream).toBe(below);
    expect(connection.wrap(above)).toBe(above);
    expect(connection.stream).toBe(above);
    expect([listeners(below), listeners(above)]).toEqual([{ ...(untouched as object), error: 1 }, held]);
    below.destroy(new Error('broken'));
    await close(below);
    expect(connection.ended).toBeUndefined();
  });

  test('is what a wait and a read are about', async () => {
    const [below, above] = [stream(), stream()];
    const connection = new Connection(below);
    connection.wrap(above);
    const waiting = connection.until(READ_EVENTS, 1);
    above.push('a');
    expect(text(await waiting)).toBe('a');
  });
});

describe('the hand-over', () => {
  test('leaves no listener on the outermost layer, and ends the care for it', async () => {
    const [below, above] = [stream(), stream()];
    const connection = new Connection(below);
    connection.wrap(above);
    expect(connection.release()).toBe(true);
    expect(listeners(above)).toEqual(untouched);
    connection.destroy(new Error('late'));
    expect([above.destroyed, below.destroyed]).toEqual([false, false]);
    expect(await rejection(connection.until(['connect']))).toMatchObject({
      message: 'the connection was handed over',
    });
  });

  test('cannot be done when the connection has ended', () => {
    const below = stream();
    const connection = new Connection(below);
    const reason = new Error('over');
    connection.destroy(reason);
    expect(connection.release()).toBe(false);
    expect(connection.ended?.reason).toBe(reason);
  });

  test.each([
    ['its error', new Error('broken')],
    ['an error of a reset', undefined],
  ])('cannot be done when the stream is destroyed: the connection ends with %s', async (_, error) => {
    const reasons: unknown[] = [];
    const below = stream();
    const connection = new Connection(below, (reason) => void reasons.push(reason));
    below.destroy(error);
    expect(connection.release()).toBe(false);
    if (error) expect(reasons).toEqual([error]);
    else expect(reasons).toEqual([expect.any(StreamClosed)]);
    await close(below);
    expect(reasons).toHaveLength(1);
  });
});

test('keepAlive() calls ref() or unref() of each layer that has them', () => {
  const log: string[] = [];
  const refs = (name: string) =>
    Object.assign(stream(), {
      ref: () => void log.push(`${name} ref`),
      unref: () => void log.push(`${name} unref`),
    });
  const connection = new Connection(refs('first'));
  connection.wrap(stream());
  connection.wrap(refs('third'));
  connection.keepAlive(true);
  connection.keepAlive(false);
  expect(log).toEqual(['first ref', 'third ref', 'first unref', 'third unref']);
});
