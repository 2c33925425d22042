// got takes an agent for each protocol, and here one for both: node got.js socks5://127.0.0.1:1080 https://example.com/

import { SocksAgent } from '@socksify/agent';
import got from 'got';

const [proxy, url] = process.argv.slice(2);
const agent = new SocksAgent(proxy, { keepAlive: true });
const client = got.extend({ agent: { http: agent, https: agent } });

const { statusCode, body } = await client.get(url);
console.log(statusCode, body);

agent.destroy();
