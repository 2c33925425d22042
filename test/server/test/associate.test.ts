// Rules 27 and 28: UDP ASSOCIATE. Client and destination are sockets that send typed datagrams.

import { createSocket } from 'node:dgram';
import type { RemoteInfo, Socket } from 'node:dgram';
import { once } from 'node:events';
import { dialRaw, portHex } from '@socksify/support';
import type { RawClient } from '@socksify/support';
import { afterEach, describe, expect, test } from 'vitest';
import { printEntry, startServer } from '../src/index.ts';
import type { Entry, ServerOptions, SocksServer } from '../src/index.ts';

let server: SocksServer;
const clients: RawClient[] = [];
const sockets: Socket[] = [];

afterEach(async () => {
  for (const { stream } of clients.splice(0)) stream.destroy();
  for (const socket of sockets.splice(0)) socket.close();
  await server.close();
});

/** A socket that keeps what it receives, in hex. */
class Peer {
  readonly socket: Socket;
  readonly #received: { readonly hex: string; readonly source: RemoteInfo }[] = [];

  constructor(socket: Socket) {
    this.socket = socket;
    sockets.push(socket);
    socket.on('message', (bytes, source) => {
      this.#received.push({ hex: bytes.toString('hex'), source });
      socket.emit('more');
    });
  }

  get port(): number {
    return this.socket.address().port;
  }

  get hex(): string {
    return portHex(this.port);
  }

  send(hex: string, port: number, host: string = '127.0.0.1'): void {
    this.socket.send(Buffer.from(hex.replaceAll(' ', ''), 'hex'), port, host);
  }

  async receive(): Promise<{ readonly hex: string; readonly source: RemoteInfo }> {
    for (;;) {
      const first = this.#received.shift();
      if (first) return first;
      await once(this.socket, 'more');
    }
  }
}

async function udp(host: string = '127.0.0.1'): Promise<Peer> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  socket.bind(0, host);
  await once(socket, 'listening');
  return new Peer(socket);
}

interface Associated {
  readonly tcp: RawClient;
  readonly relay: number;
  readonly entry: Entry;
}

const ANYWHERE = '01 00000000 0000';
const NAMES = { 'origin.test': '127.0.0.1', 'ip6.test': '::1' };

async function associate(options: ServerOptions = {}, address: string = ANYWHERE): Promise<Associated> {
  server = await startServer({ names: NAMES, ...options });
  const ipv6 = options.host === '::1';
  const tcp = await dialRaw({ port: server.port, host: ipv6 ? '::1' : '127.0.0.1' });
  clients.push(tcp);
  tcp.send(`05 01 00 05 03 00 ${address}`);
  const answer = await tcp.receive(ipv6 ? 24 : 12);
  const head = ipv6 ? '05000500000400000000000000000000000000000001' : '0500050000017f000001';
  expect(answer.slice(0, -4)).toBe(head);
  return { tcp, relay: Number.parseInt(answer.slice(-4), 16), entry: server.log[0] as Entry };
}

/** Nothing tells of a datagram that was dropped but its count. */
async function dropped(entry: Entry, count: number): Promise<void> {
  while (entry.dropped < count) await new Promise(setImmediate);
  expect(entry.dropped).toBe(count);
}

