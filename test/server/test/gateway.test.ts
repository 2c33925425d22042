// RFC 3089: the proxy joins IPv4 and IPv6. A client that has one of them can connect, by name, to a host of the other.

import { dialRaw, portHex, startEcho } from '@socksify/support';
import type { TcpDestination } from '@socksify/support';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startServer } from '../src/index.ts';
import type { SocksServer } from '../src/index.ts';

const V4 = '127.0.0.1';
const V6 = '::1';
const NAME = '03 06 612e74657374';
const V6_HEX = '00000000000000000000000000000001';

let four: TcpDestination;
let six: TcpDestination;
let server: SocksServer;

beforeAll(async () => {
  [four, six] = [await startEcho('127.0.0.1'), await startEcho(V6)];
});
afterAll(async () => {
  await Promise.all([four.close(), six.close()]);
});
afterEach(() => server.close());

async function connectTo(
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
    ['takes an IPv4 client to an IPv6 destination', V4],
    ['takes an IPv6 client to an IPv6 destination', V6],
  ])('%s, and answers with an IPv6 address', async (_, host) => {
    const answer = await connectTo(host, [V6], `05 01 00 05 01 00 ${NAME} ${six.hex}`, 24);
    expect(answer).toBe(`050005000004${V6_HEX}${outgoing()}`);
  });

  test.each([
    ['takes an IPv6 client to an IPv4 destination', V6],
    ['takes an IPv4 client to an IPv4 destination', V4],
  ])('%s, and answers with an IPv4 address', async (_, host) => {
    const answer = await connectTo(host, [V4], `05 01 00 05 01 00 ${NAME} ${four.hex}`, 12);
    expect(answer).toBe(`0500050000017f000001${outgoing()}`);
  });

  test('takes an IPv6 client to an IPv4 address', async () => {
    const answer = await connectTo(V6, [], `05 01 00 05 01 00 01 7f000001 ${four.hex}`, 12);
    expect(answer).toBe(`0500050000017f000001${outgoing()}`);
  });

  test('takes an IPv4 client to an IPv6 address', async () => {
    const answer = await connectTo(V4, [], `05 01 00 05 01 00 04 ${V6_HEX} ${six.hex}`, 24);
    expect(answer).toBe(`050005000004${V6_HEX}${outgoing()}`);
  });
});

describe('SOCKS4A', () => {
  test.each([V4, V6])('takes a client at %s to an IPv6 destination, and answers with zeros', async (host) => {
    const answer = await connectTo(host, [V6], `04 01 ${six.hex} 00000001 00 612e74657374 00`, 8);
    expect(answer).toBe(`005a${outgoing()}00000000`);
  });

  test('takes an IPv6 client to an IPv4 destination', async () => {
    const answer = await connectTo(V6, [V4], `04 01 ${four.hex} 00000001 00 612e74657374 00`, 8);
    expect(answer).toBe(`005a${outgoing()}7f000001`);
  });
});

describe('a name of both families', () => {
  test('is tried at IPv6 first when that comes first', async () => {
    const answer = await connectTo(V4, [V6, V4], `05 01 00 05 01 00 ${NAME} ${four.hex}`, 12);
    expect(answer).toBe(`0500050000017f000001${outgoing()}`);
  });

  test('is tried at IPv4 first when that comes first', async () => {
    const answer = await connectTo(V6, [V4, V6], `05 01 00 05 01 00 ${NAME} ${six.hex}`, 24);
    expect(answer).toBe(`050005000004${V6_HEX}${outgoing()}`);
  });

  test('fails with the failure of its last address', async () => {
    server = await startServer({ names: { 'a.test': [V6, V4] } });
    const client = await dialRaw(server.port);
    client.send(`05 01 00 05 01 00 ${NAME} 0001`);
    expect(await client.rest()).toBe('050005050001000000000000');
    client.stream.destroy();
  });
});
