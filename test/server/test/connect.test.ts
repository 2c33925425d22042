// CONNECT over real connections, by a client that sends typed bytes.

import { once } from 'node:events';
import { deferred, dialRaw, freePort, portHex, startDestination, startEcho } from '@socksify/support';
import type { TcpDestination } from '@socksify/support';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { printEntry, startServer } from '../src/index.ts';
import type { Entry, SocksServer } from '../src/index.ts';

const GRANTED = /^05000001[0-9a-f]{12}$/;
const ORIGIN_TEST = '03 0b 6f726967696e2e74657374';

let server: SocksServer;
let echo: TcpDestination;
let echo6: TcpDestination;
let seen: number[];

beforeAll(async () => {
  echo = await startDestination((socket) => {
    seen.push(socket.remotePort ?? 0);
    socket.pipe(socket);
  });
  echo6 = await startEcho('::1');
});

afterAll(async () => {
  await echo.close();
  await echo6.close();
});

beforeEach(async () => {
  seen = [];
  server = await startServer({
    names: {
      'origin.test': '127.0.0.1',
      'ip6.test': '::1',
      'dual.test': ['::1', '127.0.0.1'],
      'void.test': [],
    },
  });
});

afterEach(() => server.close());

async function answerTo(request: string, length: number, to: SocksServer = server): Promise<string> {
  const client = await dialRaw(to.port);
  client.send(request);
  const answer = await client.receive(length);
  client.stream.destroy();
  return answer;
}

