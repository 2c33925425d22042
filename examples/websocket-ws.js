// The ws package takes an http.Agent: node websocket-ws.js socks5://127.0.0.1:1080 ws://example.com/

import { SocksAgent } from '@socksify/agent';
import WebSocket from 'ws';

const [proxy, url] = process.argv.slice(2);
const socket = new WebSocket(url, { agent: new SocksAgent(proxy) });

socket.on('open', () => socket.send('hello'));
socket.on('message', (data) => {
  console.log(data.toString());
  socket.close();
});
socket.on('error', (error) => console.error(error.code, error.message));
