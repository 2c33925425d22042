// The second proxy when the first one does not answer, and which ones were tried: node failover.js http://a/ socks5://one socks5://two

import { get } from 'node:http';
import { SocksAgent } from '@socksify/agent';
import { proxyGroup } from '@socksify/core';

const [url, ...proxies] = process.argv.slice(2);
const agent = new SocksAgent(proxyGroup(proxies), { connectTimeout: 10_000 });

const request = get(url, { agent }, (response) => response.pipe(process.stdout));
request.on('error', ({ message, errors = [] }) => {
  for (const { proxy, code, phase } of errors) console.log(`${proxy}: ${code} in ${phase}`);
  console.log(message);
});
