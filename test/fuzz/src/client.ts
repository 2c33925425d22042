// What the client sends for any request, and how it takes any answer of a server. Both are compared with a second reading
// of the RFCs.

import assert from 'node:assert/strict';
import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { Duplex } from 'node:stream';
import { domainToASCII } from 'node:url';
import { connect, handshake, parseProxy, SocksError } from '@socksify/core';
import type { Bound, Destination, SocksProxy } from '@socksify/core';
import fc from 'fast-check';
import { cuts, mutate, mutationsWith, piecesOf, unhex } from './bytes.ts';
import {
  credentials,
  endsInNumber,
  given,
  goodPort,
  host,
  literal,
  name,
  port,
  proxyOf,
  wellFormed,
} from './input.ts';
import { count, defineProperty } from './property.ts';
import type { Property } from './property.ts';
import { decode, verdictOn } from './independent-socks.ts';
import type { Asked, Verdict } from './independent-socks.ts';

/** Every message that the client sends up to the reply, to a server that chooses a method and is content. */
function messages(proxy: SocksProxy, destination: Destination): Buffer[] {
  const steps = handshake(proxy, destination);
  const answers = proxy.version === 4 ? [] : proxy.credentials ? ['0502', '0100'] : ['0500'];
  const sent: Buffer[] = [];
  for (let step = steps.next(Buffer.alloc(0)); !step.done; ) {
    if ('write' in step.value) {
      sent.push(Buffer.from(step.value.write));
      step = steps.next(Buffer.alloc(0));
    } else {
      const answer = answers.shift();
      if (answer === undefined) break;
      step = steps.next(unhex(answer));
    }
  }
  return sent;
}

function assertSameMeaning(asked: Asked, proxy: SocksProxy, destination: Destination): void {
  const { username, password } = proxy.credentials ?? {};
  if (proxy.version === 5) {
    assert.deepEqual(asked.methods, proxy.credentials ? [2, 0] : [0]);
    assert.equal(asked.username, username);
    assert.equal(asked.password, proxy.credentials && (password ?? ''));
  } else {
    assert.equal(asked.username, username ?? '');
  }
  assert.equal(asked.port, destination.port);
  const bare = destination.host.replace(/^\[(.*)\]$/s, '$1');
  if (isIPv6(bare)) {
    assert.equal(asked.form, 'ipv6');
    assert.ok(isSameIPv6(asked.address, bare));
    return;
  }
  // The URL Standard makes an address of digits outside ASCII, such as those of full width, and of 127.1.
  // oxlint-disable-next-line no-control-regex -- "all ASCII"
  const ascii = /^[\u0000-\u007f]*$/.test(destination.host);
  const kept = ascii && !endsInNumber(destination.host);
  const meant = kept ? destination.host : domainToASCII(destination.host);
  assert.equal(asked.form, isIPv4(meant) ? 'ipv4' : 'name');
  assert.equal(isIPv4(meant) ? asked.address.join('.') : asked.address.toString('latin1'), meant);
  assert.match(meant, /^[\u0021-\u007e]+$/);
}

/** Compares by Node's address lists, which share no code with the encoder. */
function isSameIPv6(octets: Buffer, written: string): boolean {
  const list = new BlockList();
  const groups = Array.from({ length: 8 }, (_, i) => octets.readUInt16BE(2 * i).toString(16));
  list.addAddress(groups.join(':'), 'ipv6');
  return list.check(written, 'ipv6');
}

const asked = { refused: 0, sent: 0 };
const sentOrRefused = fc.property(
  fc.constantFrom<4 | 5>(4, 5),
  given(credentials),
  fc.record({ host, port }),
  (version, login, destination) => {
    const proxy = proxyOf(version, login);
    let sent: Buffer[];
    try {
      sent = messages(proxy, destination);
    } catch (error) {
      count(asked, 'refused');
      assert.ok(error instanceof SocksError);
      assert.equal(error.phase, 'input');
      // Thrown by the call itself, not by the first step.
      assert.throws(() => handshake(proxy, destination), SocksError);
      return;
    }
    count(asked, 'sent');
    assertSameMeaning(decode(sent), proxy, destination);
  },
);

