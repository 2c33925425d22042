// node-fetch 3 takes an http.Agent: node node-fetch.js socks5://127.0.0.1:1080 https://example.com/

import { SocksAgent } from '@socksify/agent';
import fetch from 'node-fetch';

const [proxy, url] = process.argv.slice(2);
const agent = new SocksAgent(proxy);

const response = await fetch(url, { agent });
console.log(response.status, await response.text());
