// Whatever a caller asks for and whatever a server sends: properties, held against a second reading of the RFCs.
// Rules 1, 4, 5 and 9 to 23.

import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { Duplex } from 'node:stream';
import { domainToASCII } from 'node:url';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { connect, handshake, parseProxy, SocksError } from '../src/index.ts';
import type { Destination, SocksCredentials, SocksProxy } from '../src/index.ts';
import { decode, verdictOn } from './wire.ts';
import type { Asked } from './wire.ts';

const RUNS = { numRuns: 3_000 };

// Text of a given number of bytes, near the limits; any UTF-16 at all, with halves of surrogate pairs.
const sized = fc
  .tuple(
    fc.constantFrom('a', 'é', '€', '😀', '\0', ':', '%'),
    fc.oneof(fc.nat(3), fc.integer({ min: 252, max: 258 })),
  )
  .map(([unit, length]) => {
    const text = unit.repeat(length / Buffer.byteLength(unit));
    return text + 'x'.repeat(length - Buffer.byteLength(text));
  });
const utf16 = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 6 })
  .map((units) => String.fromCharCode(...units));
const text = fc.oneof(fc.string({ unit: 'binary' }), sized, utf16);

const group = fc.oneof(
  fc.constant('0'),
  fc.integer({ min: 0, max: 0xffff }).map((n) => n.toString(16)),
);
const ipv6 = fc.oneof(
  fc.ipV6(),
  fc.array(group, { minLength: 8, maxLength: 8 }).map((groups) => groups.join(':').toUpperCase()),
  fc
    .array(group, { minLength: 8, maxLength: 8 })
    .map((groups) => groups.map((g) => g.padStart(4, '0')).join(':')),
  fc.ipV4().map((tail) => `::ffff:${tail}`),
  fc.ipV4().map((tail) => `64:ff9b::${tail}`),
);
const label = fc.stringMatching(/^[A-Za-z0-9_-]{1,20}$/);
const name = fc
  .tuple(fc.array(label, { minLength: 1, maxLength: 12 }), fc.constantFrom('', '.'))
  .map(([labels, dot]) => `x${labels.join('.')}${dot}`);
const literal = fc.oneof(
  fc.ipV4(),
  ipv6,
  ipv6.map((host) => `[${host}]`),
);
const host = fc.oneof(
  literal,
  name,
  fc.domain(),
  fc.string({ unit: 'grapheme' }),
  fc.integer({ min: 250, max: 260 }).map((length) => 'n'.repeat(length)),
  ipv6.map((address) => `${address}%1`),
  text,
);
const goodPort = fc.integer({ min: 1, max: 65_535 });
const port = fc.oneof({ weight: 4, arbitrary: goodPort }, fc.constantFrom(0, -1, 65_536, 1.5, Number.NaN));

function proxyOf(version: 4 | 5, credentials?: SocksCredentials): SocksProxy {
  return { version, host: 'proxy.test', port: 1080, dns: 'remote', ...(credentials && { credentials }) };
}

const given = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const credentials = fc
  .record({ username: text, password: given(text) })
  .map(({ username, password }) => (password === undefined ? { username } : { username, password }));

/** Every message that the client sends up to the reply, to a server that chooses a method and is content. */
function messages(proxy: SocksProxy, destination: Destination): Buffer[] {
  const steps = handshake(proxy, destination);
  const answers = proxy.version === 4 ? [] : ['0500', ...(proxy.credentials ? ['0100'] : [])];
  if (proxy.credentials && answers.length > 0) answers[0] = '0502';
  const sent: Buffer[] = [];
  for (let step = steps.next(Buffer.alloc(0)); !step.done; ) {
    if ('write' in step.value) {
      sent.push(Buffer.from(step.value.write));
      step = steps.next(Buffer.alloc(0));
    } else {
      const answer = answers.shift();
      if (answer === undefined) break;
      step = steps.next(Buffer.from(answer, 'hex'));
    }
  }
  return sent;
}

function expectSameMeaning(asked: Asked, proxy: SocksProxy, destination: Destination): void {
  const { username, password } = proxy.credentials ?? {};
  if (proxy.version === 5) {
    expect(asked.methods).toEqual(proxy.credentials ? [2, 0] : [0]);
    expect(asked.username).toBe(username);
    expect(asked.password).toBe(proxy.credentials && (password ?? ''));
  } else {
    expect(asked.username).toBe(username ?? '');
  }
  expect(asked.port).toBe(destination.port);
  const bare = destination.host.replace(/^\[(.*)\]$/s, '$1');
  if (isIPv6(bare)) {
    expect(asked.form).toBe('ipv6');
    expect(isSameIPv6(asked.address, bare)).toBe(true);
    return;
  }
  // The URL Standard makes an address of digits outside ASCII, such as those of full width.
  // oxlint-disable-next-line no-control-regex -- "all ASCII"
  const ascii = /^[\u0000-\u007f]*$/.test(destination.host);
  const meant = ascii ? destination.host : domainToASCII(destination.host);
  expect(asked.form).toBe(isIPv4(meant) ? 'ipv4' : 'name');
  expect(isIPv4(meant) ? asked.address.join('.') : asked.address.toString('latin1')).toBe(meant);
  expect(meant).toMatch(/^[\u0021-\u007e]+$/);
}

