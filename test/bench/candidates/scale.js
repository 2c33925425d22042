// What a connection costs while many others are open, and after requests to many origins.

import { byAgent, byDispatcher, SOCKETS } from '../clients.js';
import { cpu, repeat } from '../measure.js';

const PARALLEL = 16;
const [TUNNELS, ORIGINS] = [4096, 2000];

const candidates = {};
for (const tunnels of [1, TUNNELS]) {
  candidates[`${tunnels} tunnels: core`] = async ({ socks, http }) => {
    const open = SOCKETS.core(socks);
    const held = [];
    await repeat(async () => held.push(await open(http)), tunnels, PARALLEL);
    return cpu(async () => {
      const socket = await open(http);
      await new Promise((resolve) => socket.once('close', resolve).destroy());
    }, PARALLEL);
  };
}
for (const origins of [1, ORIGINS]) {
  candidates[`${origins} origins: agent`] = ({ socks, http }) =>
    afterOrigins(byAgent('agent', socks, { keepAlive: true }), origins, http);
  candidates[`${origins} origins: dispatcher`] = ({ socks, http }) =>
    afterOrigins(byDispatcher(7, 'dispatcher', socks, { keepAliveTimeout: 600_000 }), origins, http);
}
export default candidates;

/** One request to each origin, so that the pool has an idle tunnel to each; then requests to one of them. */
async function afterOrigins(made, origins, port) {
  const { get } = await made;
  let number = 0;
  await repeat(() => get(`http://site-${number++}.test:${port}/`), origins, PARALLEL);
  return cpu(() => get(`http://site-0.test:${port}/`), PARALLEL);
}
