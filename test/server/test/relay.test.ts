import { afterEach, beforeEach, expect, test } from 'vitest';
import { startRelay } from '../src/index.ts';
import type { Relay } from '../src/index.ts';
import { dialRaw, startOrigin, unusedPort } from './peers.ts';
import type { Origin } from './peers.ts';

const DELAY = 20;
let echo: Origin;
let relay: Relay;

beforeEach(async () => {
  echo = await startOrigin((socket) => socket.pipe(socket));
  relay = await startRelay({ to: echo.port, delay: DELAY });
});
afterEach(async () => {
  await relay.close();
  echo.server.close();
});

test('makes a round trip cost twice its delay, each time', async () => {
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

test('keeps the order, and the end behind it', async () => {
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

test('breaks off when the other side cannot be reached', async () => {
  const nowhere = await startRelay({ to: await unusedPort(), delay: 1 });
  const client = await dialRaw(nowhere.port);
  const broken = new Promise((resolve) => client.stream.once('error', resolve));
  expect(await broken).toMatchObject({ code: 'ECONNRESET' });
  await nowhere.close();
});
