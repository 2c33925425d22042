// How many clients a server accepts at once, and how it ends them.

import { once } from 'node:events';
import { dialRaw, startEcho } from '@socksify/support';
import type { RawClient, TcpDestination } from '@socksify/support';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startServer } from '../src/index.ts';
import type { SocksServer } from '../src/index.ts';

let echo: TcpDestination;
let server: SocksServer;

beforeAll(async () => {
  echo = await startEcho('127.0.0.1');
});
afterAll(() => echo.close());
afterEach(() => server.close());

async function tunnel(from?: string): Promise<RawClient> {
  const where = { port: server.port, host: '127.0.0.1', ...(from !== undefined && { localAddress: from }) };
  const client = await dialRaw(where);
  client.send(`04 01 ${echo.hex} 7f000001 00`);
  await client.receive(8);
  return client;
}

async function isTurnedAway(from: string = '127.0.0.1'): Promise<string | undefined> {
  const refused = once(server, 'refused');
  const client = await dialRaw({ port: server.port, host: '127.0.0.1', localAddress: from });
  await refused;
  if (!client.stream.closed) await once(client.stream, 'end').catch(() => {});
  client.stream.destroy();
  return server.refusals.at(-1)?.reason;
}

test('more clients than maxConnections are closed at once, until one leaves', async () => {
  server = await startServer({ maxConnections: 2 });
  const first = await tunnel();
  const second = await tunnel('127.0.0.2');
  expect(await isTurnedAway('127.0.0.3')).toBe('too many connections');
  expect(server.refusals).toMatchObject([{ answer: '' }]);
  first.stream.destroy();
  await once(server, 'closed');
  const third = await tunnel();
  second.send('68656c6c6f');
  expect(await second.receive(5)).toBe('68656c6c6f');
  for (const { stream } of [second, third]) stream.destroy();
});

test('maxConnectionsPerHost does not count other hosts', async () => {
  server = await startServer({ maxConnectionsPerHost: 1 });
  const first = await tunnel();
  expect(await isTurnedAway()).toBe('too many connections of 127.0.0.1');
  const other = await tunnel('127.0.0.2');
  first.stream.destroy();
  await once(server, 'closed');
  const again = await tunnel();
  for (const { stream } of [other, again]) stream.destroy();
});

describe('close({ drain })', () => {
  test('lets tunnels end by themselves, and closes clients without a request', async () => {
    server = await startServer();
    const client = await tunnel();
    const half = await dialRaw(server.port);
    half.send('05 01 00');
    await half.receive(2);
    const { port } = server;
    let isClosed = false;
    const closed = server.close({ drain: 10_000 }).then(() => (isClosed = true));
    expect(await half.rest()).toBe('');
    await expect(dialRaw(port)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    client.send('68656c6c6f');
    expect(await client.receive(5)).toBe('68656c6c6f');
    expect(isClosed).toBe(false);
    client.stream.end();
    expect(await client.rest()).toBe('');
    await closed;
    expect(server.log).toMatchObject([{ bytesUp: 5, bytesDown: 5, closed: true }]);
    half.stream.destroy();
  });

  test('ends the remaining tunnels when the time is over', async () => {
    server = await startServer();
    const client = await tunnel();
    const broken = once(client.stream, 'close');
    client.stream.allowHalfOpen = false;
    await server.close({ drain: 30 });
    client.stream.destroy();
    await broken;
    expect(server.connections).toBe(0);
  });

  test('is cut short by close()', async () => {
    server = await startServer();
    const client = await tunnel();
    const closed = server.close({ drain: 1e6 });
    await server.close();
    await closed;
    expect(server.connections).toBe(0);
    client.stream.destroy();
  });
});
