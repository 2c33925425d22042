// The timers of a tunnel through a group: which are set, and that none is left.

import type { LookupFunction } from 'node:net';
import { freePort } from '@socksify/support';
import { beforeEach, expect, test, vi } from 'vitest';
import { connect, proxyGroup } from '../src/index.ts';
import { startProxy, startScripted } from './proxies.ts';
import { delays, holdImmediates, pending, watch } from './watched-timers.ts';

vi.mock('node:timers', () => import('./watched-timers.ts'));
beforeEach(() => watch());

const here = { host: '127.0.0.1', port: 80 };
const GRANTING = [{ read: 3 }, { send: '0500' }, { read: 10 }, { send: '05000001000000000000' }] as const;
const silent = () => startScripted({ stall: true });
const dead = async () => `socks5://127.0.0.1:${await freePort()}`;

test('a tunnel leaves no timer behind, and each wait is for the stagger', async () => {
  const [one, other, good] = [await silent(), await silent(), await startScripted(...GRANTING)];
  const group = proxyGroup(
    [one, other, good].map((server) => server.url('socks5')),
    { stagger: 50 },
  );
  (await connect(group, here, { timeout: 0 })).socket.destroy();
  expect(pending.size).toBe(0);
  expect(delays).toHaveLength(2);
  expect(Math.max(...delays)).toBeLessThanOrEqual(50);
});

test('the next member begins although performance.now() stands still, as with the fake timers of a test runner', async () => {
  const [one, other, good] = [await silent(), await silent(), await startScripted(...GRANTING)];
  const group = proxyGroup(
    [one, other, good].map((server) => server.url('socks5')),
    { stagger: 20 },
  );
  const clock = vi.spyOn(performance, 'now').mockReturnValue(performance.now());
  const { socket } = await connect(group, here, { timeout: 5000 }).finally(() => clock.mockRestore());
  socket.destroy();
  expect(good.connections).toHaveLength(1);
});

test('a tunnel leaves no timer behind that limited the time for its request', async () => {
  const servers = [await startScripted(...GRANTING), await silent()];
  const group = proxyGroup(
    servers.map((server) => server.url('socks5')),
    { stagger: 60_000 },
  );
  (await connect(group, here, { timeout: 10_000 })).socket.destroy();
  // The limit of the attempt, the share of a member, and a half of the time that was left.
  expect(delays.map((delay) => Math.ceil(delay / 1000))).toEqual([10, 4, 5]);
  expect(pending.size).toBe(0);
});

test('a failure of all members leaves no timer behind', async () => {
  const group = proxyGroup([await dead(), await dead(), await dead()], { stagger: 60_000 });
  await expect(connect(group, here)).rejects.toMatchObject({ code: 'ERR_SOCKS_PROXY_UNREACHABLE' });
  expect(pending.size).toBe(0);
});

test('the last member is waited for without a timer', async () => {
  const [one, good] = [await startScripted({ read: 3 }, { send: '05ff' }), await startProxy()];
  const group = proxyGroup([one.url('socks5'), good.url('socks5')], { stagger: 60_000 });
  const { port } = await startScripted();
  (await connect(group, { ...here, port }, { timeout: 0 })).socket.destroy();
  expect(delays).toEqual([60_000]);
  expect(pending.size).toBe(0);
});

test('no timer is set for a time that has passed, of which Node would warn', async () => {
  const { port } = await startScripted(...GRANTING);
  const group = proxyGroup([`socks5://one.test:${port}`, `socks5://two.test:${port}`], { stagger: 1 });
  /** Takes longer than the stagger, and the process can do nothing else. */
  const lookup: LookupFunction = (_host, _options, done) => {
    for (const until = performance.now() + 3; performance.now() < until; );
    done(null, '127.0.0.1', 4);
  };
  (await connect(group, here, { timeout: 0, lookup })).socket.destroy();
  expect(delays.length).toBeGreaterThan(0);
  expect(delays.filter((delay) => delay < 1)).toEqual([]);
});

test('an abort after the stagger, and before the next member has begun, begins none', async () => {
  const servers = [await silent(), await silent(), await silent()];
  const group = proxyGroup(
    servers.map((server) => server.url('socks5')),
    { stagger: 20 },
  );
  const abort = new AbortController();
  const opening = connect(group, here, { signal: abort.signal, timeout: 0 });
  await servers[0]?.connection();
  const { held, run } = holdImmediates();
  await expect.poll(() => held.length, { interval: 5 }).toBe(1);
  abort.abort('enough');
  await expect(opening).rejects.toBe('enough');
  run();
  expect(pending.size).toBe(0);
  expect(servers.map(({ connections }) => connections.length)).toEqual([1, 0, 0]);
});
