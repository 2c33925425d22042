// Tests that leave errors behind, for uncaught.test.ts. No part of the suite.
/* oxlint-disable vitest/expect-expect -- what fails them comes later */

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, expect, test } from 'vitest';

const server = createServer((socket) => socket.on('error', () => {}).resetAndDestroy());
afterAll(() => void server.close());

test('leaves nothing behind', () => {
  expect(process.execArgv).toContain('--unhandled-rejections=strict');
});

test('leaves a rejection behind', () => {
  void Promise.reject(new Error('nobody waits for me'));
});

test('has a rejection that is handled too late', async () => {
  const rejected = Promise.reject(new Error('handled too late'));
  await turn();
  await expect(rejected).rejects.toThrow('handled too late');
});

test('leaves a timer behind that throws', () => {
  setImmediate(() => {
    throw new Error('thrown by a timer');
  });
});

test('leaves a socket behind that fails without a listener', async () => {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1');
  await new Promise((resolve) => {
    socket.once('close', resolve);
  });
});

test('rejects with undefined', () => {
  // oxlint-disable-next-line prefer-promise-reject-errors -- anything can be thrown
  void Promise.reject();
});

test('leaves nothing behind either', () => {});