const sent5 = fc.property(
  given(fc.record({ username: wellFormed, password: wellFormed })),
  fc.record({ host: fc.oneof(literal, name), port: goodPort }),
  (login, to) => {
    fc.pre(to.host.length <= 255);
    const proxy = proxyOf(5, login);
    assertSameMeaning(decode(messages(proxy, to)), proxy, to);
  },
);

const ipv4 = fc.ipV4().filter((address) => !address.startsWith('0.0.0.'));
const sent4 = fc.property(
  given(fc.record({ username: wellFormed.filter((value) => !value.includes('\0')) })),
  fc.record({ host: fc.oneof(ipv4, name), port: goodPort }),
  (login, to) => {
    fc.pre(to.host.length <= 255);
    const proxy = proxyOf(4, login);
    assertSameMeaning(decode(messages(proxy, to)), proxy, to);
  },
);

const sentOfUrl = fc.property(
  fc.record({ username: wellFormed, password: wellFormed }),
  literal,
  ({ username, password }, address) => {
    fc.pre(username !== '' && password !== '');
    const where = isIPv6(address) ? `[${address}]` : address;
    const url = `socks5://${encodeURIComponent(username)}:${encodeURIComponent(password)}@${where}:1`;
    const proxy = parseProxy(url);
    assert.equal(proxy.credentials?.username, username);
    assert.equal(proxy.credentials.password, password);
    const [sent, meant] = [proxy.host, address.replace(/^\[(.*)\]$/, '$1')].map(
      (at) => decode(messages(proxyOf(5), { host: at, port: 1 })).address,
    );
    assert.deepEqual(sent, meant);
  },
);

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

const METHODS = ['0500', '0502', '05ff', '0502 0100', '0502 0501', '0501'];
const REPLIES = [
  '0500 0001 7f000001 0050',
  '0500 0003 00 0050',
  '0500 0003 03 612e62 0050',
  `0500 0003 ff ${'6e'.repeat(255)} 0050`,
  '0500 0004 20010db8000000000000000000000001 01bb',
];
const REPLIES_4 = ['005a 0050 7f000001', '045a 0000 00000000'];
const NOES = ['0505 0001 00000000 0000', '0500 0009', '005b 0000 00000000'];
const OTHERS = ['485454502f312e31', '150301000202'];

interface Conversation {
  readonly proxy: SocksProxy;
  readonly offered: readonly number[];
  /** Those of a server that grants the request. */
  readonly granted: readonly (readonly string[])[];
}

const CONVERSATIONS: readonly Conversation[] = [
  { proxy: proxyOf(4), offered: [], granted: REPLIES_4.map((reply) => [reply]) },
  { proxy: proxyOf(5), offered: [0], granted: REPLIES.map((reply) => ['0500', reply]) },
  {
    proxy: proxyOf(5, { username: 'user', password: 'secret' }),
    offered: [2, 0],
    granted: REPLIES.flatMap((reply) => [
      ['0502', '0100', reply],
      ['0500', reply],
    ]),
  },
];

/** The same with another REP or CD, and everything behind it as if it had been granted. */
function answering(parts: Buffer[], rep: number | undefined): Buffer[] {
  if (rep !== undefined) parts.at(-1)?.writeUInt8(rep, 1);
  return parts;
}

const noise = fc.oneof(
  fc.constantFrom(...METHODS, ...REPLIES, ...REPLIES_4, ...NOES, ...OTHERS).map(unhex),
  fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
);
const talk = fc.constantFrom(...CONVERSATIONS).chain((conversation) =>
  fc.record({
    conversation: fc.constant(conversation),
    bytes: fc
      .tuple(
        fc.oneof(
          {
            weight: 4,
            arbitrary: fc
              .tuple(fc.constantFrom(...conversation.granted), given(fc.nat(255)))
              .map(([parts, rep]) => answering(parts.map(unhex), rep)),
          },
          { weight: 1, arbitrary: noise.map((bytes) => [bytes]) },
        ),
        fc.array(noise, { maxLength: 2 }),
        mutationsWith(noise),
      )
      .map(([beginning, behind, mutations]) => mutate([...beginning, ...behind], mutations)),
    at: cuts,
    other: cuts,
    eof: fc.boolean(),
  }),
);

const DESTINATION = { host: '127.0.0.1', port: 80 };

