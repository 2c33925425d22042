// One connection after the other, each with one request: of sockets, of Node's http and of undici.

import { AGENTS, byAgent, byDispatcher, SOCKETS } from '../clients.js';
import { cpu } from '../measure.js';

/** As in the usual fan-out of a crawler, and as many as a server takes of handshakes over TLS. */
const [PARALLEL, PARALLEL_TLS] = [64, 16];
const REQUEST = 'GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n';

const candidates = {};
for (const [name, make] of Object.entries(SOCKETS)) {
  candidates[`socket: ${name}`] = async ({ socks, http }) => {
    const open = await make(socks);
    return cpu(async () => verify(await converse(await open(http))), PARALLEL);
  };
}
for (const name of Object.keys(AGENTS)) {
  candidates[`http: ${name}`] = async ({ socks, http }) => {
    const { get } = await byAgent(name, socks);
    return cpu(async () => verify(await get(`http://127.0.0.1:${http}/`)), PARALLEL);
  };
  candidates[`https: ${name}`] = async ({ socks, https }) => {
    const { get } = await byAgent(name, socks);
    return cpu(async () => verify(await get(`https://127.0.0.1:${https}/`)), PARALLEL_TLS);
  };
}
for (const version of [7, 8]) {
  for (const name of ['exchange', 'dispatcher', 'fetch-socks', 'Socks5ProxyAgent']) {
    candidates[`undici ${version}, http: ${name}`] = async ({ socks, http }) => {
      const { get } = await byDispatcher(version, name, socks);
      const url = `http://127.0.0.1:${http}/`;
      return cpu(async () => verify(await get(url, { reset: true })), PARALLEL);
    };
    candidates[`undici ${version}, https: ${name}`] = async ({ socks, https }) => {
      const { get } = await byDispatcher(version, name, socks);
      const url = `https://127.0.0.1:${https}/`;
      return cpu(async () => verify(await get(url, { reset: true })), PARALLEL_TLS);
    };
  }
}
export default candidates;

function converse(socket) {
  return new Promise((resolve, reject) => {
    let text = '';
    socket.on('data', (data) => (text += data.latin1Slice()));
    socket.on('end', () => resolve(text)).on('error', reject);
    socket.write(REQUEST);
  });
}

function verify(answer) {
  if (!answer.endsWith('hello')) throw new Error(`the answer is ${JSON.stringify(answer)}`);
}
