// What a connection or a request makes the process do, counted: these figures are the same however busy the machine is.
// One operation after the other, so that no count depends on which socket was ready first.

import { AGENTS, byAgent, byDispatcher, SOCKETS } from '../clients.js';
import { allocated, promises, ticks } from '../measure.js';

const COUNTS = { promises, ticks, KiB: allocated };
/** The clients of undici, each on the version that it works with. */
const DISPATCHERS = { exchange: 7, dispatcher: 7, Socks5ProxyAgent: 7, 'fetch-socks': 8 };

const candidates = {};
for (const [count, measure] of Object.entries(COUNTS)) {
  for (const name of Object.keys(SOCKETS)) {
    candidates[`${count}, new connection, socket: ${name}`] = async ({ socks, http }) => {
      const open = await SOCKETS[name](socks);
      return measure(async () => {
        const socket = await open(http);
        await new Promise((resolve) => socket.once('close', resolve).destroy());
      });
    };
  }
  for (const name of Object.keys(AGENTS)) {
    add(`http: ${name}`, measure, count, (socks, keepAlive) => byAgent(name, socks, { keepAlive }));
  }
  for (const [name, version] of Object.entries(DISPATCHERS)) {
    add(`undici: ${name}`, measure, count, (socks) => byDispatcher(version, name, socks));
  }
}
export default candidates;

function add(name, measure, count, make) {
  candidates[`${count}, new connection, ${name}`] = async ({ socks, http }) => {
    const { get } = await make(socks, false);
    return measure(() => get(`http://127.0.0.1:${http}/`, { reset: true }));
  };
  candidates[`${count}, kept-alive request, ${name}`] = async ({ socks, http }) => {
    const { get } = await make(socks, true);
    return measure(() => get(`http://127.0.0.1:${http}/`));
  };
}
