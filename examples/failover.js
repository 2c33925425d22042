// The second proxy when the first one does not answer, and which ones were tried: node failover.js socks5://one socks5://two https://example.com/

import http from 'node:http';
import https from 'node:https';
import { SocksAgent } from '@socksify/agent';
import { proxyGroup } from '@socksify/core';

const proxies = process.argv.slice(2);
const url = proxies.pop();
const agent = new SocksAgent(proxyGroup(proxies), { connectTimeout: 10_000 });

const { get } = url.startsWith('https:') ? https : http;
const request = get(url, { agent }, (response) => response.pipe(process.stdout));
request.on('error', ({ message, errors = [] }) => {
  for (const { proxy, code, phase } of errors) console.log(`${proxy}: ${code} in ${phase}`);
  console.log(message);
});
