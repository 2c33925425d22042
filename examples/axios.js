// axios takes one agent for both protocols; its own proxy support is off: node axios.js socks5://127.0.0.1:1080 https://example.com/

import { SocksAgent } from '@socksify/agent';
import axios from 'axios';

const [proxy, url] = process.argv.slice(2);
const agent = new SocksAgent(proxy, { keepAlive: true });
const client = axios.create({ httpAgent: agent, httpsAgent: agent, proxy: false });

const { status, data } = await client.get(url);
console.log(status, data);

agent.destroy();
