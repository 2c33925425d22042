// Rules 27 and 28: UDP ASSOCIATE. Client and origin are sockets that type their datagrams.

import { createSocket } from 'node:dgram';
import type { RemoteInfo, Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, describe, expect, test } from 'vitest';
import { printEntry, startServer } from '../src/index.ts';
import type { Entry, ServerOptions, SocksServer } from '../src/index.ts';
import { dialRaw, portHex } from './peers.ts';
import type { RawClient } from './peers.ts';

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
  test('relays there and back, and counts the data', async () => {
    const { relay, entry } = await associate();
    const [client, origin] = [await udp(), await udp()];
    client.send(`000000 01 7f000001 ${origin.hex} 68656c6c6f`, relay);
    const { hex, source } = await origin.receive();
    expect(hex).toBe('68656c6c6f');
    expect(source.port).toBe(entry.outgoingPort);
    origin.send('6869', source.port);
    const back = await client.receive();
    expect(back.hex).toBe(`000000017f000001${origin.hex}6869`);
    expect(back.source.port).toBe(relay);
    expect(entry).toMatchObject({ command: 'associate', bytesUp: 5, bytesDown: 2, dropped: 0, reply: 0 });
    expect(server.log.map(printEntry)).toEqual(['SOCKS5 UDP ASSOCIATE ipv4 0.0.0.0:0 -> 00']);
  });

  test.each([
    ['a name', `03 0b 6f726967696e2e74657374`, '127.0.0.1', '01 7f000001'],
    ['an IPv6 address', '04 00000000000000000000000000000001', '::1', '0400000000000000000000000000000001'],
    ['a name of an IPv6 address', '03 08 6970362e74657374', '::1', '0400000000000000000000000000000001'],
    ['an address in IPv6 clothes', '04 00000000000000000000ffff7f000001', '127.0.0.1', '01 7f000001'],
  ])('reaches %s', async (_, address, host, from) => {
    const { relay } = await associate();
    const [client, origin] = [await udp(), await udp(host)];
    client.send(`000000 ${address} ${origin.hex} 61`, relay);
    const { hex, source } = await origin.receive();
    expect(hex).toBe('61');
    origin.send('62', source.port, host);
    expect((await client.receive()).hex).toBe(`000000${from.replaceAll(' ', '')}${origin.hex}62`);
  });

  test('carries datagrams without data', async () => {
    const { relay } = await associate();
    const [client, origin] = [await udp(), await udp()];
    client.send(`000000 01 7f000001 ${origin.hex}`, relay);
    const { hex, source } = await origin.receive();
    expect(hex).toBe('');
    origin.send('', source.port);
    expect((await client.receive()).hex).toBe(`000000017f000001${origin.hex}`);
  });

  test('serves a client over IPv6', async () => {
    const { relay } = await associate({ host: '::1' }, '04 00000000000000000000000000000000 0000');
    const [client, origin] = [await udp('::1'), await udp()];
    client.send(`000000 01 7f000001 ${origin.hex} 61`, relay, '::1');
    const { source } = await origin.receive();
    origin.send('62', source.port);
    expect((await client.receive()).hex).toBe(`000000017f000001${origin.hex}62`);
  });

  test('tells an IPv4 client of a listener for both families an IPv4 address', async () => {
    const { relay } = await associate({ host: '::' });
    const [client, origin] = [await udp(), await udp()];
    client.send(`000000 01 7f000001 ${origin.hex} 61`, relay);
    expect((await origin.receive()).hex).toBe('61');
  });

  test.each<[string, (client: RawClient) => unknown]>([
    ['ends', ({ stream }) => stream.end()],
    ['is reset', ({ stream }) => stream.resetAndDestroy()],
  ])('is over when the TCP connection %s', async (_, leave) => {
    const { tcp, relay, entry } = await associate();
    const [client, origin] = [await udp(), await udp()];
    client.send(`000000 01 7f000001 ${origin.hex} 61`, relay);
    await origin.receive();
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

  test('what comes by TCP is not relayed, and breaks nothing', async () => {
    const { tcp, relay } = await associate();
    tcp.send('00'.repeat(100));
    const [client, origin] = [await udp(), await udp()];
    client.send(`000000 01 7f000001 ${origin.hex} 61`, relay);
    expect((await origin.receive()).hex).toBe('61');
  });
});

