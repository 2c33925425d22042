// superagent takes an http.Agent: node superagent.js socks5://127.0.0.1:1080 https://example.com/

import { SocksAgent } from '@socksify/agent';
import superagent from 'superagent';

const [proxy, url] = process.argv.slice(2);

const response = await superagent.get(url).agent(new SocksAgent(proxy)).buffer(true);
console.log(response.status, response.text);
