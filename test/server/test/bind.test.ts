// Rule 26: BIND. Client and peer send typed bytes.

import { once } from 'node:events';
import { networkInterfaces } from 'node:os';
import { dialRaw, portHex } from '@socksify/support';
import type { RawClient } from '@socksify/support';
import { afterEach, describe, expect, test } from 'vitest';
import { printEntry, startServer } from '../src/index.ts';
import type { ServerOptions, SocksServer } from '../src/index.ts';

let server: SocksServer;
const open: RawClient[] = [];

afterEach(async () => {
  for (const { stream } of open.splice(0)) stream.destroy();
  await server.close();
});

async function dialTo(
  port: number,
  from: string = '127.0.0.1',
  host: string = '127.0.0.1',
): Promise<RawClient> {
  const client = await dialRaw({ port, host, localAddress: from });
  open.push(client);
  return client;
}

interface Waiting {
  readonly client: RawClient;
  readonly first: string;
  /** Where the server says that it listens. */
  readonly port: number;
}

async function bind(request: string, options: ServerOptions = {}): Promise<Waiting> {
  server = await startServer({ names: { 'peer.test': ['::1', '127.0.0.1'] }, ...options });
  const ipv6 = options.host === '::1';
  const client = ipv6 ? await dialTo(server.port, '::1', '::1') : await dialTo(server.port);
  client.send(request);
  const socks5 = request.startsWith('05');
  const first = await client.receive(socks5 ? 2 + (ipv6 ? 22 : 10) : 8);
  const port = Number.parseInt(socks5 ? first.slice(-4) : first.slice(4, 8), 16);
  return { client, first, port };
}

describe('rule 26: BIND has two replies', () => {
  test.each([
    ['SOCKS4', '04 02 0014 7f000001 00'],
    ['SOCKS4 for anybody', '04 02 0014 00000000 00'],
    ['SOCKS4A', '04 02 0014 00000001 00 706565722e74657374 00'],
  ])('over %s', async (_, request) => {
    const { client, first, port } = await bind(request);
    expect(first).toBe(`005a${portHex(port)}7f000001`);
    const peer = await dialTo(port);
    expect(await client.receive(8)).toBe(`005a${portHex(peer.stream.localPort ?? 0)}7f000001`);
  });

  test.each([
    ['SOCKS5', '05 01 00 05 02 00 01 7f000001 0014'],
    ['SOCKS5 for anybody', '05 01 00 05 02 00 01 00000000 0000'],
    ['SOCKS5 for anybody, in IPv6', '05 01 00 05 02 00 04 00000000000000000000000000000000 0000'],
    ['SOCKS5 by name', '05 01 00 05 02 00 03 09 706565722e74657374 0014'],
    ['SOCKS5 by an IPv4-mapped address', '05 01 00 05 02 00 04 00000000000000000000ffff7f000001 0014'],
  ])('over %s', async (_, request) => {
    const { client, first, port } = await bind(request);
    expect(first).toBe(`0500050000017f000001${portHex(port)}`);
    const peer = await dialTo(port);
    expect(await client.receive(10)).toBe(`050000017f000001${portHex(peer.stream.localPort ?? 0)}`);
  });

  test('over SOCKS5 from an IPv6 client', async () => {
    const request = '05 01 00 05 02 00 04 00000000000000000000000000000001 0014';
    const { client, first, port } = await bind(request, { host: '::1' });
    const address = '00000000000000000000000000000001';
    expect(first).toBe(`050005000004${address}${portHex(port)}`);
    const peer = await dialTo(port, '::1', '::1');
    expect(await client.receive(22)).toBe(`05000004${address}${portHex(peer.stream.localPort ?? 0)}`);
  });

  test('over SOCKS4 from an IPv6 client, with zeros as the address, which mean the proxy', async () => {
    const { client, first, port } = await bind('04 02 0014 00000000 00', { host: '::1' });
    expect(first).toBe(`005a${portHex(port)}00000000`);
    const peer = await dialTo(port, '::1', '::1');
    expect(await client.receive(8)).toBe(`005a${portHex(peer.stream.localPort ?? 0)}00000000`);
  });
});

