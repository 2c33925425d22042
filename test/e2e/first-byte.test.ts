// With standby connections, the first byte comes after as many round trips as without a proxy: on real servers behind a
// relay that delays each direction, for the second request of a program and in bursts.

import { countTrips, startSite, tripsByAgent } from '@socksify/support';
import type { Site } from '@socksify/support';
import { startRelay, startServer } from '@socksify/server';
import type { Relay } from '@socksify/server';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DELAY, EXPECTED, PROGRAMS } from './first-byte.ts';
import { mustSkip, SERVERS } from './interop/servers.ts';
import type { InteropServer, RunningServer } from './interop/servers.ts';

type Started = Pick<RunningServer, 'port' | 'stop' | 'credentials' | 'tls'>;

interface Server extends Pick<InteropServer, 'name'> {
  readonly supports: { readonly 4: boolean };
  readonly start: () => Promise<Started>;
}

const alice = { username: 'alice', password: 'secret' };
async function reference(credentials?: typeof alice): Promise<Started> {
  const server = await startServer(
    credentials && { users: { [credentials.username]: credentials.password } },
  );
  return { port: server.port, stop: () => server.close(), ...(credentials && { credentials }) };
}

const usable: readonly Server[] = [
  // tor without a network opens no tunnel: tor-network.test.ts has a network.
  ...SERVERS.filter((server) => server.traits.connects && !mustSkip(server)),
  { name: 'the reference server', supports: { 4: true }, start: () => reference() },
  { name: 'the reference server with a password', supports: { 4: false }, start: () => reference(alice) },
];

let site: Site;
const running = new Map<Server, { readonly server: Started; readonly relay: Relay }>();

beforeAll(async () => {
  site = await startSite();
  await Promise.all(
    usable.map(async (one) => {
      const server = await one.start();
      running.set(one, { server, relay: await startRelay({ to: server.port, delay: DELAY }) });
    }),
  );
});
afterAll(async () => {
  for (const { server, relay } of running.values()) {
    await relay.close();
    await server.stop();
  }
  await site.close();
});

describe.each(['http', 'https'] as const)('%s without a proxy', (protocol) => {
  test(`takes ${EXPECTED[protocol].second} round trips to the first byte`, async () => {
    const relay = await startRelay({ to: site[protocol], delay: DELAY });
    const url = `${protocol}://127.0.0.1:${relay.port}/`;
    expect(await countTrips(tripsByAgent(protocol, false), relay, url)).toEqual(EXPECTED[protocol]);
    await relay.close();
  });
});

const routes = usable.flatMap((server) =>
  ([5, 4] as const)
    .filter((version) => version === 5 || server.supports[version])
    .map((version) => ({ server, version, name: `SOCKS${version} through ${server.name}` })),
);

// On a busy machine a connection may not be replaced in time, so a test that fails is repeated.
describe.concurrent.each(routes)(
  'with $name, the first byte comes as soon as without a proxy',
  { retry: 2 },
  (one) => {
    test.each(Object.entries(PROGRAMS))('%s', async (_name, start) => {
      const { server, relay } = running.get(one.server) ?? expect.unreachable();
      const { credentials, tls } = server;
      const route = { version: one.version, host: '127.0.0.1', port: relay.port, dns: 'remote' } as const;
      const program = start({ ...route, ...(credentials && { credentials }), ...(tls && { tls }) });
      const { protocol } = program;
      const counted = await countTrips(program, relay, `${protocol}://127.0.0.1:${site[protocol]}/`);
      expect(counted).toEqual(EXPECTED[protocol]);
    });
  },
);