describe('rule 28: is dropped and counted', () => {
  test.each([
    ['a fragment', (hex: string) => `000001 01 7f000001 ${hex} 61`],
    ['the end of a sequence of fragments', (hex: string) => `000080 01 7f000001 ${hex} 61`],
    ['a reserved byte', (hex: string) => `000100 01 7f000001 ${hex} 61`],
    ['an unknown ATYP', (hex: string) => `000000 02 7f000001 ${hex} 61`],
    ['half a header', () => '000000 01 7f0000'],
    ['a name longer than the datagram', (hex: string) => `000000 03 ff 6161 ${hex}`],
    ['nothing at all', () => ''],
    ['port 0', () => '000000 01 7f000001 0000 61'],
    ['an unknown name', (hex: string) => `000000 03 03 612e62 ${hex} 61`],
  ])('%s', async (_, bad) => {
    const { relay, entry } = await associate();
    const [client, origin] = [await udp(), await udp()];
    client.send(bad(origin.hex), relay);
    await dropped(entry, 1);
    client.send(`000000 01 7f000001 ${origin.hex} 62`, relay);
    expect((await origin.receive()).hex).toBe('62');
    expect(entry).toMatchObject({ bytesUp: 1, dropped: 1 });
  });

  test('what another address sends', async () => {
    const { relay, entry } = await associate();
    const [client, stranger, origin] = [await udp(), await udp('127.0.0.2'), await udp()];
    stranger.send(`000000 01 7f000001 ${origin.hex} 61`, relay);
    await dropped(entry, 1);
    client.send(`000000 01 7f000001 ${origin.hex} 62`, relay);
    expect((await origin.receive()).hex).toBe('62');
  });

  test('what another port sends, after the first datagram', async () => {
    const { relay, entry } = await associate();
    const [client, stranger, origin] = [await udp(), await udp(), await udp()];
    client.send(`000000 01 7f000001 ${origin.hex} 61`, relay);
    const { source } = await origin.receive();
    stranger.send(`000000 01 7f000001 ${origin.hex} 62`, relay);
    await dropped(entry, 1);
    origin.send('63', source.port);
    expect((await client.receive()).hex).toBe(`000000017f000001${origin.hex}63`);
  });

  test.each(['00000000', '7f000001'])(
    'what another port sends than the request says: %s',
    async (address) => {
      const client = await udp();
      const { relay, entry } = await associate({}, `01 ${address} ${client.hex}`);
      const [stranger, origin] = [await udp(), await udp()];
      stranger.send(`000000 01 7f000001 ${origin.hex} 61`, relay);
      await dropped(entry, 1);
      client.send(`000000 01 7f000001 ${origin.hex} 62`, relay);
      expect((await origin.receive()).hex).toBe('62');
    },
  );

  test('not what a client behind a translator sends, whatever it believes its address to be', async () => {
    const { relay } = await associate({}, '01 c0000201 0007');
    const [client, origin] = [await udp(), await udp()];
    client.send(`000000 01 7f000001 ${origin.hex} 61`, relay);
    expect((await origin.receive()).hex).toBe('61');
  });

  test('what comes from somebody who was sent nothing', async () => {
    const { relay, entry } = await associate();
    const [client, origin, stranger] = [await udp(), await udp(), await udp('127.0.0.2')];
    client.send(`000000 01 7f000001 ${origin.hex} 61`, relay);
    const { source } = await origin.receive();
    stranger.send('62', source.port);
    await dropped(entry, 1);
    origin.send('63', source.port);
    expect((await client.receive()).hex).toBe(`000000017f000001${origin.hex}63`);
  });

  test.each<[string, ServerOptions]>([
    ['an address', { rules: [{ deny: { cidr: '127.0.0.2' } }] }],
    ['a port', { rules: [{ allow: { cidr: '127.0.0.1' } }, { deny: {} }] }],
    ['a hook', { allow: ({ host }) => host !== '127.0.0.2' }],
  ])('what is against the rules: %s', async (_, options) => {
    const { relay, entry } = await associate(options);
    const [client, origin] = [await udp(), await udp()];
    client.send(`000000 01 7f000002 ${origin.hex} 61`, relay);
    await dropped(entry, 1);
    client.send(`000000 01 7f000001 ${origin.hex} 62`, relay);
    expect((await origin.receive()).hex).toBe('62');
  });

  test('a name that leads where the rules forbid', async () => {
    const { relay, entry } = await associate({ rules: [{ deny: { cidr: '127.0.0.0/8' } }] });
    const client = await udp();
    client.send('000000 03 0b 6f726967696e2e74657374 0035 61', relay);
    await dropped(entry, 1);
    expect(entry.bytesUp).toBe(0);
  });

  test('what is longer than a datagram, once its header is in front', async () => {
    const { relay, entry } = await associate();
    const [client, origin] = [await udp(), await udp()];
    client.send(`000000 01 7f000001 ${origin.hex} 61`, relay);
    const { source } = await origin.receive();
    origin.send('00'.repeat(65_507), source.port);
    await dropped(entry, 1);
    expect(entry.bytesDown).toBe(0);
  });
});
