// What an idle tunnel holds, and what a connection or an origin leaves behind once it is over.

import { byAgent, byDispatcher, SOCKETS } from '../clients.js';
import { kept, memory } from '../measure.js';

const PARALLEL = 16;

const candidates = {};
for (const name of ['exchange', 'core']) {
  candidates[`socket: ${name}`] = async ({ socks, http }) => {
    const open = await SOCKETS[name](socks);
    let sockets;
    return memory(
      async (size) => (sockets = await Promise.all(Array.from({ length: size }, () => open(http)))),
      () => ended(sockets.splice(0)),
    );
  };
}
for (const name of ['exchange', 'agent']) {
  candidates[`http: ${name}`] = ({ socks, http }) =>
    pool(() => byAgent(name, socks, { keepAlive: true, maxFreeSockets: Infinity }), http);
}
for (const name of ['exchange', 'dispatcher']) {
  candidates[`undici: ${name}`] = ({ socks, http }) =>
    pool(() => byDispatcher(7, name, socks, { keepAliveTimeout: 60_000 }), http);
}
candidates['finished: core'] = async ({ socks, http }) => {
  const open = SOCKETS.core(socks);
  return kept(async () => ended([await open(http)]), PARALLEL);
};
candidates['finished: agent'] = async ({ socks, http }) => {
  const { get } = await byAgent('agent', socks);
  return kept(() => get(`http://127.0.0.1:${http}/`), PARALLEL);
};
candidates['finished: dispatcher'] = async ({ socks, http }) => {
  const { get } = await byDispatcher(7, 'dispatcher', socks);
  return kept(() => get(`http://127.0.0.1:${http}/`, { reset: true }), PARALLEL);
};
candidates['origins: agent'] = async ({ socks, http, names }) => {
  const { get } = await byAgent('agent', socks);
  let number = 0;
  return kept(() => get(`http://site-${number++ % names}.test:${http}/`), PARALLEL);
};
candidates['origins: dispatcher'] = async ({ socks, http, names }) => {
  const { get } = await byDispatcher(7, 'dispatcher', socks);
  let number = 0;
  return kept(() => get(`http://site-${number++ % names}.test:${http}/`, { reset: true }), PARALLEL);
};
export default candidates;

/** Requests that are all in progress at once leave a pool of as many idle tunnels. */
async function pool(make, port) {
  const url = `http://127.0.0.1:${port}/`;
  let client;
  return memory(
    async (size) => {
      client = await make();
      await Promise.all(Array.from({ length: size }, () => client.get(url)));
    },
    () => client.close(),
  );
}

function ended(sockets) {
  return Promise.all(
    sockets.map((socket) => new Promise((resolve) => socket.once('close', resolve).destroy())),
  );
}
