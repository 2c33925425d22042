// RFC 3089: the proxy is where IPv4 and IPv6 meet. Who has one of them reaches, by name, who has the other.

import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startServer } from '../src/index.ts';
import type { SocksServer } from '../src/index.ts';
import { dialRaw, portHex, startOrigin } from './peers.ts';
import type { Origin } from './peers.ts';

const V4 = '127.0.0.1';
const V6 = '::1';
const NAME = '03 06 612e74657374';
const V6_HEX = '00000000000000000000000000000001';

let four: Origin;
let six: Origin;
let server: SocksServer;

beforeAll(async () => {
  [four, six] = [
    await startOrigin((socket) => socket.pipe(socket)),
    await startOrigin((socket) => socket.pipe(socket), V6),
  ];
});
afterAll(async () => {
  for (const { server: origin } of [four, six]) {
    origin.close();
    await once(origin, 'close');
  }
});
afterEach(() => server.close());

async function reach(
  host: string,
  addresses: readonly string[],
  request: string,
  length: number,
): Promise<string> {
  server = await startServer({ host, names: { 'a.test': addresses } });
  const client = await dialRaw({ host, port: server.port });
  client.send(request);
  const answer = await client.receive(length);
  client.send('68656c6c6f');
  expect(await client.receive(5)).toBe('68656c6c6f');
  client.stream.destroy();
  return answer;
}

const outgoing = (): string => portHex(server.log[0]?.outgoingPort ?? 0);

describe('SOCKS5', () => {
  test.each([
    ['an IPv4 client reaches an IPv6 origin', V4],
    ['an IPv6 client reaches an IPv6 origin', V6],
  ])('%s, and is told an IPv6 address', async (_, host) => {
    const answer = await reach(host, [V6], `05 01 00 05 01 00 ${NAME} ${six.hex}`, 24);
    expect(answer).toBe(`050005000004${V6_HEX}${outgoing()}`);
  });

  test.each([
    ['an IPv6 client reaches an IPv4 origin', V6],
    ['an IPv4 client reaches an IPv4 origin', V4],
  ])('%s, and is told an IPv4 address', async (_, host) => {
    const answer = await reach(host, [V4], `05 01 00 05 01 00 ${NAME} ${four.hex}`, 12);
    expect(answer).toBe(`0500050000017f000001${outgoing()}`);
  });

  test('an IPv6 client reaches an IPv4 address', async () => {
    const answer = await reach(V6, [], `05 01 00 05 01 00 01 7f000001 ${four.hex}`, 12);
    expect(answer).toBe(`0500050000017f000001${outgoing()}`);
  });

  test('an IPv4 client reaches an IPv6 address', async () => {
    const answer = await reach(V4, [], `05 01 00 05 01 00 04 ${V6_HEX} ${six.hex}`, 24);
    expect(answer).toBe(`050005000004${V6_HEX}${outgoing()}`);
  });
});

describe('SOCKS4A', () => {
  test.each([V4, V6])('reaches an IPv6 origin from %s, and is told zeros', async (host) => {
    const answer = await reach(host, [V6], `04 01 ${six.hex} 00000001 00 612e74657374 00`, 8);
    expect(answer).toBe(`005a${outgoing()}00000000`);
  });

  test('reaches an IPv4 origin from an IPv6 client', async () => {
    const answer = await reach(V6, [V4], `04 01 ${four.hex} 00000001 00 612e74657374 00`, 8);
    expect(answer).toBe(`005a${outgoing()}7f000001`);
  });
});

describe('a name of both families is tried in turn', () => {
  test('IPv6 first', async () => {
    const answer = await reach(V4, [V6, V4], `05 01 00 05 01 00 ${NAME} ${four.hex}`, 12);
    expect(answer).toBe(`0500050000017f000001${outgoing()}`);
  });

  test('IPv4 first', async () => {
    const answer = await reach(V6, [V4, V6], `05 01 00 05 01 00 ${NAME} ${six.hex}`, 24);
    expect(answer).toBe(`050005000004${V6_HEX}${outgoing()}`);
  });

  test('and fails as its last address did', async () => {
    server = await startServer({ names: { 'a.test': [V6, V4] } });
    const client = await dialRaw(server.port);
    client.send(`05 01 00 05 01 00 ${NAME} 0001`);
    expect(await client.rest()).toBe('050005050001000000000000');
    client.stream.destroy();
  });
});