describe('rule 27: UDP ASSOCIATE', () => {
  test('relays datagrams in both directions, and counts the data', async () => {
    const { relay, entry } = await associate();
    const [client, destination] = [await udp(), await udp()];
    client.send(`000000 01 7f000001 ${destination.hex} 68656c6c6f`, relay);
    const { hex, source } = await destination.receive();
    expect(hex).toBe('68656c6c6f');
    expect(source.port).toBe(entry.outgoingPort);
    destination.send('6869', source.port);
    const back = await client.receive();
    expect(back.hex).toBe(`000000017f000001${destination.hex}6869`);
    expect(back.source.port).toBe(relay);
    expect(entry).toMatchObject({ command: 'associate', bytesUp: 5, bytesDown: 2, dropped: 0, reply: 0 });
    expect(server.log.map(printEntry)).toEqual(['SOCKS5 UDP ASSOCIATE ipv4 0.0.0.0:0 -> 00']);
  });

  test.each([
    ['a name', `03 0b 6f726967696e2e74657374`, '127.0.0.1', '01 7f000001'],
    ['an IPv6 address', '04 00000000000000000000000000000001', '::1', '0400000000000000000000000000000001'],
    ['a name of an IPv6 address', '03 08 6970362e74657374', '::1', '0400000000000000000000000000000001'],
    ['an IPv4-mapped address', '04 00000000000000000000ffff7f000001', '127.0.0.1', '01 7f000001'],
  ])('relays to %s', async (_, address, host, from) => {
    const { relay } = await associate();
    const [client, destination] = [await udp(), await udp(host)];
    client.send(`000000 ${address} ${destination.hex} 61`, relay);
    const { hex, source } = await destination.receive();
    expect(hex).toBe('61');
    destination.send('62', source.port, host);
    expect((await client.receive()).hex).toBe(`000000${from.replaceAll(' ', '')}${destination.hex}62`);
  });

  test('carries datagrams without data', async () => {
    const { relay } = await associate();
    const [client, destination] = [await udp(), await udp()];
    client.send(`000000 01 7f000001 ${destination.hex}`, relay);
    const { hex, source } = await destination.receive();
    expect(hex).toBe('');
    destination.send('', source.port);
    expect((await client.receive()).hex).toBe(`000000017f000001${destination.hex}`);
  });

  test('serves a client over IPv6', async () => {
    const { relay } = await associate({ host: '::1' }, '04 00000000000000000000000000000000 0000');
    const [client, destination] = [await udp('::1'), await udp()];
    client.send(`000000 01 7f000001 ${destination.hex} 61`, relay, '::1');
    const { source } = await destination.receive();
    destination.send('62', source.port);
    expect((await client.receive()).hex).toBe(`000000017f000001${destination.hex}62`);
  });

  test('tells an IPv4 client of a listener for both families an IPv4 address', async () => {
    const { relay } = await associate({ host: '::' });
    const [client, destination] = [await udp(), await udp()];
    client.send(`000000 01 7f000001 ${destination.hex} 61`, relay);
    expect((await destination.receive()).hex).toBe('61');
  });

  test.each<[string, (client: RawClient) => unknown]>([
    ['ends', ({ stream }) => stream.end()],
    ['is reset', ({ stream }) => stream.resetAndDestroy()],
  ])('is over when the TCP connection %s', async (_, leave) => {
    const { tcp, relay, entry } = await associate();
    const [client, destination] = [await udp(), await udp()];
    client.send(`000000 01 7f000001 ${destination.hex} 61`, relay);
    await destination.receive();
    leave(tcp);
    if (!tcp.stream.destroyed) await tcp.rest();
    tcp.stream.destroy();
    await server.idle();
    expect(entry.closed).toBe(true);
    const next = createSocket('udp4');
    sockets.push(next);
    next.bind({ port: relay, address: '127.0.0.1', exclusive: true });
    await once(next, 'listening');
  });

  test('is over when the server is closed', async () => {
    const { tcp, entry } = await associate();
    await server.close();
    expect(entry.closed).toBe(true);
    await tcp.rest().catch(() => {});
  });

  test('relays nothing that comes over TCP, and goes on', async () => {
    const { tcp, relay } = await associate();
    tcp.send('00'.repeat(100));
    const [client, destination] = [await udp(), await udp()];
    client.send(`000000 01 7f000001 ${destination.hex} 61`, relay);
    expect((await destination.receive()).hex).toBe('61');
  });
});

