// The golden vectors against the protocol: whole, byte by byte and at every split. Every CONNECT vector is replayed;
// the table at the end names the families that are not about CONNECT. Rules 1, 7, 9 to 11, 13, 14, 16 to 23.

import { Duplex } from 'node:stream';
import vectors from '@socksify/vectors' with { type: 'json' };
import { describe, expect, test } from 'vitest';
import type { SocksError } from '../src/errors.ts';
import { handshake } from '../src/protocol/handshake.ts';
import type { Bound, Steps } from '../src/protocol/step.ts';
import type { SocksProxy } from '../src/proxy.ts';
import { Attempt } from '../src/tunnel/attempt.ts';
import { Connection } from '../src/tunnel/connection.ts';
import { perform } from '../src/tunnel/hops.ts';

interface Vector {
  name: string;
  direction: string;
  version: string;
  hex: string | null;
  inputs: {
    cmd?: string;
    host?: string;
    port?: number;
    userId?: string;
    username?: string;
    password?: string;
    methods?: number[];
    offered?: number[];
  };
  expect: {
    result: string;
    code?: string | number;
    consumed?: number;
    rest?: string;
    rep?: number;
    onEof?: string;
    received?: number;
    detected?: string;
    bnd?: { host?: string; hostHex?: string; port: number };
  };
}
const all = vectors as unknown as Vector[];

const NO_CREDENTIALS: SocksProxy = { version: 5, host: 'proxy.test', port: 1080, dns: 'remote' };
const SOCKS4A: SocksProxy = { ...NO_CREDENTIALS, version: 4 };
const DESTINATION = { host: 'example.com', port: 80 };

function withCredentials(username = 'user', password = 'pass'): SocksProxy {
  return { ...NO_CREDENTIALS, credentials: { username, password } };
}

const bytes = (hex: string) => Buffer.from(hex, 'hex');

/** Where in a SOCKS5 conversation a vector stands, by its name. `before` and `after` are typed from the RFCs. */
function conversation({ name, version, inputs }: Vector): {
  steps: () => Steps<Bound>;
  before: string;
  after: string;
} {
  const success = '05000001000000000000';
  if (version === '4') return { steps: () => handshake(SOCKS4A, DESTINATION), before: '', after: '' };
  if (name.startsWith('stream.') || name.startsWith('s5.method.')) {
    const offered = inputs.offered ?? [0];
    const both = offered.includes(0) && offered.includes(2);
    const proxy = offered.includes(2) ? withCredentials() : NO_CREDENTIALS;
    const steps = () =>
      handshake(proxy, DESTINATION, { auth: proxy.credentials && !both ? 'required' : 'auto' });
    return { steps, before: '', after: name === 's5.method.00' ? success : '' };
  }
  if (version === '5-rfc1929') {
    return { steps: () => handshake(withCredentials(), DESTINATION), before: '0502', after: success };
  }
  return { steps: () => handshake(NO_CREDENTIALS, DESTINATION), before: '0500', after: '' };
}

/** Runs the steps by hand over these bytes; says how it ended and how many bytes were left untouched. */
function run(steps: Steps<Bound>, input: Buffer) {
  let rest = input;
  let step = steps.next(Buffer.alloc(0));
  while (!step.done) {
    if ('write' in step.value) step = steps.next(Buffer.alloc(0));
    else if ('wait' in step.value) throw new Error('nothing to wait for');
    else if (rest.length < step.value.read) return { result: 'need-more', rest } as const;
    else {
      const taken = rest.subarray(0, step.value.read);
      rest = rest.subarray(step.value.read);
      step = steps.next(taken);
    }
  }
  return { result: 'ok', rest, bound: step.value } as const;
}

/** The same over a stream that delivers the bytes in these pieces, and then ends when `eof` says so. */
async function runOver(steps: Steps<Bound>, pieces: Buffer[], eof: boolean) {
  const sent: Buffer[] = [];
  const queue = [...pieces];
  const stream = new Duplex({
    read() {
      const piece = queue.shift();
      if (piece) setImmediate(() => this.push(piece));
      else if (eof) this.push(null);
    },
    write(chunk: Buffer, _encoding, done) {
      sent.push(chunk);
      done();
    },
  });
  const connection = new Connection(stream);
  const bound = await perform(steps, connection, new Attempt({}));
  connection.release();
  const rest: Buffer[] = [];
  for await (const chunk of stream) rest.push(chunk as Buffer);
  return { bound, rest: Buffer.concat(rest), sent };
}

function* splits(input: Buffer): Generator<Buffer[]> {
  yield [input];
  yield [...input].map((byte) => Buffer.of(byte));
  for (let at = 1; at < input.length; at++) yield [input.subarray(0, at), input.subarray(at)];
}

const isConnect = ({ inputs }: Vector) => inputs.cmd === undefined || inputs.cmd === 'connect';
const isGssapi = ({ version, name }: Vector) => version === '5-rfc1961' || name === 's5.method.01';