/** What becomes of a tunnel when a server says this. */
async function take(proxy: SocksProxy, pieces: Buffer[], eof: boolean, verdict: Verdict): Promise<unknown> {
  const size = pieces.reduce((sum, { length }) => sum + length, 0);
  const socket = new Talker(pieces, eof);
  const before = listeners(socket);
  const timeout = verdict === 'short' && !eof ? 3 : 10_000;
  try {
    const { bound } = await connect(proxy, DESTINATION, { socket, timeout });
    assert.equal(socket.taken, verdict);
    assert.deepEqual(listeners(socket), before);
    const rest = await remaining(socket, size - socket.taken);
    socket.destroy();
    return { bound, rest: rest.toString('hex') };
  } catch (error) {
    if (!(error instanceof SocksError)) throw error;
    assert.match(error.phase, /^(?:greeting|authentication|request)$/);
    assert.equal(socket.destroyed, true);
    // Two messages of two bytes at most in front of the reply, and the longest reply has 262.
    assert.ok(socket.taken <= 4 + 262);
    const { code, phase, reply } = error;
    return { code, phase, reply };
  }
}

const taken = { tunnel: 0, refused: 0, closed: 0, timeout: 0 };
const reads = fc.asyncProperty(talk, async ({ conversation, bytes, at, other, eof }) => {
  const { proxy, offered } = conversation;
  const verdict = verdictOn(bytes, offered);
  const outcome = await take(proxy, piecesOf(bytes, at), eof, verdict);
  const { code, rest } = outcome as { readonly code?: string; readonly rest?: string };
  if (typeof verdict === 'number') {
    count(taken, 'tunnel');
    assert.equal(rest, bytes.subarray(verdict).toString('hex'));
  } else if (verdict === 'refused') {
    count(taken, 'refused');
    assert.match(code ?? 'no code', /^ERR_SOCKS_(?!.*(?:CLOSED|TIMEOUT|INVALID))/);
  } else {
    count(taken, eof ? 'closed' : 'timeout');
    assert.equal(code, eof ? 'ERR_SOCKS_PROXY_CLOSED' : 'ERR_SOCKS_TIMEOUT');
    // How far it comes in its time limit depends on the machine.
    if (!eof) return;
  }
  assert.deepEqual(await take(proxy, piecesOf(bytes, other), eof, verdict), outcome);
});

function listeners(stream: Duplex): unknown[] {
  return stream.eventNames().map((event) => [event, stream.listenerCount(event)]);
}

async function remaining(socket: Duplex, size: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let received = 0;
  if (size === 0) return Buffer.alloc(0);
  for await (const chunk of socket) {
    chunks.push(chunk as Buffer);
    received += (chunk as Buffer).length;
    if (received >= size) break;
  }
  return Buffer.concat(chunks);
}

const stepped = { tunnel: 0, refused: 0, short: 0 };
const steps = fc.property(talk, ({ conversation, bytes }) => {
  const { proxy, offered } = conversation;
  const verdict = verdictOn(bytes, offered);
  const exchange = handshake(proxy, DESTINATION);
  let at = 0;
  let bound: Bound | undefined;
  let input: Uint8Array = Buffer.alloc(0);
  try {
    for (;;) {
      const step = exchange.next(input);
      if (step.done) {
        bound = step.value;
        break;
      }
      input = Buffer.alloc(0);
      if (!('read' in step.value)) continue;
      // The longest part of a message is a name of 255 bytes and the port behind it.
      assert.ok(step.value.read > 0 && step.value.read <= 255 + 2);
      if (at + step.value.read > bytes.length) break;
      input = bytes.subarray(at, (at += step.value.read));
    }
  } catch (error) {
    assert.ok(error instanceof SocksError);
    assert.equal(verdict, 'refused');
    count(stepped, 'refused');
    return;
  }
  assert.equal(bound ? at : 'short', verdict);
  count(stepped, bound ? 'tunnel' : 'short');
});

export const CLIENT: readonly Property[] = [
  defineProperty('a request is sent as it was given, or refused before a byte', sentOrRefused, asked),
  defineProperty('every SOCKS5 input within the limits is sent', sent5),
  defineProperty('every SOCKS4A input within the limits is sent', sent4),
  defineProperty('what a URL holds percent-encoded is sent', sentOfUrl),
  defineProperty(
    'any bytes of a server, in any pieces, end in a tunnel, an error of ours, or the time limit',
    reads,
    taken,
  ),
  defineProperty('handshake() reads what it needs and no more', steps, stepped),
];