describe('rule 28: a datagram', () => {
  test.each([
    ['a fragment', (hex: string) => `000001 01 7f000001 ${hex} 61`],
    ['the end of a sequence of fragments', (hex: string) => `000080 01 7f000001 ${hex} 61`],
    ['one with a reserved byte', (hex: string) => `000100 01 7f000001 ${hex} 61`],
    ['one with an unknown ATYP', (hex: string) => `000000 02 7f000001 ${hex} 61`],
    ['half a header', () => '000000 01 7f0000'],
    ['one with a name longer than itself', (hex: string) => `000000 03 ff 6161 ${hex}`],
    ['empty', () => ''],
    ['one for port 0', () => '000000 01 7f000001 0000 61'],
    ['one for an unknown name', (hex: string) => `000000 03 03 612e62 ${hex} 61`],
  ])('is dropped and counted when it is %s', async (_, bad) => {
    const { relay, entry } = await associate();
    const [client, destination] = [await udp(), await udp()];
    client.send(bad(destination.hex), relay);
    await dropped(entry, 1);
    client.send(`000000 01 7f000001 ${destination.hex} 62`, relay);
    expect((await destination.receive()).hex).toBe('62');
    expect(entry).toMatchObject({ bytesUp: 1, dropped: 1 });
  });

  test('is dropped and counted when another address sends it', async () => {
    const { relay, entry } = await associate();
    const [client, stranger, destination] = [await udp(), await udp('127.0.0.2'), await udp()];
    stranger.send(`000000 01 7f000001 ${destination.hex} 61`, relay);
    await dropped(entry, 1);
    client.send(`000000 01 7f000001 ${destination.hex} 62`, relay);
    expect((await destination.receive()).hex).toBe('62');
  });

  test('is dropped and counted when another port sends it after the first datagram', async () => {
    const { relay, entry } = await associate();
    const [client, stranger, destination] = [await udp(), await udp(), await udp()];
    client.send(`000000 01 7f000001 ${destination.hex} 61`, relay);
    const { source } = await destination.receive();
    stranger.send(`000000 01 7f000001 ${destination.hex} 62`, relay);
    await dropped(entry, 1);
    destination.send('63', source.port);
    expect((await client.receive()).hex).toBe(`000000017f000001${destination.hex}63`);
  });

  test.each(['00000000', '7f000001'])(
    'is dropped and counted when another port sends it than the request says: %s',
    async (address) => {
      const client = await udp();
      const { relay, entry } = await associate({}, `01 ${address} ${client.hex}`);
      const [stranger, destination] = [await udp(), await udp()];
      stranger.send(`000000 01 7f000001 ${destination.hex} 61`, relay);
      await dropped(entry, 1);
      client.send(`000000 01 7f000001 ${destination.hex} 62`, relay);
      expect((await destination.receive()).hex).toBe('62');
    },
  );

  test('is relayed from a client behind a NAT, whatever address the request says', async () => {
    const { relay } = await associate({}, '01 c0000201 0007');
    const [client, destination] = [await udp(), await udp()];
    client.send(`000000 01 7f000001 ${destination.hex} 61`, relay);
    expect((await destination.receive()).hex).toBe('61');
  });

  test('is dropped and counted when its sender has received nothing', async () => {
    const { relay, entry } = await associate();
    const [client, destination, stranger] = [await udp(), await udp(), await udp('127.0.0.2')];
    client.send(`000000 01 7f000001 ${destination.hex} 61`, relay);
    const { source } = await destination.receive();
    stranger.send('62', source.port);
    await dropped(entry, 1);
    destination.send('63', source.port);
    expect((await client.receive()).hex).toBe(`000000017f000001${destination.hex}63`);
  });

  test.each<[string, ServerOptions]>([
    ['an address', { rules: [{ deny: { cidr: '127.0.0.2' } }] }],
    ['a port', { rules: [{ allow: { cidr: '127.0.0.1' } }, { deny: {} }] }],
    ['a hook', { allow: ({ host }) => host !== '127.0.0.2' }],
  ])('is dropped and counted when the rules forbid it: %s', async (_, options) => {
    const { relay, entry } = await associate(options);
    const [client, destination] = [await udp(), await udp()];
    client.send(`000000 01 7f000002 ${destination.hex} 61`, relay);
    await dropped(entry, 1);
    client.send(`000000 01 7f000001 ${destination.hex} 62`, relay);
    expect((await destination.receive()).hex).toBe('62');
  });

  test('is dropped and counted when the rules forbid the address of its name', async () => {
    const { relay, entry } = await associate({ rules: [{ deny: { cidr: '127.0.0.0/8' } }] });
    const client = await udp();
    client.send('000000 03 0b 6f726967696e2e74657374 0035 61', relay);
    await dropped(entry, 1);
    expect(entry.bytesUp).toBe(0);
  });

  test('is dropped and counted when it is too long with its header', async () => {
    const { relay, entry } = await associate();
    const [client, destination] = [await udp(), await udp()];
    client.send(`000000 01 7f000001 ${destination.hex} 61`, relay);
    const { source } = await destination.receive();
    destination.send('00'.repeat(65_507), source.port);
    await dropped(entry, 1);
    expect(entry.bytesDown).toBe(0);
  });
});
