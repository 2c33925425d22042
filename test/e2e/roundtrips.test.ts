// What a tunnel costs in round trips, on real servers behind a relay that delays each direction.

import { setTimeout as wait } from 'node:timers/promises';
import { startEcho } from '@socksify/support';
import type { TcpDestination } from '@socksify/support';
import { startRelay, startServer } from '@socksify/server';
import { SocksClient } from '@socksify/core';
import type { ClientOptions, Tunnel } from '@socksify/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mustSkip } from './interop/servers.ts';
import type { InteropServer } from './interop/servers.ts';
import { dante, danteUserpass } from './interop/servers/dante.ts';
import { microsocks, microsocksUserpass } from './interop/servers/microsocks.ts';
import { openssh } from './interop/servers/openssh.ts';

/** Milliseconds in each direction: much more than anything else here takes. */
const DELAY = 75;

interface Proxy {
  readonly port: number;
  readonly credentials?: { readonly username: string; readonly password: string };
  readonly stop: () => Promise<void>;
}

const real = [dante, danteUserpass, microsocks, microsocksUserpass, openssh].filter(
  (server) => !mustSkip(server),
);
const alice = { username: 'alice', password: 'secret' };
const SERVERS: readonly (Pick<InteropServer, 'name'> & { readonly start: () => Promise<Proxy> })[] = [
  ...real,
  {
    name: 'reference server',
    start: async () => {
      const server = await startServer();
      return { port: server.port, stop: () => server.close() };
    },
  },
  {
    name: 'reference server with password',
    start: async () => {
      const server = await startServer({ users: { [alice.username]: alice.password } });
      return { port: server.port, credentials: alice, stop: () => server.close() };
    },
  },
];

let echo: TcpDestination;
beforeAll(async () => {
  echo = await startEcho();
});
afterAll(() => echo.close());

async function roundTrips(open: () => Promise<Tunnel>): Promise<number> {
  const started = performance.now();
  const { socket } = await open();
  const trips = (performance.now() - started) / (2 * DELAY);
  socket.destroy();
  return trips;
}

describe.each(SERVERS)('a tunnel through $name', ({ name, start }) => {
  let server: Proxy;
  let relay: Awaited<ReturnType<typeof startRelay>>;
  beforeAll(async () => {
    server = await start();
    relay = await startRelay({ to: server.port, delay: DELAY });
  });
  afterAll(async () => {
    await relay.close();
    await server.stop();
  });

  async function measured(
    options: ClientOptions,
    run: (trips: () => Promise<number>) => Promise<void>,
  ): Promise<void> {
    const { credentials } = server;
    const proxy = {
      version: 5,
      host: '127.0.0.1',
      port: relay.port,
      dns: 'remote',
      ...(credentials && { credentials }),
    } as const;
    const client = new SocksClient(proxy, options);
    const destination = { host: '127.0.0.1', port: echo.port };
    await run(() => roundTrips(() => client.connect(destination)));
    await client.close();
  }

  const lockStep = name.includes('password') ? 3 : 2;

  /** The best of up to three: whatever else the machine does only adds to it. */
  const expectTrips = async (measure: () => Promise<number>, trips: number): Promise<void> => {
    let least = Infinity;
    for (let tries = 0; tries < 3 && least >= trips + 0.8; tries++) least = Math.min(least, await measure());
    console.log(`${name}: ${least.toFixed(2)} round trips`);
    expect(least).toBeGreaterThan(trips - 0.2);
    expect(least).toBeLessThan(trips + 0.8);
  };

  test(`takes ${lockStep} round trips message by message`, () =>
    measured({}, (trips) => expectTrips(trips, lockStep)));

  test('takes one round trip from standby', () =>
    measured({ standby: 2 }, async (trips) => {
      await trips();
      await expectTrips(async () => {
        await expect.poll(() => relay.accepted, { interval: 10 }).toBeGreaterThanOrEqual(3);
        // The relay delays the greeting too: what is on standby has been there for some round trips.
        await wait(2 * DELAY * (lockStep + 0.5));
        return trips();
      }, 1);
    }));

  if (name.startsWith('microsocks')) {
    test('does not answer pipelining, still gives a tunnel, and is remembered', () =>
      measured({ pipeline: true }, async (trips) => {
        expect(await trips()).toBeGreaterThan(lockStep);
        await expectTrips(trips, lockStep);
      }));
  } else {
    test('takes one round trip when pipelined', () =>
      measured({ pipeline: true }, (trips) => expectTrips(trips, 1)));
  }
});
