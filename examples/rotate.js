// Each request through the next proxy; those that do not answer are passed over: node rotate.js socks5://one socks5://two https://example.com/

import { proxyGroup } from '@socksify/core';
import { SocksDispatcher } from '@socksify/undici';

const proxies = process.argv.slice(2);
const url = proxies.pop();
const group = proxyGroup(proxies, { order: 'rotate' });
const dispatcher = new SocksDispatcher(group);

for (let i = 0; i < 6; i++) {
  const response = await fetch(url, { dispatcher });
  console.log(response.status, await response.text());
}
await dispatcher.close();

for (const { proxies: hops, state, error } of group.state()) {
  console.log(hops.join(' > '), state, error?.code ?? '');
}
