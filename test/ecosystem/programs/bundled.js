// The program that is bundled: agent, dispatcher and environment in one. Prints the answer of each.

import http from 'node:http';
import { text } from 'node:stream/consumers';
import { SocksAgent } from '@socksify/agent';
import { proxyFromEnv } from '@socksify/env';
import { setGlobalDispatcher, SocksDispatcher } from '@socksify/undici';

async function main(url) {
  const agent = new SocksAgent(proxyFromEnv());
  const response = await new Promise((resolve, reject) => {
    http.get(url, { agent }, resolve).on('error', reject);
  });
  console.log(`agent ${response.statusCode} ${await text(response)}`);

  const dispatcher = new SocksDispatcher(proxyFromEnv());
  const fetched = await fetch(url, { dispatcher });
  console.log(`dispatcher ${fetched.status} ${await fetched.text()}`);

  const undo = setGlobalDispatcher(new SocksDispatcher(proxyFromEnv()));
  const again = await fetch(url);
  console.log(`global ${again.status} ${await again.text()}`);
  const cause = await fetch('http://unknown.test/').catch((error) => error.cause);
  console.log(`${cause.name} ${cause.code}`);
  undo();
}

main(process.argv[2]).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
