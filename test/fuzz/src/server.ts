// What the reference server makes of whatever a client sends, held against an encoder of our own.

import assert from 'node:assert/strict';
import { BlockList } from 'node:net';
import { PassThrough } from 'node:stream';
import { converse, Incomplete, negotiate, Refusal } from '@socksify/server';
import type { Policy, SocksRequest } from '@socksify/server';
import fc from 'fast-check';
import { cuts, mutate, mutationsWith, piecesOf, unhex } from './bytes.ts';
import { encode4, encode5 } from './encode.ts';
import type { Destination } from './encode.ts';
import { count, defineProperty } from './property.ts';
import type { Property } from './property.ts';

type Outcome =
  | { readonly kind: 'request'; readonly request: SocksRequest; readonly consumed: number }
  | { readonly kind: 'refusal'; readonly reason: string; readonly answer: string; readonly consumed: number }
  | { readonly kind: 'short'; readonly consumed: number };

/** Feeds the negotiation these bytes, in the pieces that it reads. */
function feed(policy: Policy, bytes: Buffer): Outcome {
  const steps = negotiate(policy);
  let consumed = 0;
  let input: Uint8Array = Buffer.alloc(0);
  try {
    for (;;) {
      const step = steps.next(input);
      if (step.done) return { kind: 'request', request: step.value, consumed };
      input = Buffer.alloc(0);
      if ('write' in step.value) continue;
      const { read } = step.value;
      assert.ok(Number.isInteger(read) && read >= 1 && read <= 255 + 2, `reads ${read} bytes`);
      if (consumed + read > bytes.length) return { kind: 'short', consumed };
      input = bytes.subarray(consumed, (consumed += read));
    }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { kind: 'refusal', reason: error.message, answer: hex(error.answer), consumed };
  }
}

