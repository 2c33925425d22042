// The golden vectors against the protocol: whole, byte by byte and at every split. Every CONNECT vector is replayed; the
// table at the end names the families that are not about CONNECT. Each test cites the rules that its vector shows.

import { readFileSync } from 'node:fs';
import { Duplex } from 'node:stream';
import { bytes } from '@socksify/support';
import vectors from '@socksify/vectors' with { type: 'json' };
import type { Vector } from '@socksify/vectors';
import { describe, expect, test } from 'vitest';
import type { SocksError } from '../src/errors.ts';
import { handshake } from '../src/protocol/handshake.ts';
import type { Bound, Steps } from '../src/protocol/step.ts';
import type { SocksProxy } from '../src/proxy.ts';
import { Attempt } from '../src/tunnel/attempt.ts';
import { Connection } from '../src/tunnel/connection.ts';
import { drive } from '../src/tunnel/drive.ts';

const NO_CREDENTIALS: SocksProxy = { version: 5, host: 'proxy.test', port: 1080, dns: 'remote' };
const SOCKS4A: SocksProxy = { ...NO_CREDENTIALS, version: 4 };
const DESTINATION = { host: 'example.com', port: 80 };

function withCredentials(username = 'user', password = 'pass'): SocksProxy {
  return { ...NO_CREDENTIALS, credentials: { username, password } };
}

/** The handshake in which the server sends these bytes. */
function handshakeOf({ version, auth }: Vector): Steps<Bound> {
  if (version === '4') return handshake(SOCKS4A, DESTINATION);
  const proxy = auth === 'none' ? NO_CREDENTIALS : withCredentials();
  return handshake(proxy, DESTINATION, { auth: auth === 'required' ? 'required' : 'auto' });
}