/** Asks Node's address lists, which share no code with the encoder. */
function isSameIPv6(octets: Buffer, written: string): boolean {
  const list = new BlockList();
  const groups = Array.from({ length: 8 }, (_, i) => octets.readUInt16BE(2 * i).toString(16));
  list.addAddress(groups.join(':'), 'ipv6');
  return list.check(written, 'ipv6');
}

describe('what a client sends', () => {
  test('means what was asked for, or is refused before a byte', () => {
    fc.assert(
      fc.property(
        fc.constantFrom<4 | 5>(4, 5),
        given(credentials),
        fc.record({ host, port }),
        (version, login, destination) => {
          const proxy = proxyOf(version, login);
          let sent: Buffer[];
          try {
            sent = messages(proxy, destination);
          } catch (error) {
            expect(error).toBeInstanceOf(SocksError);
            expect(error).toMatchObject({ phase: 'input' });
            // Thrown by the call itself, not by the first step.
            expect(() => handshake(proxy, destination)).toThrowError(SocksError);
            return;
          }
          expectSameMeaning(decode(sent), proxy, destination);
        },
      ),
      RUNS,
    );
  });

  const wellFormed = text.filter((value) => value.isWellFormed() && Buffer.byteLength(value) <= 255);

  test('is sent for every SOCKS5 input within the limits', () => {
    const login = fc.record({ username: wellFormed, password: wellFormed });
    const destination = fc.record({ host: fc.oneof(literal, name), port: goodPort });
    fc.assert(
      fc.property(given(login), destination, (user, to) => {
        fc.pre(to.host.length <= 255);
        const proxy = proxyOf(5, user);
        expectSameMeaning(decode(messages(proxy, to)), proxy, to);
      }),
      RUNS,
    );
  });

  test('is sent for every SOCKS4A input within the limits', () => {
    const login = fc.record({ username: wellFormed.filter((value) => !value.includes('\0')) });
    const addresses = fc.ipV4().filter((address) => !address.startsWith('0.0.0.'));
    const destination = fc.record({ host: fc.oneof(addresses, name), port: goodPort });
    fc.assert(
      fc.property(given(login), destination, (user, to) => {
        fc.pre(to.host.length <= 255);
        const proxy = proxyOf(4, user);
        expectSameMeaning(decode(messages(proxy, to)), proxy, to);
      }),
      RUNS,
    );
  });

  test('is what a URL holds percent-encoded', () => {
    const login = fc.record({ username: wellFormed, password: wellFormed });
    fc.assert(
      fc.property(login, literal, ({ username, password }, address) => {
        fc.pre(username !== '' && password !== '');
        const where = isIPv6(address) ? `[${address}]` : address;
        const url = `socks5://${encodeURIComponent(username)}:${encodeURIComponent(password)}@${where}:1`;
        const proxy = parseProxy(url);
        expect({ ...proxy.credentials }).toEqual({ username, password });
        const [sent, asked] = [proxy.host, address.replace(/^\[(.*)\]$/, '$1')].map(
          (at) => decode(messages(proxyOf(5), { host: at, port: 1 })).address,
        );
        expect(sent).toEqual(asked);
      }),
      RUNS,
    );
  });
});

/** A server that talks without listening, in these pieces. Counts what is read from it. */
class Talker extends Duplex {
  taken = 0;
  readonly #pieces: Buffer[];
  readonly #eof: boolean;

  constructor(pieces: readonly Buffer[], eof: boolean) {
    super();
    this.#pieces = [...pieces];
    this.#eof = eof;
  }

