// One agent for http and https: node http-agent.js socks5://127.0.0.1:1080 http://example.com/ https://example.com/

import http from 'node:http';
import https from 'node:https';
import { SocksAgent } from '@socksify/agent';

const [proxy, ...urls] = process.argv.slice(2);
const agent = new SocksAgent(proxy, { keepAlive: true });

for (const url of urls) {
  const { get } = url.startsWith('https:') ? https : http;
  get(url, { agent }, (response) => {
    console.log(url, response.statusCode);
    response.pipe(process.stdout);
  }).on('error', (error) => console.error(error.code, error.message));
}
