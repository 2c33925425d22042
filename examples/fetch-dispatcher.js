// Node's own fetch, one request at a time: node fetch-dispatcher.js socks5://127.0.0.1:1080 https://example.com/

import { SocksDispatcher } from '@socksify/undici';

const [proxy, url] = process.argv.slice(2);
const dispatcher = new SocksDispatcher(proxy);

const response = await fetch(url, { dispatcher });
console.log(response.status, await response.text());

await dispatcher.close();