  override _read(): void {
    const piece = this.#pieces.shift();
    if (piece) setImmediate(() => this.push(piece));
    else if (this.#eof) this.push(null);
  }

  override _write(_chunk: Buffer, _encoding: string, done: () => void): void {
    done();
  }

  override read(size?: number): unknown {
    const chunk = super.read(size) as Buffer | null;
    this.taken += chunk?.length ?? 0;
    return chunk;
  }
}

const METHODS: readonly string[] = ['0500', '0502', '05ff', '0502 0100', '0502 0501', '0501'];
const REPLIES: readonly string[] = [
  '0500 0001 7f000001 0050',
  '0500 0003 00 0050',
  '0500 0003 03 612e62 0050',
  `0500 0003 ff ${'6e'.repeat(255)} 0050`,
  '0500 0004 20010db8000000000000000000000001 01bb',
];
const REPLIES_4: readonly string[] = ['005a 0050 7f000001', '045a 0000 00000000'];
const NOES: readonly string[] = ['0505 0001 00000000 0000', '0500 0009', '005b 0000 00000000'];
const OTHERS: readonly string[] = ['485454502f312e31', '150301000202'];
const unhex = (digits: string) => Buffer.from(digits.replaceAll(' ', ''), 'hex');
const CONVERSATIONS: readonly {
  proxy: SocksProxy;
  offered: readonly number[];
  granted: readonly string[];
}[] = [
  { proxy: proxyOf(4), offered: [], granted: REPLIES_4 },
  { proxy: proxyOf(5), offered: [0], granted: REPLIES.map((reply) => `0500${reply}`) },
  {
    proxy: proxyOf(5, { username: 'user', password: 'secret' }),
    offered: [2, 0],
    granted: REPLIES.flatMap((reply) => [`05020100${reply}`, `0500${reply}`]),
  },
];

const noise = fc.oneof(
  fc.constantFrom(...METHODS, ...REPLIES, ...REPLIES_4, ...NOES, ...OTHERS).map(unhex),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
);
const talk = fc.constantFrom(...CONVERSATIONS).chain((conversation) =>
  fc.record({
    conversation: fc.constant(conversation),
    beginning: fc.oneof(
      { weight: 3, arbitrary: fc.constantFrom(...conversation.granted).map(unhex) },
      { weight: 1, arbitrary: noise },
    ),
    behind: fc.array(noise, { maxLength: 3 }),
    changes: fc.array(fc.tuple(fc.nat(24), fc.nat(255)), { maxLength: 2 }),
    length: fc.oneof({ weight: 2, arbitrary: fc.constant(Number.POSITIVE_INFINITY) }, fc.nat(300)),
    cuts: fc.array(fc.nat(40), { maxLength: 8 }),
    eof: fc.boolean(),
  }),
);

function bytesOf(beginning: Buffer, behind: readonly Buffer[], changes: readonly [number, number][]): Buffer {
  const bytes = Buffer.concat([beginning, ...behind]);
  for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
  return bytes;
}

function piecesOf(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const edges = [0, ...cuts.filter((cut) => cut < bytes.length).toSorted((a, b) => a - b), bytes.length];
  return edges
    .map((edge, i) => bytes.subarray(edge, edges[i + 1] ?? edge))
    .filter((piece) => piece.length > 0);
}

// An unhandled rejection or exception fails the run of vitest itself.
test('any bytes of a server, in any pieces, end in a tunnel, an error of ours, or the deadline', async () => {
  const seen = { tunnel: 0, refused: 0, closed: 0, timeout: 0 };
  await fc.assert(
    fc.asyncProperty(talk, async ({ conversation, beginning, behind, changes, length, cuts, eof }) => {
      const { proxy, offered } = conversation;
      const bytes = bytesOf(beginning, behind, changes).subarray(0, length);
      const verdict = verdictOn(bytes, offered);
      const socket = new Talker(piecesOf(bytes, cuts), eof);
      const before = listeners(socket);
      const timeout = verdict === 'short' && !eof ? 3 : 10_000;
      const outcome = await connect(proxy, { host: '127.0.0.1', port: 80 }, { socket, timeout }).catch(
        (error: unknown) => error,
      );
      const { taken } = socket;
      if (typeof verdict === 'number') {
        seen.tunnel++;
        expect(outcome).toMatchObject({ socket });
        expect(taken).toBe(verdict);
        expect(listeners(socket)).toEqual(before);
        expect(await remaining(socket, bytes.length - verdict)).toEqual(bytes.subarray(verdict));
        socket.destroy();
        return;
      }
      expect(outcome).toBeInstanceOf(SocksError);
      const { code, phase } = outcome as SocksError;
      expect(phase).toMatch(/^(?:greeting|authentication|request)$/);
      expect(socket.destroyed).toBe(true);
      // Two messages of two bytes at most in front of the reply, and the longest reply has 262.
      expect(taken).toBeLessThanOrEqual(4 + 262);
      if (verdict === 'refused') {
        seen.refused++;
        expect(code).not.toMatch(/CLOSED|TIMEOUT|INVALID/);
      } else {
        seen[eof ? 'closed' : 'timeout']++;
        expect(code).toBe(eof ? 'ERR_SOCKS_PROXY_CLOSED' : 'ERR_SOCKS_TIMEOUT');
      }
    }),
    RUNS,
  );
  // No kind of end was left out by the generators.
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(50);
});

function listeners(stream: Duplex): unknown[] {
  return stream.eventNames().map((event) => [event, stream.listenerCount(event)]);
}

async function remaining(socket: Duplex, count: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let received = 0;
  if (count === 0) return Buffer.alloc(0);
  for await (const chunk of socket) {
    chunks.push(chunk as Buffer);
    received += (chunk as Buffer).length;
    if (received >= count) break;
  }
  return Buffer.concat(chunks);
}
