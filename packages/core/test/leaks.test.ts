// Very many handshakes leave nothing behind: no heap, no descriptor, no listener, no timer. Each kind in a process of
// its own, so that no other test's garbage is counted. Prints its figures.

import { fileURLToPath } from 'node:url';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { runProgram, startEcho } from '@socksify/support';
import type { TcpDestination } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

interface Figures {
  readonly count: number;
  readonly milliseconds: number;
  readonly firstHalf: number;
  readonly secondHalf: number;
  readonly descriptors: number;
  readonly listeners: number;
  readonly resources: readonly string[];
}

async function handshakes(count: number, kind: string, ...proxy: readonly string[]): Promise<Figures> {
  const script = fileURLToPath(new URL('handshakes.js', import.meta.url));
  const args = ['--expose-gc', script, String(count), kind, ...proxy];
  const { stdout, stderr } = await runProgram(process.execPath, args);
  expect(stderr).toBe('');
  return JSON.parse(stdout) as Figures;
}

function expectFlat(what: string, figures: Figures): void {
  const { count, milliseconds, firstHalf, secondHalf, descriptors, listeners, resources } = figures;
  const kilobytes = (bytes: number) => `${Math.round(bytes / 1024)} KiB`;
  console.log(
    `${count} ${what}: ${milliseconds} ms, heap ${kilobytes(firstHalf)} in the first half, ` +
      `${kilobytes(secondHalf)} in the second, ${descriptors} descriptors more`,
  );
  expect({ listeners, resources }).toEqual({ listeners: 0, resources: [] });
  expect(descriptors).toBeLessThanOrEqual(0);
  // One forgotten listener or timer for each handshake would be a hundred bytes at least.
  expect(secondHalf).toBeLessThan(Math.max(50 * (count / 2), 512 * 1024));
}

const LONG = 120_000;

test('50,000 tunnels through memory leave nothing behind', { timeout: LONG }, async () => {
  expectFlat('granted', await handshakes(50_000, 'granted'));
});

test('20,000 refusals through memory leave nothing behind', { timeout: LONG }, async () => {
  expectFlat('refused', await handshakes(20_000, 'refused'));
});

describe('connections over the loopback', () => {
  let server: SocksServer;
  let echo: TcpDestination;
  let proxy: readonly string[];
  beforeAll(async () => {
    server = await startServer({ names: { 'a.test': '127.0.0.1' } });
    echo = await startEcho();
    proxy = [server.url('socks5'), String(echo.port)];
  });
  afterAll(async () => {
    await server.close();
    await echo.close();
  });

  test.each(['granted', 'refused'])(
    'leave nothing behind when 2,000 are %s',
    { timeout: LONG },
    async (kind) => {
      expectFlat(`${kind} over the loopback`, await handshakes(2_000, kind, ...proxy));
      // Nor does the proxy keep a connection.
      await server.idle();
    },
  );
});
