// tor builds separate circuits for different credentials: node tor-isolation.js socks5://127.0.0.1:9050 http://example.onion/

import { randomUUID } from 'node:crypto';
import { SocksDispatcher } from '@socksify/undici';

const [proxy, url] = process.argv.slice(2);

/** One dispatcher for each identity. `auth: 'required'` makes sure that the credentials are used. */
function identity() {
  const tor = Object.assign(new URL(proxy), { username: randomUUID(), password: 'isolated' });
  return new SocksDispatcher(tor.href, { auth: 'required' });
}

for (const dispatcher of [identity(), identity()]) {
  const response = await fetch(url, { dispatcher });
  console.log(response.status, await response.text());
  await dispatcher.close();
}
