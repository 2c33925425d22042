// The proxy and the destinations of install.js, in a process of their own so that their CPU does not count.

import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { startServer } from '@socksify/server';

const listen = async (server) => {
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return server.address().port;
};
const chunk = Buffer.alloc(2 ** 16);
const proxy = await startServer();
const http = await listen(createHttpServer((_request, response) => response.end('hello')));
const sink = await listen(createServer((socket) => socket.on('error', () => {}).resume()));
const bulk = await listen(
  createServer(async (socket) => {
    socket.on('error', () => {});
    for (let sent = 0; sent < 2 ** 30; sent += chunk.length) {
      if (!socket.write(chunk)) await once(socket, 'drain');
    }
    socket.end();
  }),
);
console.log(JSON.stringify({ proxy: proxy.url('socks5'), http: `http://127.0.0.1:${http}/`, sink, bulk }));
process.stdin.on('end', () => process.exit()).resume();
