// One request after the other over connections that are kept alive.

import { byAgent, byDispatcher } from '../clients.js';
import { cpu } from '../measure.js';
import { SocksDispatcher } from '@socksify/undici';

const PARALLEL = 8;
const POOL = { keepAlive: true, maxSockets: PARALLEL };

const candidates = {};
for (const scheme of ['http', 'https']) {
  for (const name of ['exchange', 'agent', 'socks-proxy-agent']) {
    candidates[`${scheme}: ${name}`] = ({ socks, [scheme]: port }) =>
      requests(byAgent(name, socks, POOL), `${scheme}://127.0.0.1:${port}/`);
  }
}
for (const version of [7, 8]) {
  for (const name of ['exchange', 'dispatcher', 'fetch-socks', 'Socks5ProxyAgent']) {
    candidates[`undici ${version}: ${name}`] = ({ socks, http }) =>
      requests(byDispatcher(version, name, socks, { connections: PARALLEL }), `http://127.0.0.1:${http}/`);
  }
}
candidates['fetch: plain'] = ({ relayHttp }) => fetches(undefined, relayHttp);
candidates['fetch: dispatcher'] = ({ socks, http }) =>
  fetches(new SocksDispatcher(`socks5://127.0.0.1:${socks}`), http);
export default candidates;

async function requests(client, url) {
  const { get } = await client;
  return cpu(async () => verify(await get(url)), PARALLEL);
}

function fetches(dispatcher, port) {
  const url = `http://127.0.0.1:${port}/`;
  return cpu(async () => {
    const response = await fetch(url, { dispatcher });
    verify(await response.text());
  }, PARALLEL);
}

function verify(answer) {
  if (answer !== 'hello') throw new Error(`the answer is ${JSON.stringify(answer)}`);
}
