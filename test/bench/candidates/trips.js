// Round trips up to the first byte of the answer, behind a relay that delays each direction, with standby connections
// that are open already. A direct connection takes two: the dial, and the request with its answer.

import http from 'node:http';
import { setTimeout as wait } from 'node:timers/promises';
import { SocksAgent } from '@socksify/agent';
import { SocksClient } from '@socksify/core';
import { SocksDispatcher } from '@socksify/undici';

const STANDBY = 4;
const ROUND_TRIPS_TO_FILL = 8;

const candidates = {
  agent({ delayed, delay, http: port }) {
    return first(delay, new SocksAgent(route(delayed), { standby: STANDBY }), port);
  },
  'dispatcher, fetch'({ delayed, delay, http: port }) {
    const dispatcher = new SocksDispatcher(route(delayed), { standby: STANDBY });
    const url = `http://127.0.0.1:${port}/`;
    return trips(delay, async () => {
      const response = await fetch(url, { dispatcher, headers: { connection: 'close' } });
      return () => response.text();
    });
  },
  core({ delayed, delay, http: port }) {
    const client = new SocksClient(route(delayed), { standby: STANDBY });
    return trips(delay, async () => {
      const { socket } = await client.connect({ host: '127.0.0.1', port });
      socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
      await new Promise((resolve, reject) => socket.once('data', resolve).on('error', reject));
      return () => socket.destroy();
    });
  },
};
export default candidates;

function route(port) {
  return `socks5://127.0.0.1:${port}`;
}

function first(delay, agent, port) {
  return trips(delay, async () => {
    const options = { agent, host: '127.0.0.1', port };
    const response = await new Promise((resolve, reject) => http.get(options, resolve).on('error', reject));
    return () => response.resume();
  });
}

/** A first run opens the standby connections, which are kept for some seconds only; the figure is that of the second. */
function trips(delay, start) {
  const run = async () => {
    const started = performance.now();
    const finish = await start();
    const took = performance.now() - started;
    await finish();
    return took / (2 * delay);
  };
  return async () => {
    await run();
    await wait(2 * delay * ROUND_TRIPS_TO_FILL);
    return run();
  };
}
