// What a bridge makes of whatever a client sends, whole and in pieces: over real sockets, before a route that refuses.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { SocksError } from '@socksify/core';
import fc from 'fast-check';
import { startBridge } from 'socksify';
import type { Bridge } from 'socksify';
import { cuts, mutate, mutationsWith, piecesOf, unhex } from './bytes.ts';
import { encode4, encode5 } from './encode.ts';
import type { Destination } from './encode.ts';
import { count, defineProperty } from './property.ts';
import type { Property } from './property.ts';

interface Outcome {
  /** What the client got, up to the end of the connection. */
  readonly answer: string;
  /** The destinations for which the selector was called. */
  readonly asked: readonly string[];
}

/** Starts a bridge for these bytes alone. Its close() resolves only when nothing is open any more. */
async function outcomeOf(pieces: readonly Buffer[], user: string | undefined): Promise<Outcome> {
  const asked: string[] = [];
  const bridge: Bridge = await startBridge({
    proxy: ({ host, port }) => {
      asked.push(`${host} ${port}`);
      throw new SocksError('ERR_SOCKS_NOT_ALLOWED', { phase: 'request' });
    },
    listen: '127.0.0.1:0',
    user,
  });
  const answers: Buffer[] = [];
  const socket = connect({ port: bridge.port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  const closed = new Promise<void>((resolve) => socket.on('error', () => {}).once('close', () => resolve()));
  socket.on('data', (chunk: Buffer) => answers.push(chunk)).once('end', () => socket.end());
  await once(socket, 'connect');
  for (const piece of pieces) {
    socket.write(piece);
    await new Promise(setImmediate);
  }
  socket.end();
  await closed;
  await bridge.close();
  const answer = Buffer.concat(answers)
    .toString('latin1')
    .replaceAll(/^Date: .*\r\n/gm, '');
  return { answer, asked: asked.toSorted() };
}

const name = fc
  .constantFrom('origin.test', '127.0.0.1', 'a', '::1', 'x\0y')
  .map((text) => Buffer.from(text, 'latin1'));
const port = fc.constantFrom(0, 1, 80, 65535);
const destination: fc.Arbitrary<Destination> = fc.oneof(
  fc.record({ form: fc.constant('name' as const), octets: name, port }),
  fc.record({ form: fc.constant('ipv4' as const), octets: fc.constant(unhex('7f000001')), port }),
);
const login = { username: Buffer.from('bob'), password: Buffer.from('secret') };
const HEAD = 'Host: x\r\n';
const requests = fc
  .tuple(
    fc.constantFrom('GET', 'POST', 'CONNECT', 'PRI', 'OPTIONS'),
    fc.constantFrom('http://origin.test/', 'origin.test:443', 'http:///x', '/', '*', 'http://[::1]:8080/a?b'),
    fc.constantFrom('HTTP/1.1', 'HTTP/1.0', 'HTTP/2.0', 'HTTP/0.9'),
    fc.constantFrom(
      '',
      'Content-Length: 3\r\n',
      'Transfer-Encoding: chunked\r\n',
      'Content-Length: 3\r\nTransfer-Encoding: chunked\r\n',
      'Content-Length: 3\r\nContent-Length: 4\r\n',
      'Proxy-Authorization: Basic Ym9iOnNlY3JldA==\r\n',
    ),
    fc.constantFrom('', 'abc', '3\r\nabc\r\n0\r\n\r\n'),
  )
  .map(([method, path, version, fields, body]) => [
    Buffer.from(`${method} ${path} ${version}\r\n`),
    Buffer.from(`${HEAD}${fields}\r\n`),
    Buffer.from(body),
  ]);
const client: fc.Arbitrary<Buffer[]> = fc.oneof(
  destination.map((to) => encode4(to, Buffer.from('bob'), 1)),
  destination.map((to) => encode5(to, [0])),
  destination.map((to) => encode5(to, [2, 0], login)),
  requests,
);
const noise = fc.oneof(
  fc.constantFrom('05 01 00', '04 01 0050 7f000001 00', '474554202f', '0d0a0d0a', '00').map(unhex),
  fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
);

const heard = { asked: 0, answered: 0, silent: 0 };
const endures = fc.asyncProperty(
  client,
  mutationsWith(noise),
  cuts,
  fc.constantFrom(undefined, 'bob:secret'),
  async (messages, mutations, at, user) => {
    const bytes = mutate(messages, mutations);
    const whole = await outcomeOf([bytes], user);
    const pieces = await outcomeOf(piecesOf(bytes, at), user);
    count(heard, whole.asked.length > 0 ? 'asked' : whole.answer === '' ? 'silent' : 'answered');
    const socks = bytes[0] === 4 || bytes[0] === 5;
    assert.deepEqual(pieces.asked, whole.asked);
    // Behind a request of HTTP, junk breaks the connection, whether or not the answer has been sent by then.
    if (socks || (pieces.answer !== '' && whole.answer !== '')) {
      const [first, second] = [whole, pieces].map(({ answer }) => (socks ? answer : answer.split('\r\n')[0]));
      assert.equal(second, first);
    }
    if (socks) assert.match(Buffer.from(whole.answer, 'latin1').toString('hex'), SOCKS_ANSWER);
    else assert.match(whole.answer, /^(?:HTTP\/1\.1 (?:400|407|501|502|505) |$)/);
  },
);
/** In hex: nothing, or a refusal of either version behind the answers of the negotiation. */
const SOCKS_ANSWER = /^(?:|005b0{12}|05ff|(?:0500|0502(?:0100)?)?(?:0101|050[1-8]00010{12})?)$/;

export const BRIDGE: readonly Property[] = [
  defineProperty(
    'any bytes of a client of a bridge have the same answer in any pieces',
    endures,
    heard,
    1200,
  ),
];
