import { once } from 'node:events';
import { dialRaw } from '@socksify/support';
import type { RawClient } from '@socksify/support';
import { afterEach, describe, expect, test } from 'vitest';
import {
  BROKEN_TUNNELS,
  CONVERSATIONS,
  lengthOf,
  MISBEHAVIOURS,
  PIPELINED,
  refusal,
  slowly,
  startScript,
  stopping,
  STOPS,
} from '../src/index.ts';
import type { Script, ScriptedServer } from '../src/index.ts';

let server: ScriptedServer;
const clients: RawClient[] = [];

afterEach(async () => {
  for (const { stream } of clients.splice(0)) stream.destroy();
  await server.close();
});

async function run(script: Script): Promise<RawClient> {
  server = await startScript(script);
  return open();
}

async function open(): Promise<RawClient> {
  const client = await dialRaw(server.port);
  clients.push(client);
  return client;
}

test('a script reads, answers, closes, and keeps what it received', async () => {
  const client = await run([{ read: 3 }, { send: '05 00' }, { read: 2 }, { send: '0505' }, { close: true }]);
  client.send('0501');
  client.send('00');
  expect(await client.receive(2)).toBe('0500');
  client.send('abcdef');
  expect(await client.rest()).toBe('0505');
  const connection = await server.connection();
  expect(connection.received.toString('hex')).toBe('050100abcdef');
  expect(connection.ended).toBeUndefined();
  client.stream.end();
  expect(await connection.closedByClient).toBe('fin');
});

test('a script sends byte by byte', async () => {
  const client = await run([{ sendSlowly: '0102030405' }, { close: true }]);
  const chunks: string[] = [];
  client.stream.on('data', (chunk: Buffer) => chunks.push(chunk.toString('hex')));
  expect(await client.rest()).toBe('0102030405');
  expect(chunks.length).toBeGreaterThan(1);
});

test('a script resets', async () => {
  const client = await run([{ read: 1 }, { reset: true }]);
  const broken = new Promise((resolve) => client.stream.once('error', resolve));
  client.send('00');
  expect(await broken).toMatchObject({ code: 'ECONNRESET' });
});

test('a script reports a reset by the client', async () => {
  const client = await run([{ stall: true }]);
  const connection = await server.connection();
  client.stream.resetAndDestroy();
  expect(await connection.closedByClient).toBe('reset');
});

test('a script answers the FIN of a client when it is over', async () => {
  const client = await run([{ send: '00' }]);
  client.stream.end();
  expect(await client.rest()).toBe('00');
});

test('a script stalls until the server is closed, whatever the client does', async () => {
  const client = await run([{ stall: true }, { send: '00' }]);
  client.send('0501');
  client.stream.end();
  const connection = await server.connection();
  expect(await connection.closedByClient).toBe('fin');
  expect(connection.received.toString('hex')).toBe('0501');
  expect(client.stream.readableEnded).toBe(false);
  await server.close();
  expect(await client.rest()).toBe('');
});

test('a script drops what came behind the bytes that it read', async () => {
  const client = await run([{ read: 1 }, { drop: true }, { send: '0500' }, { read: 1 }, { close: true }]);
  client.send('050100');
  expect(await client.receive(2)).toBe('0500');
  client.send('05');
  expect(await client.rest()).toBe('');
  expect((await server.connection()).received.toString('hex')).toBe('05010005');
});

test('a script waits for its delay', async () => {
  const start = performance.now();
  const client = await run([{ delay: 30 }, { send: '00' }]);
  await client.receive(1);
  expect(performance.now() - start).toBeGreaterThan(28);
});

test('a server may have another script for each connection', async () => {
  const first = await run((index) => [{ send: `0${index}` }, { close: true }]);
  const second = await open();
  expect(await first.rest()).toBe('00');
  expect(await second.rest()).toBe('01');
  expect(server.connections).toHaveLength(2);
});

test('a server can be closed in the middle of every step', async () => {
  const client = await run((index) => [index === 0 ? { delay: 1e6 } : { read: 1e6 }]);
  const second = await open();
  await server.connection(1);
  await server.close();
  if (!client.stream.closed) await once(client.stream, 'end');
  expect(await second.rest()).toBe('');
});

describe('the catalogue of misbehaviours', () => {
  test.each(Object.entries({ ...MISBEHAVIOURS, ...BROKEN_TUNNELS, ...PIPELINED }))(
    'has a script that runs: %s',
    async (_, { script }) => {
      server = await startScript(script);
      expect(server.port).toBeGreaterThan(0);
    },
  );

  test('can stop a conversation after any byte of either side', () => {
    const { SOCKS4 } = CONVERSATIONS;
    expect(lengthOf(SOCKS4)).toBe(17);
    expect(stopping(SOCKS4, 0, STOPS.closes).script).toEqual([{ close: true }]);
    expect(stopping(SOCKS4, 8, STOPS.resets).script).toEqual([{ read: 8 }, { reset: true }]);
    expect(stopping(SOCKS4, 11, STOPS.stalls).script).toEqual([
      { read: 9 },
      { send: '005a' },
      { stall: true },
    ]);
    expect(stopping(SOCKS4, 17, STOPS.closes).script).toEqual([
      { read: 9 },
      { send: '005a1f907f000001' },
      { close: true },
    ]);
  });

  test('can send a conversation one byte at a time', () => {
    expect(slowly(CONVERSATIONS.SOCKS4).script).toEqual([{ read: 9 }, { sendSlowly: '00 5a 1f90 7f000001' }]);
  });

  test('can refuse with any REP', () => {
    expect(refusal(0xf6).script).toContainEqual({ send: '05 f6 00 01 00000000 0000' });
    expect(refusal(0x04, '00 00').script).toContainEqual({ send: '05 04 00 00' });
  });
});

test('startScript() refuses bad hex at once', async () => {
  server = await startScript([]);
  await expect(startScript([{ send: '050' }])).rejects.toThrow('not hex: 050');
});
