import { once } from 'node:events';
import { dialRaw, freePort, startEcho } from '@socksify/support';
import type { RawClient, TcpDestination } from '@socksify/support';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startRelay } from '../src/index.ts';
import type { Relay, RelayOptions } from '../src/index.ts';

const DELAY = 20;
let echo: TcpDestination;
let relay: Relay;

beforeEach(async () => {
  echo = await startEcho('127.0.0.1');
  relay = await startRelay({ to: echo.port, delay: DELAY });
});
afterEach(async () => {
  await relay.close();
  await echo.close();
});

test('a relay makes each round trip take twice its delay', async () => {
  const client = await dialRaw(relay.port);
  const start = performance.now();
  for (let trip = 1; trip <= 3; trip++) {
    client.send('0102');
    expect(await client.receive(2)).toBe('0102');
    expect(performance.now() - start).toBeGreaterThan(trip * 2 * DELAY - 2);
  }
  expect(relay.accepted).toBe(1);
  client.stream.destroy();
});

test('a relay counts how often a client was answered', async () => {
  const client = await dialRaw(relay.port);
  const counted = () => [...relay.answers().values()];
  expect(counted()).toEqual([0]);
  for (let trip = 1; trip <= 2; trip++) {
    // Two segments that go up together get their answers together, which are one.
    client.send('01');
    client.send('02');
    expect(await client.receive(2)).toBe('0102');
    expect(counted()).toEqual([trip]);
  }
  client.stream.destroy();
  await expect.poll(counted, { interval: 5 }).toEqual([]);
});

test('a relay keeps the order, and the end behind it', async () => {
  const client = await dialRaw(relay.port);
  let sent = '';
  for (let byte = 16; byte < 80; byte++) {
    client.send(byte.toString(16));
    sent += byte.toString(16);
    await new Promise(setImmediate);
  }
  client.stream.end();
  expect(await client.rest()).toBe(sent);
});

test('a relay resets its client when nothing listens on the other side', async () => {
  const nowhere = await startRelay({ to: await freePort(), delay: 1 });
  const client = await dialRaw(nowhere.port);
  const broken = new Promise((resolve) => client.stream.once('error', resolve));
  expect(await broken).toMatchObject({ code: 'ECONNRESET' });
  await nowhere.close();
});

describe('a link', () => {
  async function linked(options: Omit<RelayOptions, 'to'>): Promise<{ relay: Relay; client: RawClient }> {
    await relay.close();
    relay = await startRelay({ to: echo.port, ...options });
    return { relay, client: await dialRaw(relay.port) };
  }

  test('takes another time in each direction', async () => {
    const { client } = await linked({ delay: { up: 40, down: 0 } });
    const start = performance.now();
    client.send('01');
    await client.receive(1);
    expect(performance.now() - start).toBeGreaterThan(38);
    client.stream.destroy();
  });

  test('is lost by a FIN after exactly so many bytes', async () => {
    const { client } = await linked({ lose: { after: 3, how: 'close' } });
    client.send('0102030405');
    expect(await client.rest()).toBe('010203');
    client.stream.destroy();
    await once(relay, 'ended');
    expect(relay).toMatchObject({ accepted: 1, lost: 1, ended: 1 });
  });

  test('is lost by a reset', async () => {
    const { client } = await linked({});
    client.send('01');
    await client.receive(1);
    // Not in one go with data: there the client's system may report an end.
    const reset = new Promise((resolve) => client.stream.once('error', resolve));
    relay.cut('reset');
    expect(await reset).toMatchObject({ code: 'ECONNRESET' });
  });

  test('is lost in silence, and its end is still seen', async () => {
    const { client } = await linked({ lose: { after: 1, how: 'silence' } });
    client.send('0102');
    expect(await client.receive(1)).toBe('01');
    if (relay.lost === 0) await once(relay, 'lost');
    client.send('03');
    client.stream.end();
    await once(relay, 'ended');
    expect(client.stream.readableEnded).toBe(false);
    client.stream.destroy();
  });

  test('is cut, and the next one too, until it is restored', async () => {
    const { client } = await linked({});
    client.send('01');
    await client.receive(1);
    relay.cut('close');
    expect(await client.rest()).toBe('');
    expect(await (await dialRaw(relay.port)).rest()).toBe('');
    relay.restore();
    const again = await dialRaw(relay.port);
    again.send('02');
    expect(await again.receive(1)).toBe('02');
    again.stream.destroy();
    expect(relay.lost).toBe(2);
  });

  test('holds a sender back whose receiver does not read', async () => {
    const { client } = await linked({});
    client.stream.pause();
    const all = 64 * 1024 * 1024;
    client.stream.write(Buffer.alloc(all));
    // Until nothing moves for a while: all buffers between are full.
    for (let before = -1; before !== client.stream.bytesWritten - client.stream.writableLength; ) {
      before = client.stream.bytesWritten - client.stream.writableLength;
      for (let turns = 0; turns < 200; turns++) await new Promise(setImmediate);
    }
    expect(client.stream.writableLength).toBeGreaterThan(0);
    client.stream.destroy();
  });
});
