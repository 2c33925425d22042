// Round trips up to the first byte of an answer, with standby connections to a proxy that wants a password. A relay that
// delays each direction counts them. The result is the largest number among the second request of a program, requests at
// once, and requests one after the other.

import { CERTIFICATE as ca, countTrips, tripsByAgent, tripsByDispatcher } from '@socksify/support';
import { startRelay } from '@socksify/server';
import { SocksAgent } from '@socksify/agent';
import { SocksDispatcher } from '@socksify/undici';

/** Milliseconds in each direction. */
const DELAY = 20;
const standby = 8;

const candidates = {};
for (const protocol of ['http', 'https']) {
  candidates[`${protocol}: plain`] = (ports) =>
    trips(ports[protocol], (relay) => ({
      program: tripsByAgent(protocol, false),
      url: `${protocol}://127.0.0.1:${relay}/`,
    }));
  const url = (ports) => `${protocol}://127.0.0.1:${ports[protocol]}/`;
  candidates[`${protocol}: agent`] = (ports) =>
    trips(ports.guarded, (relay) => ({
      program: tripsByAgent(
        protocol,
        new SocksAgent(`socks5://user:password@127.0.0.1:${relay}`, { standby, ca }),
      ),
      url: url(ports),
    }));
  candidates[`${protocol}: dispatcher, fetch`] = (ports) =>
    trips(ports.guarded, (relay) => ({
      program: tripsByDispatcher(
        protocol,
        new SocksDispatcher(`socks5://user:password@127.0.0.1:${relay}`, { standby, connect: { ca } }),
      ),
      url: url(ports),
    }));
}
export default candidates;

async function trips(port, start) {
  const relay = await startRelay({ to: port, delay: DELAY });
  return async () => {
    const { program, url } = start(relay.port);
    const { second, burst, series } = await countTrips(program, relay, url);
    return Math.max(second, ...burst, ...series);
  };
}
