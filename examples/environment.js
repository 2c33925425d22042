// The environment names the proxy: SOCKS_PROXY=socks5://127.0.0.1:1080 NO_PROXY=localhost node environment.js https://example.com/

import https from 'node:https';
import { SocksAgent } from '@socksify/agent';
import { proxyFromEnv } from '@socksify/env';
import { SocksDispatcher } from '@socksify/undici';

const [url] = process.argv.slice(2);
const agent = new SocksAgent(proxyFromEnv());
const dispatcher = new SocksDispatcher(proxyFromEnv());

https.get(url, { agent }, (response) => response.pipe(process.stdout));
console.log(await (await fetch(url, { dispatcher })).text());