describe('a tunnel', () => {
  test.each([
    ['SOCKS4', () => `04 01 ${echo.hex} 7f000001 626f62 00`, '', '4', 'ipv4', '127.0.0.1', 'bob'],
    [
      'SOCKS4A',
      () => `04 01 ${echo.hex} 00000001 626f62 00 6f726967696e2e74657374 00`,
      '',
      '4a',
      'name',
      'origin.test',
      'bob',
    ],
    [
      'SOCKS4A with another marker',
      () => `04 01 ${echo.hex} 000000ff 00 4f726967696e2e746573742e 00`,
      '',
      '4a',
      'name',
      'Origin.test.',
      '',
    ],
    [
      'SOCKS4A to an IPv6 address',
      () => `04 01 ${echo6.hex} 00000001 00 6970362e74657374 00`,
      '',
      '4a',
      'name',
      'ip6.test',
      '',
    ],
    [
      'SOCKS5 by IPv4',
      () => `05 01 00 01 7f000001 ${echo.hex}`,
      '05 01 00',
      '5',
      'ipv4',
      '127.0.0.1',
      undefined,
    ],
    [
      'SOCKS5 by IPv6',
      () => `05 01 00 04 00000000000000000000000000000001 ${echo6.hex}`,
      '05 01 00',
      '5',
      'ipv6',
      '::1',
      undefined,
    ],
    [
      'SOCKS5 by name',
      () => `05 01 00 ${ORIGIN_TEST} ${echo.hex}`,
      '05 02 00 02',
      '5',
      'name',
      'origin.test',
      undefined,
    ],
    [
      'SOCKS5 by name to an IPv6 address',
      () => `05 01 00 03 08 6970362e74657374 ${echo6.hex}`,
      '05 01 00',
      '5',
      'name',
      'ip6.test',
      undefined,
    ],
    [
      'SOCKS5 with an address for a name',
      () => `05 01 00 03 09 3132372e302e302e31 ${echo.hex}`,
      '05 01 00',
      '5',
      'name',
      '127.0.0.1',
      undefined,
    ],
  ])('is opened over %s, and logged', async (_, request, greeting, form, atyp, host, user) => {
    const client = await dialRaw(server.port);
    if (greeting !== '') {
      client.send(greeting);
      expect(await client.receive(2)).toBe('0500');
    }
    client.send(request());
    if (greeting === '') expect(await client.receive(8)).toMatch(/^005a[0-9a-f]{12}$/);
    else {
      const ipv6 = atyp === 'ipv6' || host === 'ip6.test';
      expect(await client.receive(ipv6 ? 22 : 10)).toMatch(ipv6 ? /^05000004/ : GRANTED);
    }
    client.send('68656c6c6f');
    expect(await client.receive(5)).toBe('68656c6c6f');

    expect(server.log).toHaveLength(1);
    const [entry] = server.log as [Entry];
    expect(entry).toMatchObject({
      form,
      atyp,
      host,
      command: 'connect',
      bytesUp: 5,
      bytesDown: 5,
      closed: false,
    });
    expect(entry.user).toBe(user);
    expect(entry.reply).toBe(greeting === '' ? 90 : 0);
    client.stream.destroy();
    await once(server, 'closed');
    expect(entry.closed).toBe(true);
  });

  test('has the outgoing port that the log and the reply say', async () => {
    const client = await dialRaw(server.port);
    client.send(`05 01 00 05 01 00 01 7f000001 ${echo.hex}`);
    const answer = await client.receive(12);
    const [entry] = server.log as [Entry];
    expect(answer).toBe(`0500050000017f000001${portHex(entry.outgoingPort ?? 0)}`);
    client.send('00');
    await client.receive(1);
    expect(seen).toEqual([entry.outgoingPort]);
    expect(entry.remotePort).toBe(client.stream.localPort);
    client.stream.destroy();
  });

  test('tries all addresses of a name in turn', async () => {
    const answer = await answerTo(`05 01 00 05 01 00 03 09 6475616c2e74657374 ${echo.hex}`, 12);
    expect(answer).toMatch(/^0500050000017f000001/);
  });

  test('is opened by a request in fragments of one byte', async () => {
    const client = await dialRaw(server.port);
    for (const byte of Buffer.from(`050100050100${ORIGIN_TEST.replaceAll(' ', '')}${echo.hex}ff`, 'hex')) {
      client.stream.write(Buffer.of(byte));
      await new Promise(setImmediate);
    }
    expect(await client.receive(13)).toMatch(/^050005000001[0-9a-f]{12}ff$/);
    client.stream.destroy();
  });

  test('carries data that came with the request', async () => {
    const client = await dialRaw(server.port);
    client.send(`04 01 ${echo.hex} 7f000001 00 6869`);
    expect(await client.receive(10)).toMatch(/^005a[0-9a-f]{12}6869$/);
    client.stream.destroy();
  });

  test('lets a client end its side and still receive the answer', async () => {
    const destination = await startDestination((socket) => {
      let length = 0;
      socket.on('data', (chunk) => (length += chunk.length));
      socket.on('end', () => socket.end(Buffer.of(length)));
    });
    const client = await dialRaw(server.port);
    client.send(`05 01 00 05 01 00 01 7f000001 ${destination.hex} 616263`);
    client.stream.end();
    expect(await client.rest()).toMatch(/^050005000001[0-9a-f]{12}03$/);
    await server.idle();
    expect(server.connections).toBe(0);
    await destination.close();
  });

  test('lets a destination end its side and still receive data', async () => {
    const heard = deferred<string>();
    const destination = await startDestination((socket) => {
      socket.end('bye');
      socket.on('data', (chunk) => heard.resolve(chunk.toString()));
    });
    const client = await dialRaw(server.port);
    client.send(`04 01 ${destination.hex} 7f000001 00`);
    expect(await client.rest()).toMatch(/^005a[0-9a-f]{12}627965$/);
    client.stream.end('late');
    expect(await heard.promise).toBe('late');
    await server.idle();
    await destination.close();
  });

  test('passes on a reset of the destination', async () => {
    const destination = await startDestination((socket) => {
      socket.once('data', () => socket.resetAndDestroy());
    });
    const client = await dialRaw(server.port);
    client.send(`04 01 ${destination.hex} 7f000001 00`);
    await client.receive(8);
    const broken = new Promise<Error>((resolve) => client.stream.once('error', resolve));
    client.send('00');
    expect(await broken).toMatchObject({ code: 'ECONNRESET' });
    await destination.close();
  });

  test('passes on a reset of the client', async () => {
    const broken = deferred<Error>();
    const destination = await startDestination((socket) => {
      socket.once('error', broken.resolve).resume();
    });
    const client = await dialRaw(server.port);
    client.send(`04 01 ${destination.hex} 7f000001 00`);
    await client.receive(8);
    client.stream.resetAndDestroy();
    expect(await broken.promise).toMatchObject({ code: 'ECONNRESET' });
    await destination.close();
  });
});