/** The same over a stream on which they arrive in pieces. What is left in it shows how much was consumed. */
async function stream(policy: Policy, bytes: Buffer, at: readonly number[]): Promise<Outcome> {
  const written = new PassThrough();
  written.on('error', () => undefined);
  const pieces = piecesOf(bytes, at);
  const feeding = (async () => {
    for (const piece of pieces) {
      written.push(piece);
      await new Promise(setImmediate);
    }
    written.push(null);
  })();
  // What the server writes is not what the client sent.
  written.write = () => true;
  const outcome = await converse(written, negotiate(policy)).then(
    (request) => ({ kind: 'request', request }) as const,
    (error: unknown) => {
      if (error instanceof Incomplete) return { kind: 'short' } as const;
      if (!(error instanceof Refusal)) throw error;
      return { kind: 'refusal', reason: error.message, answer: hex(error.answer) } as const;
    },
  );
  await feeding;
  if (outcome.kind === 'short') return { ...outcome, consumed: 0 };
  const rest: Buffer[] = [];
  for (let chunk; (chunk = written.read() as Buffer | null); ) rest.push(chunk);
  const left = Buffer.concat(rest);
  assert.equal(hex(left), hex(bytes.subarray(bytes.length - left.length)));
  return { ...outcome, consumed: bytes.length - left.length };
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

const octets = (min: number, max: number) =>
  fc.uint8Array({ minLength: min, maxLength: max }).map((bytes) => Buffer.from(bytes));
const short = fc.oneof({ weight: 3, arbitrary: octets(0, 12) }, octets(250, 255));
const withoutNul = (bytes: Buffer) => !bytes.includes(0);
const port = fc.nat(0xffff);
const nameDestination: fc.Arbitrary<Destination> = fc.record({
  form: fc.constant('name' as const),
  octets: short.filter((bytes) => bytes.length > 0 && withoutNul(bytes)),
  port,
});
const ipv4Destination: fc.Arbitrary<Destination> = fc.record({
  form: fc.constant('ipv4' as const),
  // 0.0.0.x would mean a name to SOCKS4.
  octets: octets(4, 4).filter((bytes) => bytes.readUInt32BE() === 0 || bytes.readUInt32BE() > 255),
  port,
});
const ipv6Destination: fc.Arbitrary<Destination> = fc.record({
  form: fc.constant('ipv6' as const),
  octets: octets(16, 16),
  port,
});

interface Client {
  readonly messages: Buffer[];
  readonly destination: Destination;
  readonly version: 4 | 5;
  readonly methods: readonly number[];
  readonly user: Buffer | undefined;
  readonly password: Buffer | undefined;
}

const client4: fc.Arbitrary<Client> = fc
  .tuple(
    fc.oneof(nameDestination, ipv4Destination),
    short.filter(withoutNul),
    fc.integer({ min: 1, max: 255 }),
  )
  .map(([destination, user, mark]) => ({
    messages: encode4(destination, user, mark),
    destination,
    version: 4,
    methods: [],
    user,
    password: undefined,
  }));
const destination5 = fc.oneof(nameDestination, ipv4Destination, ipv6Destination);
const client5: fc.Arbitrary<Client> = fc.oneof(
  destination5.map((destination) => ({
    messages: encode5(destination, [0]),
    destination,
    version: 5 as const,
    methods: [0],
    user: undefined,
    password: undefined,
  })),
  fc
    .tuple(destination5, fc.constantFrom([2], [2, 0], [0, 2], [0x80, 2, 1]), short, short)
    .map(([destination, methods, username, password]) => ({
      messages: encode5(destination, methods, { username, password }),
      destination,
      version: 5 as const,
      methods,
      user: username,
      password,
    })),
);
const client = fc.oneof(client4, client5);

/** Policies by what they make of a client; the credentials in them are the client's own, or another's. */
function policyFor({ user, password }: Client, kind: string): Policy {
  const [name, secret] = [user?.toString('utf8') ?? '', password?.toString('utf8') ?? ''];
  if (kind === 'own') return { users: Object.fromEntries([[name, secret]]), userIds: [name] };
  if (kind === 'other') return { users: Object.fromEntries([[`${name}x`, secret]]), userIds: [`${name}x`] };
  if (kind === 'any') return { users: 'any' };
  return kind === 'both' ? { users: Object.fromEntries([[name, secret]]), allowAnonymous: true } : {};
}

const understood = { request: 0, refusal: 0 };
const understands = fc.property(
  client,
  fc.constantFrom('own', 'other', 'any', 'both', 'none'),
  octets(0, 40),
  (who, kind, behind) => {
    const policy = policyFor(who, kind);
    const { messages, destination, version, methods, user } = who;
    const outcome = feed(policy, Buffer.concat([...messages, behind]));
    const method = policy.users && methods.includes(2) ? 2 : 0;
    if (!isServed(who, policy)) {
      count(understood, 'refusal');
      assert.equal(outcome.kind, 'refusal');
      return;
    }
    // Where 00 is chosen though credentials are ready, the client would leave them out.
    if (version === 5 && method === 0 && user !== undefined) return;
    count(understood, 'request');
    assert.ok(outcome.kind === 'request');
    const { request, consumed } = outcome;
    assert.equal(consumed, Buffer.concat(messages).length);
    assert.equal(request.command, 'connect');
    assert.equal(request.version, version);
    assert.equal(request.form, version === 5 ? '5' : destination.form === 'name' ? '4a' : '4');
    assert.equal(request.atyp, destination.form);
    assert.equal(request.port, destination.port);
    assert.ok(isSameHost(request.host, destination), request.host);
    assert.equal(request.user, version === 4 || method === 2 ? user?.toString('utf8') : undefined);
    assert.equal(request.method, version === 5 ? method : undefined);
  },
);

/** Bytes that are not UTF-8 match no name and no password: decoding and encoding them gives other bytes. */
function isServed({ version, methods, user, password }: Client, policy: Policy): boolean {
  const { users, userIds, allowAnonymous } = policy;
  if (version === 4) {
    if (userIds) return userIds.includes(user?.toString('utf8') ?? '');
    return users === undefined || users === 'any' || allowAnonymous === true;
  }
  if (users && methods.includes(2)) {
    if (users === 'any') return true;
    return Object.entries(users).some(
      ([name, secret]) =>
        Buffer.from(name).equals(user ?? Buffer.alloc(0)) &&
        Buffer.from(secret).equals(password ?? Buffer.alloc(0)),
    );
  }
  return (users === undefined || allowAnonymous === true) && methods.includes(0);
}

function isSameHost(host: string, { form, octets: bytes }: Destination): boolean {
  if (form === 'name') return Buffer.from(host, 'latin1').equals(bytes);
  if (form === 'ipv4') return host === [...bytes].join('.');
  const list = new BlockList();
  const groups = Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16));
  list.addAddress(groups.join(':'), 'ipv6');
  return list.check(host, 'ipv6');
}

const noise = fc.oneof(
  fc
    .constantFrom(
      '05 01 00',
      '05 02 00 02',
      '05 00',
      '01 01 61 01 62',
      '05 01 00 03 01 61 0050',
      '04 01 0050',
    )
    .map(unhex),
  fc
    .constantFrom('05 02 00 01 00000000 0000', '05 03 00 01 00000000 0000', '05 09 00 04', '474554')
    .map(unhex),
  octets(0, 300),
);
const heard = { request: 0, refusal: 0, short: 0 };
const endures = fc.asyncProperty(
  client,
  fc.constantFrom('own', 'any', 'both', 'none'),
  mutationsWith(noise),
  fc.array(noise, { maxLength: 2 }),
  cuts,
  async (who, kind, mutations, behind, at) => {
    const policy = policyFor(who, kind);
    const bytes = mutate([...who.messages, ...behind], mutations);
    const outcome = feed(policy, bytes);
    count(heard, outcome.kind);
    // SOCKS5 with 255 methods and everything else as long as it can be is longer than any SOCKS4 request.
    assert.ok(outcome.consumed <= 2 + 255 + 3 + 255 + 255 + 4 + 1 + 255 + 2);
    if (outcome.kind === 'refusal') assert.match(outcome.answer, /^(?:|05ff|01[0-9a-f]{2}|05.{18}|00.{14})$/);
    const again = await stream(policy, bytes, at);
    if (outcome.kind === 'short') assert.equal(again.kind, 'short');
    else assert.deepEqual(again, outcome);
  },
);

export const SERVER: readonly Property[] = [
  defineProperty('the server reads what an encoder of our own wrote', understands, understood),
  defineProperty('any bytes of a client, in any pieces, end in a request or a refusal', endures, heard),
];
