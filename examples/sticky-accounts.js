// One proxy for each account: node sticky-accounts.js socks5://one socks5://two socks5://three https://example.com/

import { AsyncLocalStorage } from 'node:async_hooks';
import { proxyGroup } from '@socksify/core';
import { SocksDispatcher } from '@socksify/undici';

const proxies = process.argv.slice(2);
const url = proxies.pop();
const account = new AsyncLocalStorage();
const group = proxyGroup(proxies);
const dispatcher = new SocksDispatcher(() => group.select(account.getStore()));

/** No two accounts share a connection or a TLS session, and each one keeps its proxy as long as that answers. */
async function visit() {
  const response = await fetch(url, { dispatcher });
  if (response.status !== 429) return response.text();
  throw new Error('banned: take another key for this account, such as alice#2');
}

const names = ['alice', 'bob', 'alice', 'bob'];
const pages = await Promise.all(names.map((name) => account.run(name, visit)));
for (const [i, page] of pages.entries()) console.log(names[i], page);
await dispatcher.close();