const requests = all.filter(
  (v) => v.direction === 'c2s' && isConnect(v) && !isGssapi(v) && !v.inputs.methods,
);
const replies = all.filter((v) => v.direction.startsWith('s2c') && !isGssapi(v));

describe('what the client sends', () => {
  const writes = ({ inputs, version }: Vector): Buffer[] => {
    const proxy: SocksProxy =
      version === '5-rfc1929'
        ? withCredentials(inputs.username, inputs.password)
        : version === '5'
          ? NO_CREDENTIALS
          : {
              ...SOCKS4A,
              dns: version === '4' ? 'local' : 'remote',
              credentials: { username: inputs.userId ?? '' },
            };
    const answers = { '4': '', '4a': '', '5': '0500', '5-rfc1929': '05020100' }[version] ?? '';
    const steps = handshake(proxy, { host: inputs.host ?? 'example.com', port: inputs.port ?? 80 });
    const sent: Buffer[] = [];
    let rest = bytes(answers);
    for (let step = steps.next(Buffer.alloc(0)); !step.done; ) {
      if ('write' in step.value) {
        sent.push(Buffer.from(step.value.write));
        step = steps.next(Buffer.alloc(0));
      } else if ('read' in step.value) {
        const count = step.value.read;
        if (rest.length < count) break;
        const taken = rest.subarray(0, count);
        rest = rest.subarray(count);
        step = steps.next(taken);
      } else throw new Error('nothing to wait for');
    }
    return sent;
  };

  test.each(requests.filter((v) => v.hex !== null))('$name', (vector) => {
    const sent = writes(vector);
    expect(sent[vector.version.startsWith('5') ? 1 : 0]?.toString('hex')).toBe(vector.hex);
  });

  test.each(requests.filter((v) => v.expect.result === 'error'))(
    '$name is refused before a byte',
    (vector) => {
      expect(() => writes(vector)).toThrowError(
        expect.objectContaining({ code: vector.expect.code, phase: 'input' }),
      );
    },
  );

  test('plain SOCKS4 leaves a name to a local look-up', () => {
    const vector = requests.find((v) => v.expect.result === 'local-lookup');
    expect(() => writes(vector as Vector)).toThrowError(/look it up first/);
  });
});

describe('what the server answers', () => {
  const accepted = replies.filter((v) => v.expect.result === 'ok');
  const refused = replies.filter((v) => v.expect.result === 'error');
  const cut = replies.filter((v) => v.expect.result === 'need-more');

  test.each(accepted)('$name', async (vector) => {
    const { steps, before, after } = conversation(vector);
    const { bnd, rest = '' } = vector.expect;
    // A vector with more messages behind the first is one conversation here.
    const behind = vector.name === 's5.method.coalesced' ? '' : rest;
    const input = bytes(before + vector.hex + after);
    const whole = run(steps(), input);
    expect(whole.result).toBe('ok');
    expect(whole.rest.toString('hex')).toBe(behind);
    if (bnd) {
      const host = bnd.host ?? bytes(bnd.hostHex ?? '').toString('latin1');
      expect(whole).toMatchObject({ bound: { host, port: bnd.port } });
    }
    for (const pieces of splits(input)) {
      const driven = await runOver(steps(), pieces, true);
      expect(driven.bound).toEqual('bound' in whole && whole.bound);
      expect(driven.rest.toString('hex')).toBe(behind);
    }
  });

  test.each(refused)('$name', async (vector) => {
    const { steps, before } = conversation(vector);
    const { code, rep, detected } = vector.expect;
    for (const eof of [false, true]) {
      for (const pieces of splits(bytes(before + vector.hex))) {
        const error = await runOver(steps(), pieces, eof).then(
          () => undefined,
          (reason: SocksError) => reason,
        );
        expect(error).toMatchObject({ name: 'SocksError', code });
        expect(error?.reply).toBe(rep);
        if (detected) expect(error?.detail).toBe(detected);
      }
    }
  });

  test.each(cut)('$name', async (vector) => {
    const { steps, before } = conversation(vector);
    const input = bytes(before + vector.hex);
    expect(run(steps(), input).result).toBe('need-more');
    for (const pieces of splits(input)) {
      const error = await runOver(steps(), pieces, true).catch((reason: SocksError) => reason);
      expect(error).toMatchObject({ code: vector.expect.onEof });
      const { received = 0 } = vector.expect;
      if (received) expect(error).toMatchObject({ detail: `${received} bytes into an answer` });
      else expect(error).not.toHaveProperty('detail');
    }
  });
});

test('every vector is replayed here, or is not about a CONNECT client', () => {
  const elsewhere = all.filter((v) => !requests.includes(v) && !replies.includes(v));
  const families = new Set(
    elsewhere.map((v) =>
      isGssapi(v) ? 'gssapi' : v.inputs.methods ? 'greeting' : (v.inputs.cmd ?? v.direction),
    ),
  );
  expect([...families].toSorted()).toEqual([
    'bind',
    'c2s-parse',
    'greeting',
    'gssapi',
    'resolve',
    'resolve-ptr',
    'udp',
    'udp-associate',
  ]);
});
