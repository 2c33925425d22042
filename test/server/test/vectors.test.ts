// Every client message of the golden vectors, whole, byte by byte and cut in two at every place; and every datagram.

import { PassThrough } from 'node:stream';
import golden from '@socksify/vectors' with { type: 'json' };
import type { Vector } from '@socksify/vectors';
import { describe, expect, test } from 'vitest';
import {
  converse,
  encodeDatagram,
  Incomplete,
  negotiate,
  parseDatagram,
  readHello,
  readRequest5,
  readUserpass,
  Refusal,
} from '../src/index.ts';
import type { Greeting, SocksRequest, Steps, Userpass } from '../src/index.ts';

type Message = SocksRequest | Greeting | Userpass;

const vectors = of('c2s-parse');

function of(direction: string): (Vector & { readonly hex: string })[] {
  return golden.filter((vector) => vector.direction === direction) as (Vector & { hex: string })[];
}

function readerOf({ version, before }: Vector): Steps<Message> {
  if (before === '') return readHello();
  return version === '5-rfc1929' ? readUserpass() : readRequest5();
}

/** What came of the bytes, in the vector's own words, as far as the vector speaks about it. */
async function replay(
  vector: Vector & { hex: string },
  chunks: readonly Buffer[],
): Promise<Record<string, unknown>> {
  const stream = new PassThrough();
  const reading = converse(stream, readerOf(vector)).then(
    (message) => ({ result: 'ok', ...inVectorWords(message) }),
    (error: unknown) => {
      if (error instanceof Incomplete) return { result: 'need-more' };
      if (error instanceof Refusal) return { result: 'error', replyRep: error.answer[1] ?? null };
      throw error;
    },
  );
  for (const chunk of chunks) {
    stream.write(chunk);
    await new Promise(setImmediate);
  }
  stream.end();
  const outcome = await reading;
  const rest: Buffer[] = [];
  for await (const chunk of stream) rest.push(chunk as Buffer);
  const facts: Record<string, unknown> = {
    ...outcome,
    rest: Buffer.concat(rest).toString('hex'),
    consumed: vector.hex.length / 2 - Buffer.concat(rest).length,
    ...('reply' in vector.expect && refusalOf(vector.hex)),
  };
  return Object.fromEntries(Object.keys(vector.expect).map((key) => [key, facts[key]]));
}

function inVectorWords(message: Message): Record<string, unknown> {
  if ('methods' in message) return { ...message };
  if ('host' in message) return { ...message, cmd: message.command, userId: message.user };
  return { username: message.username.toString(), password: message.password.toString() };
}

/** The answer of the whole negotiation, when it gives these bytes up. */
function refusalOf(hex: string): Record<string, unknown> {
  const steps = negotiate({});
  let bytes = Buffer.from(hex, 'hex');
  try {
    let step = steps.next(new Uint8Array());
    while (!step.done && 'read' in step.value) {
      const input = bytes.subarray(0, step.value.read);
      bytes = bytes.subarray(step.value.read);
      step = steps.next(input);
    }
    return { thenClose: false };
  } catch (error) {
    return { reply: Buffer.from((error as Refusal).answer).toString('hex'), thenClose: true };
  }
}

test('there are 22 messages for a server to read', () => {
  expect(vectors).toHaveLength(22);
});

describe.each(vectors)('the message $name ($shows)', (vector) => {
  const bytes = Buffer.from(vector.hex, 'hex');

  test('is read whole', async () => {
    expect(await replay(vector, [bytes])).toEqual(vector.expect);
  });

  test('is read byte by byte', async () => {
    const single = [...bytes].map((byte) => Buffer.of(byte));
    expect(await replay(vector, single)).toEqual(vector.expect);
  });

  test('is read at every split', async () => {
    for (let at = 0; at < bytes.length; at++) {
      expect(await replay(vector, [bytes.subarray(0, at), bytes.subarray(at)])).toEqual(vector.expect);
    }
  });
});

// The server has to understand each message that a client has to send. It does not support GSSAPI.
describe('a message that a client must send', () => {
  const sent = of('c2s').filter(({ auth, hex }) => hex !== null && auth !== 'gssapi');

  test('has every command', () => {
    const commands = new Set(sent.map(({ inputs }) => inputs.cmd));
    const all5 = ['connect', 'bind', 'udp-associate', 'resolve', 'resolve-ptr'];
    expect([...commands]).toEqual(expect.arrayContaining(all5));
  });

  test.each(sent)('is understood: $name ($shows)', async (vector) => {
    const { hex, inputs } = vector;
    const stream = new PassThrough();
    stream.end(Buffer.from(hex, 'hex'));
    const message = inVectorWords(await converse(stream, readerOf(vector)));
    expect(stream.read()).toBeNull();
    // The inputs of a message may be more than what it says: only what both speak about.
    const { cmd, port, userId, username, password } = inputs;
    const expected = { cmd: cmd === 'udp-associate' ? 'associate' : cmd, port, userId, username, password };
    const told = Object.entries(expected).filter(([key, value]) => value !== undefined && key in message);
    expect(told.length + Number('methods' in message)).toBeGreaterThan(0);
    expect(message).toMatchObject(Object.fromEntries(told));
  });
});

describe('rule 28: a datagram', () => {
  const datagrams = of('udp');

  test('is that of all 19 vectors', () => {
    expect(datagrams).toHaveLength(19);
  });

  test.each(datagrams)('is read, written or dropped as $name says', ({ hex, inputs, expect: expected }) => {
    const bytes = Buffer.from(hex, 'hex');
    const datagram = parseDatagram(bytes);
    if (expected.result === 'drop') {
      expect(datagram).toBeUndefined();
      return;
    }
    const { host = '', port = 0, data = Buffer.alloc(0) } = datagram ?? {};
    expect({ host, port, data: Buffer.from(data).toString('hex') }).toEqual({
      host: inputs.host,
      port: inputs.port,
      data: inputs.data,
    });
    expect(bytes.length - data.length).toBe(expected.headerLength);
    expect(Buffer.from(encodeDatagram({ host, port }, data)).toString('hex')).toBe(hex);
  });

  test('is dropped when its name is empty', () => {
    expect(parseDatagram(Buffer.from('0000000300003501', 'hex'))).toBeUndefined();
  });
});