test('rule 26: BIND listens at the address that the client is connected to, and at no other', async () => {
  server = await startServer({ host: '0.0.0.0' });
  const client = await dialTo(server.port, '127.0.0.1', '127.0.0.5');
  client.send('05 01 00 05 02 00 01 00000000 0000');
  const first = await client.receive(12);
  expect(first).toMatch(/^0500050000017f000005[0-9a-f]{4}$/);
  const port = Number.parseInt(first.slice(-4), 16);
  await expect(dialTo(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  await dialTo(port, '127.0.0.1', '127.0.0.5');
  expect(await client.receive(10)).toMatch(/^050000017f000001/);
});

test('rule 26: BIND on a server for both families gives an IPv4 client an IPv4 address', async () => {
  expect(networkInterfaces()['lo']?.some(({ family }) => family === 'IPv6')).toBe(true);
  server = await startServer({ host: '::' });
  const client = await dialTo(server.port);
  client.send('04 02 0014 7f000001 00');
  const first = await client.receive(8);
  expect(first).toMatch(/^005a[0-9a-f]{4}7f000001$/);
  const peer = await dialTo(Number.parseInt(first.slice(4, 8), 16));
  expect(await client.receive(8)).toBe(`005a${portHex(peer.stream.localPort ?? 0)}7f000001`);
});

describe('the tunnel of a BIND', () => {
  test('carries data in both directions, early data too, and is counted', async () => {
    const { client, port } = await bind('05 01 00 05 02 00 01 7f000001 0014');
    client.send('6869');
    const peer = await dialTo(port);
    peer.send('686f6c61');
    expect(await client.receive(14)).toMatch(/^050000017f000001[0-9a-f]{4}686f6c61$/);
    expect(await peer.receive(2)).toBe('6869');
    client.stream.end();
    expect(await peer.rest()).toBe('');
    peer.send('61');
    peer.stream.end();
    expect(await client.rest()).toBe('61');
    await server.idle();
    expect(server.log).toMatchObject([
      { command: 'bind', bytesUp: 2, bytesDown: 5, outgoingPort: port, reply: 0, closed: true },
    ]);
    expect(server.log.map(printEntry)).toEqual(['SOCKS5 BIND ipv4 127.0.0.1:20 -> 00']);
  });

  test('is for one peer', async () => {
    const { client, port } = await bind('04 02 0014 7f000001 00');
    await dialTo(port);
    await client.receive(8);
    await expect(dialTo(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});

describe('rule 26: the second reply is a failure', () => {
  test.each([
    ['04 02 0014 7f000002 00', 8, '005b000000000000'],
    ['05 01 00 05 02 00 01 7f000002 0014', 10, '05020001000000000000'],
  ])('when another peer connects: %s', async (request, _, answer) => {
    const { client, port } = await bind(request);
    const peer = await dialTo(port);
    expect(await client.rest()).toBe(answer);
    await peer.rest().catch(() => {});
    await expect(dialTo(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  test.each([
    ['04 02 0014 7f000001 00', '005b000000000000'],
    ['05 01 00 05 02 00 01 7f000001 0014', '05060001000000000000'],
  ])('when nobody connects in time: %s', async (request, answer) => {
    const { client, port } = await bind(request, { bindTimeout: 40 });
    expect(await client.rest()).toBe(answer);
    await expect(dialTo(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });

  test('when the rules forbid the peer that connected', async () => {
    const rules = [{ deny: { cidr: '127.0.0.2' } }];
    const { client, port } = await bind('05 01 00 05 02 00 01 00000000 0000', { rules });
    await dialTo(port, '127.0.0.2');
    expect(await client.rest()).toBe('05020001000000000000');
  });
});

describe('a BIND', () => {
  test.each([
    ['for a peer that the rules forbid', { rules: [{ deny: { cidr: '127.0.0.0/8' } }] }],
    ['where the hook refuses', { allow: () => false }],
  ])('does not listen %s', async (_, options: ServerOptions) => {
    const { first } = await bind('04 02 0014 7f000001 00', options);
    expect(first).toBe('005b000000000000');
    await server.idle();
  });

  test('does not listen for a name that is not known', async () => {
    const { first } = await bind('05 01 00 05 02 00 03 03 612e62 0014');
    expect(first).toBe('050005040001000000000000');
  });

  test.each<[string, (client: RawClient) => unknown]>([
    ['is reset', ({ stream }) => stream.resetAndDestroy()],
    ['is closed', ({ stream }) => stream.destroy()],
    ['has ended its side without a word for the peer', ({ stream }) => stream.end()],
  ])('stops listening once the client %s', async (_, leave) => {
    const { client, port } = await bind('04 02 0014 7f000001 00');
    leave(client);
    if (!client.stream.destroyed) client.stream.once('end', () => client.stream.destroy());
    await server.idle();
    await expect(dialTo(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    expect(server.log).toMatchObject([{ closed: true }]);
  });

  test('stops listening once the server is closed', async () => {
    const { port } = await bind('04 02 0014 7f000001 00');
    await server.close();
    await expect(dialTo(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
  });
});

test('rule 8: the server waits for a client that has ended its side', async () => {
  const { client, port } = await bind('04 02 0014 7f000001 00 6869');
  client.stream.end();
  await once(client.stream, 'finish');
  const peer = await dialTo(port);
  expect(await peer.rest()).toBe('6869');
  peer.send('61');
  peer.stream.end();
  expect(await client.rest()).toMatch(/^005a[0-9a-f]{4}7f00000161$/);
});