describe('rule 13: a refusal', () => {
  test('has REP 05 or CD 91 when the destination refuses the connection', async () => {
    const port = portHex(await freePort());
    expect(await answerTo(`05 01 00 05 01 00 01 7f000001 ${port}`, 12)).toBe(
      '0500 05050001 00000000 0000'.replaceAll(' ', ''),
    );
    expect(await answerTo(`04 01 ${port} 7f000001 00`, 8)).toBe('005b000000000000');
    expect(server.log.map(({ reply }) => reply)).toEqual([0x05, 91]);
  });

  test.each([
    ['unknown name', '05 01 00 05 01 00 03 03 612e62 0050', '0500 05040001000000000000'],
    [
      'a name that this machine knows and the proxy does not',
      '05 01 00 05 01 00 03 09 6c6f63616c686f7374 0050',
      '0500 05040001000000000000',
    ],
    ['unknown name, SOCKS4A', '04 01 0050 00000001 00 612e62 00', '005b000000000000'],
    [
      'name without an address',
      '05 01 00 05 01 00 03 09 766f69642e74657374 0050',
      '0500 05010001000000000000',
    ],
    ['unknown command', '05 01 00 05 09 00 01 7f000001 0050', '0500 05070001000000000000'],
    ['UDP ASSOCIATE, which SOCKS4 does not have', '04 03 0050 7f000001 00', '005b000000000000'],
    ["tor's RESOLVE", '05 01 00 05 f0 00 03 03 612e62 0000', '0500 05070001000000000000'],
    ["tor's RESOLVE_PTR", '05 01 00 05 f1 00 01 7f000001 0000', '0500 05070001000000000000'],
    ["tor's RESOLVE, SOCKS4A", '04 f0 0000 00000001 00 612e62 00', '005b000000000000'],
    ['unknown address type', '05 01 00 05 01 00 02 7f000001 0050', '0500 05080001000000000000'],
    ['reserved byte', '05 01 00 05 01 01 01 7f000001 0050', '0500 05010001000000000000'],
    ['empty name', '05 01 00 05 01 00 03 00 0050', '0500 05010001000000000000'],
    ['empty name, SOCKS4A', '04 01 0050 00000001 00 00', '005b000000000000'],
    ['endless USERID', `04 01 0050 7f000001 ${'61'.repeat(256)}`, '005b000000000000'],
    ['endless name', `04 01 0050 00000001 00 ${'61'.repeat(256)}`, '005b000000000000'],
    ['no method at all', '05 00', '05ff'],
    ['only methods it does not have', '05 02 01 02', '05ff'],
    ['another version in the request', '05 01 00 04 01 00 01 7f000001 0050', '0500'],
    ['HTTP', '47455420', ''],
  ])('has its bytes for %s', async (_, request, answer) => {
    const client = await dialRaw(server.port);
    client.send(request);
    expect(await client.rest()).toBe(answer.replaceAll(' ', ''));
    expect(server.log.length + server.refusals.length).toBe(1);
    client.stream.destroy();
    await server.idle();
  });

  test('does not come for the longest USERID and name', async () => {
    const user = '61'.repeat(255);
    expect(await answerTo(`04 01 ${echo.hex} 7f000001 ${user} 00`, 8)).toMatch(/^005a/);
    expect(await answerTo(`04 01 ${echo.hex} 00000001 ${user} 00 ${user} 00`, 8)).toMatch(/^005b/);
    expect(server.log[1]?.host).toHaveLength(255);
  });

  test('has REP 02 or CD 91 when the rules forbid the destination', async () => {
    const strict = await startServer({ allow: ({ host, version }) => version === 4 && host !== '127.0.0.1' });
    expect(await answerTo(`05 01 00 05 01 00 01 7f000001 ${echo.hex}`, 12, strict)).toBe(
      '050005020001000000000000',
    );
    expect(await answerTo(`04 01 ${echo.hex} 7f000001 00`, 8, strict)).toBe('005b000000000000');
    expect(seen).toEqual([]);
    await strict.close();
  });

  test('sends its FIN at once, and ends a client that does not close', async () => {
    const client = await dialRaw(server.port);
    client.send('05 01 02');
    expect(await client.rest()).toBe('05ff');
    expect(server.connections).toBe(1);
    await server.idle();
  });
});

describe('rule 8: the server', () => {
  test('closes a client that stops in its request', async () => {
    const hasty = await startServer({ handshakeTimeout: 30 });
    const client = await dialRaw(hasty.port);
    client.send('05 01 00 05 01');
    expect(await client.rest()).toBe('0500');
    expect(hasty.log).toEqual([]);
    await hasty.close();
  });

  test('closes a client that ends its side in its request', async () => {
    const client = await dialRaw(server.port);
    client.send('05 01 00 05 01');
    client.stream.end();
    expect(await client.rest()).toBe('0500');
    await server.idle();
  });
});

describe('close()', () => {
  test('ends tunnels, half handshakes and connections to destinations', async () => {
    const ended = deferred<void>();
    const destination = await startDestination((socket) =>
      socket
        .resume()
        .once('close', ended.resolve)
        .once('end', () => socket.end()),
    );
    const tunnel = await dialRaw(server.port);
    tunnel.send(`04 01 ${destination.hex} 7f000001 00`);
    await tunnel.receive(8);
    const half = await dialRaw(server.port);
    half.send('05 01 00');
    await half.receive(2);
    expect(server.connections).toBe(2);
    const { port } = server;

    await server.close();
    await server.close();
    expect(server.connections).toBe(0);
    expect(server.log[0]?.closed).toBe(true);
    await ended.promise;
    await expect(dialRaw(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    tunnel.stream.destroy();
    half.stream.destroy();
    await destination.close();
  });
});

test('printEntry() prints a line for a request', async () => {
  await answerTo(`05 01 00 05 01 00 ${ORIGIN_TEST} ${echo.hex}`, 12);
  expect(server.log.map(printEntry)).toEqual([`SOCKS5 CONNECT name origin.test:${echo.port} -> 00`]);
});

test('startServer() refuses a name table without addresses', async () => {
  await expect(startServer({ names: { 'a.test': 'b.test' } })).rejects.toThrow(TypeError);
});
