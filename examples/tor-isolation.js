// Tor builds separate circuits for separate credentials: node tor-isolation.js 127.0.0.1:9050 http://example.onion/

import { randomUUID } from 'node:crypto';
import { SocksDispatcher } from '@socksify/undici';

const [tor, url] = process.argv.slice(2);

/** A dispatcher of its own for each identity; `required`, so that the credentials cannot go unused. */
function identity() {
  return new SocksDispatcher(`socks5h://${randomUUID()}:isolated@${tor}`, { auth: 'required' });
}

for (const dispatcher of [identity(), identity()]) {
  const response = await fetch(url, { dispatcher });
  console.log(response.status, await response.text());
  await dispatcher.close();
}
