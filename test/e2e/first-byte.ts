// The programs whose round trips are counted, and what is expected of them.

import { SocksAgent } from '@socksify/agent';
import type { ProxyLike } from '@socksify/core';
import { SocksDispatcher } from '@socksify/undici';
import { CERTIFICATE as ca, tripsByAgent, tripsByDispatcher } from '@socksify/support';
import type { Trips, TripsProgram } from '@socksify/support';

/** Milliseconds in each direction. */
export const DELAY = 20;
/** Twice as many as come at once: a burst may begin while the connections for the one before it are being replaced. */
const standby = 8;

export const PROGRAMS: Readonly<Record<string, (route: ProxyLike) => TripsProgram>> = {
  'SocksAgent, http': (route) => tripsByAgent('http', new SocksAgent(route, { standby })),
  'SocksAgent, https': (route) => tripsByAgent('https', new SocksAgent(route, { standby })),
  'SocksDispatcher, http': (route) => tripsByDispatcher('http', new SocksDispatcher(route, { standby })),
  'SocksDispatcher, https': (route) =>
    tripsByDispatcher('https', new SocksDispatcher(route, { standby, connect: { ca } })),
};

/** Without a proxy: the dial, TLS to the site, the request. */
export const EXPECTED = { http: all(2), https: all(3) } as const;

function all(trips: number): Trips {
  return { second: trips, burst: [trips, trips, trips, trips], series: [trips, trips, trips] };
}
