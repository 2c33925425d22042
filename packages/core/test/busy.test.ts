// A process that is too busy to look at its sockets must not take a proxy for a silent one: bytes that came meanwhile
// count.

import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { startEcho, turns as wait } from '@socksify/support';
import type { TcpDestination } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect } from '../src/index.ts';
import type { Tunnel } from '../src/index.ts';
import { runCore } from './core-program.ts';
import { startScripted } from './proxies.ts';

let server: SocksServer;
let echo: TcpDestination;
let port: number;
beforeAll(async () => {
  [server, echo] = await Promise.all([startServer({ users: { u: 'p' } }), startEcho()]);
  ({ port } = echo);
});
afterAll(() => Promise.all([server.close(), echo.close()]));

function block(milliseconds: number): void {
  for (const until = performance.now() + milliseconds; performance.now() < until; );
}

async function expectTunnel(attempt: Promise<Tunnel>): Promise<void> {
  const { socket } = await attempt;
  expect(socket.readyState).toBe('open');
  socket.destroy();
}

const url = () => server.url('socks5', { username: 'u', password: 'p' });

describe('a loop that is blocked for longer than the time limit', () => {
  // The number of turns before it is blocked, so that it is in every step of the handshake.
  const moments = [0, 1, 2, 4, 8];

  test.each(moments)('fails nothing after %d turns, with a proxy in another process', async (turns) => {
    const source = `
      const [, url, port, turns] = process.argv;
      const block = (ms) => { for (const until = performance.now() + ms; performance.now() < until;); };
      const attempts = Array.from({ length: 5 }, () => core.connect(url, { host: '127.0.0.1', port: Number(port) }, { timeout: 600 }));
      for (let i = 0; i < Number(turns); i++) await new Promise((resolve) => setImmediate(resolve));
      block(1200);
      const results = await Promise.allSettled(attempts);
      for (const { value } of results) value?.socket.destroy();
      console.log(results.map(({ status, reason }) => reason?.code ?? status).join());
    `;
    const { stdout } = await runCore(source, [url(), port, turns]);
    expect(stdout.trim()).toBe(Array.from({ length: 5 }, () => 'fulfilled').join(','));
  });

  test.each(moments)('fails nothing after %d turns, with a proxy in the same process', async (turns) => {
    const attempt = connect(url(), { host: '127.0.0.1', port }, { timeout: 300 });
    await wait(turns);
    block(600);
    await expectTunnel(attempt);
  });

  test('fails nothing while a selector or a look-up blocks it', async () => {
    const select = () => {
      block(300);
      return url();
    };
    await expectTunnel(connect(select, { host: '127.0.0.1', port }, { timeout: 150 }));
    const lookup = (_host: string, _options: object, done: (error: null, address: string) => void) => {
      block(300);
      done(null, '127.0.0.1');
    };
    const local = {
      version: 5,
      host: '127.0.0.1',
      port: server.port,
      dns: 'local',
      credentials: { username: 'u', password: 'p' },
    } as const;
    await expectTunnel(connect(local, { host: 'a.test', port }, { timeout: 150, lookup }));
  });

  test('fails a proxy that stays silent, one time limit later', async () => {
    const silent = await startScripted({ read: 3 }, { stall: true });
    const attempt = connect(silent.url('socks5'), { host: '127.0.0.1', port }, { timeout: 100 });
    const failed = attempt.catch((error: unknown) => error);
    await silent.connection();
    block(500);
    const free = performance.now();
    expect(await failed).toMatchObject({ code: 'ERR_SOCKS_TIMEOUT', phase: 'greeting' });
    // A second time limit at most, however much time was lost.
    expect(performance.now() - free).toBeLessThan(500);
  });

  test('is the only reason for extra time', async () => {
    const silent = await startScripted({ read: 3 }, { stall: true });
    const started = performance.now();
    const attempt = connect(silent.url('socks5'), { host: '127.0.0.1', port }, { timeout: 200 });
    await expect(attempt).rejects.toMatchObject({ code: 'ERR_SOCKS_TIMEOUT' });
    expect(performance.now() - started).toBeGreaterThan(190);
  });
});
