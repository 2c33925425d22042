// The process that the benchmark is not about: an origin, a SOCKS server and a plain relay; prints their ports.

import { createServer } from 'node:http';
import { connect, createServer as createRelay } from 'node:net';
import { createServer as createTlsServer } from 'node:https';
import { TLS } from '@socksify/support';
import { startServer } from '@socksify/server';

const listen = (server) =>
  new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
const answer = (request, response) => response.end('hello');
const relayTo = (port) =>
  createRelay({ noDelay: true }, (client) => {
    const upstream = connect({ port, host: '127.0.0.1', noDelay: true });
    client.on('error', () => upstream.destroy()).pipe(upstream);
    upstream.on('error', () => client.destroy()).pipe(client);
  });

const http = await listen(createServer({ keepAliveTimeout: 0 }, answer));
const https = await listen(createTlsServer({ ...TLS, keepAliveTimeout: 0 }, answer));
const socks = await startServer();
const ports = {
  http,
  https,
  socks: socks.port,
  relayHttp: await listen(relayTo(http)),
  relayHttps: await listen(relayTo(https)),
};
process.send(ports);
process.on('disconnect', () => process.exit());
