// Another circuit of tor for each request: node tor-per-request.js socks5://127.0.0.1:9050 http://example.onion/

import { randomUUID } from 'node:crypto';
import { SocksDispatcher } from '@socksify/undici';

const [proxy, url] = process.argv.slice(2);

// tor builds separate circuits for different credentials. `auth: 'required'` makes sure that they are used.
const dispatcher = new SocksDispatcher(
  () => Object.assign(new URL(proxy), { username: randomUUID(), password: 'isolated' }).href,
  { auth: 'required' },
);

for (let i = 0; i < 3; i++) {
  const response = await fetch(url, { dispatcher });
  console.log(response.status, await response.text());
}
await dispatcher.close();
