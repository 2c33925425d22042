// Every fetch of the program: node fetch-global.js socks5://127.0.0.1:1080 https://example.com/

import { setGlobalDispatcher, SocksDispatcher } from '@socksify/undici';

const [proxy, url] = process.argv.slice(2);
const undo = setGlobalDispatcher(new SocksDispatcher(proxy));

const response = await fetch(url);
console.log(response.status, await response.text());

undo(); // from here on, fetch connects directly again
