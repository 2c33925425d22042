// Three requests to a name that only the proxy can resolve, and for each what the proxy saw and what came back.

import { lookup } from 'node:dns/promises';
import http from 'node:http';
import https from 'node:https';
import { text } from 'node:stream/consumers';
import { SocksAgent } from '@socksify/agent';
import { proxyFromEnv } from '@socksify/env';
import { CERTIFICATE as ca, startSite } from '@socksify/support';
import { printEntry, startServer } from '@socksify/server';
import { SocksDispatcher } from '@socksify/undici';

const ON_THE_WIRE = { '4a': 'the name, as in SOCKS4A', 5: 'the name, as ATYP 03' };

const web = await startSite();
const alice = { username: 'alice', password: 'secret' };
const proxy = await startServer({
  names: { 'origin.test': '127.0.0.1' },
  users: { [alice.username]: alice.password },
  allowAnonymous: true,
});
const resolved = await lookup('origin.test').catch(({ code }) => code);
console.log(`this machine looks up origin.test: ${resolved.address ?? resolved}`);

await show('http over SOCKS4A', async () => {
  const agent = new SocksAgent(proxy.url('socks4a'));
  return get(http, `http://origin.test:${web.http}/`, agent);
});

await show('https over SOCKS5 with a password', async () => {
  const agent = new SocksAgent(proxy.url('socks5', alice), { ca });
  return get(https, `https://origin.test:${web.https}/`, agent);
});

await show('fetch by SOCKS_PROXY', async () => {
  process.env.SOCKS_PROXY = proxy.url('socks5');
  const dispatcher = new SocksDispatcher(proxyFromEnv());
  const response = await fetch(`http://origin.test:${web.http}/`, { dispatcher });
  const body = await response.text();
  await dispatcher.close();
  return `${response.status} ${body}`;
});

await proxy.close();
await web.close();

async function show(title, request) {
  console.log(`\n${title}`);
  const answer = await request();
  const [entry, ...others] = proxy.log.splice(0);
  if (others.length > 0 || entry?.atyp !== 'name')
    throw new Error('the proxy got no request, several requests, or one without the name');
  console.log(`  the proxy saw   ${printEntry(entry)}  (${ON_THE_WIRE[entry.form]})`);
  console.log(`  what came back  ${answer}`);
}

function get(module, url, agent) {
  return new Promise((resolve, reject) => {
    const answer = async (response) => resolve(`${response.statusCode} ${await text(response)}`);
    module.get(url, { agent }, (response) => answer(response).catch(reject)).on('error', reject);
  });
}