/** Runs the steps by hand over these bytes: what the client sends, how it ends, and how many bytes are left untouched. */
function run(steps: Steps<Bound>, input: Buffer) {
  const sent: Buffer[] = [];
  let rest = input;
  let step = steps.next(Buffer.alloc(0));
  while (!step.done) {
    if ('write' in step.value) {
      sent.push(Buffer.from(step.value.write));
      step = steps.next(Buffer.alloc(0));
    } else if ('wait' in step.value) throw new Error('nothing to wait for');
    else if (rest.length < step.value.read) return { result: 'need-more', rest, sent };
    else {
      const taken = rest.subarray(0, step.value.read);
      rest = rest.subarray(step.value.read);
      step = steps.next(taken);
    }
  }
  return { result: 'ok', rest, sent, bound: step.value };
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
  const bound = await drive(steps, connection, new Attempt({}));
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

const requests = vectors.filter(
  (v) => v.direction === 'c2s' && isConnect(v) && v.auth !== 'gssapi' && !v.inputs.methods,
);
const replies = vectors.filter((v) => v.direction.startsWith('s2c') && v.auth !== 'gssapi');

describe('the client', () => {
  /** The last message that the client sends when the server has sent `before`. */
  const lastSent = ({ inputs, version, auth, before }: Vector): Buffer | undefined => {
    const socks4: SocksProxy = {
      ...SOCKS4A,
      dns: version === '4' ? 'local' : 'remote',
      credentials: { username: inputs.userId ?? '' },
    };
    const socks5 = auth === 'none' ? NO_CREDENTIALS : withCredentials(inputs.username, inputs.password);
    const proxy = version === '4' || version === '4a' ? socks4 : socks5;
    const steps = handshake(proxy, { host: inputs.host ?? 'example.com', port: inputs.port ?? 80 });
    return run(steps, bytes(before)).sent.at(-1);
  };

  test.each(requests.filter((v) => v.hex !== null))('sends $name ($shows)', (vector) => {
    expect(lastSent(vector)?.toString('hex')).toBe(vector.hex);
  });

  test.each(requests.filter((v) => v.expect.result === 'error'))(
    'refuses $name before it sends a byte ($shows)',
    (vector) => {
      expect(() => lastSent(vector)).toThrowError(
        expect.objectContaining({ code: vector.expect.code, phase: 'input' }),
      );
    },
  );

  test('leaves a name to a local look-up over plain SOCKS4 (rule 12)', () => {
    const vector = requests.find((v) => v.expect.result === 'local-lookup');
    expect(vector).toBeDefined();
    expect(() => lastSent(vector as Vector)).toThrowError(/look it up first/);
  });
});

describe('an answer of the server', () => {
  const accepted = replies.filter((v) => v.expect.result === 'ok');
  const refused = replies.filter((v) => v.expect.result === 'error');
  const cut = replies.filter((v) => v.expect.result === 'need-more');

  test.each(accepted)('is accepted: $name ($shows)', async (vector) => {
    const { bnd, rest = '', left = rest } = vector.expect;
    const input = bytes(vector.before + vector.hex + vector.after);
    const whole = run(handshakeOf(vector), input);
    expect(whole.result).toBe('ok');
    expect(whole.rest.toString('hex')).toBe(left);
    if (bnd) {
      const host = bnd.host ?? bytes(bnd.hostHex ?? '').toString('latin1');
      expect(whole).toMatchObject({ bound: { host, port: bnd.port } });
    }
    for (const pieces of splits(input)) {
      const driven = await runOver(handshakeOf(vector), pieces, true);
      expect(driven.bound).toEqual(whole.bound);
      expect(driven.rest.toString('hex')).toBe(left);
    }
  });

  test.each(refused)('is refused: $name ($shows)', async (vector) => {
    const { code, rep, detected } = vector.expect;
    for (const eof of [false, true]) {
      for (const pieces of splits(bytes(vector.before + vector.hex))) {
        const error = await runOver(handshakeOf(vector), pieces, eof).then(
          () => undefined,
          (reason: SocksError) => reason,
        );
        expect(error).toMatchObject({ name: 'SocksError', code });
        expect(error?.reply).toBe(rep);
        if (detected) expect(error?.detail).toBe(detected);
      }
    }
  });

  test.each(cut)('is waited for, and its end is an error: $name ($shows)', async (vector) => {
    const input = bytes(vector.before + vector.hex);
    expect(run(handshakeOf(vector), input).result).toBe('need-more');
    for (const pieces of splits(input)) {
      const error = await runOver(handshakeOf(vector), pieces, true).catch((reason: SocksError) => reason);
      expect(error).toMatchObject({ code: vector.expect.onEof });
      const { received = 0 } = vector.expect;
      if (received) expect(error).toMatchObject({ detail: `${received} bytes into an answer` });
      else expect(error).not.toHaveProperty('detail');
    }
  });
});

test('every vector is replayed here, or is not about a CONNECT client', () => {
  const elsewhere = vectors.filter((v) => !requests.includes(v) && !replies.includes(v));
  const families = new Set(
    elsewhere.map((v) =>
      v.auth === 'gssapi' ? 'gssapi' : v.inputs.methods ? 'greeting' : (v.inputs.cmd ?? v.direction),
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

describe('docs/protocol.md', () => {
  const page = readFileSync(new URL('../../../docs/protocol.md', import.meta.url), 'utf8');

  test('names vectors that exist', () => {
    const named = [...page.matchAll(/`((?:s4|s4a|s5|gss|stream|udp)\.[\w.+-]+)`/g)].map(([, name]) => name);
    expect(named.length).toBeGreaterThan(50);
    const names = new Set(vectors.map(({ name }) => name));
    expect(named.filter((name = '') => !names.has(name))).toEqual([]);
  });

  /** The example of a section: what client and proxy send. */
  const exampleOf = (heading: string): { client: string[]; proxy: string } => {
    const [, section = ''] = page.split(`\n${heading}\n`);
    const [, block = ''] = /```text\n(client [\s\S]*?)```/.exec(section) ?? [];
    const sent = (side: string): string[] =>
      [...block.matchAll(new RegExp(`^${side}  ((?:[0-9a-f]{2}| (?! ))+)`, 'gm'))].map(([, hex = '']) =>
        hex.replaceAll(' ', ''),
      );
    return { client: sent('client'), proxy: sent('proxy').join('') };
  };
  const port = 80;
  test.each<[string, SocksProxy, string]>([
    ['### SOCKS4 request', { ...SOCKS4A, credentials: { username: 'bob' } }, '66.102.7.99'],
    ['## SOCKS4A', SOCKS4A, 'example.com'],
    ['## SOCKS5', withCredentials('u', 'p'), 'example.com'],
  ])('has the bytes of the client in its example: %s', (heading, proxy, host) => {
    const example = exampleOf(heading);
    const { result, rest, sent } = run(handshake(proxy, { host, port }), bytes(example.proxy));
    expect(sent.map((message) => message.toString('hex'))).toEqual(example.client);
    expect({ result, rest }).toEqual({ result: 'ok', rest: Buffer.alloc(0) });
  });
});
