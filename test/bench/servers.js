// The process that a benchmark does not measure: web servers, a SOCKS server and plain relays.
// Sends their ports to its parent.

import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { connect, createServer as createRelay } from 'node:net';
import { TLS } from '@socksify/support';
import { startServer } from '@socksify/server';

/** How many names the proxy knows. */
const NAMES = 100_000;
const CHUNK = Buffer.alloc(64 * 1024, 'socks');

const listen = (server) =>
  new Promise((resolve) => server.listen(0, '127.0.0.1', 2048, () => resolve(server.address().port)));

/** `/download?N` answers with N bytes, an upload with the number of its bytes, and everything else with "hello". */
function answer(request, response) {
  if (request.method === 'POST') {
    let size = 0;
    request.on('data', (data) => (size += data.length)).on('end', () => response.end(String(size)));
    return;
  }
  const [path, query] = request.url.split('?');
  if (path !== '/download') {
    response.end('hello');
    return;
  }
  let left = Number(query);
  response.writeHead(200, { 'content-length': left });
  const send = () => {
    while (left > 0) {
      const size = Math.min(left, CHUNK.length);
      left -= size;
      if (!response.write(CHUNK.subarray(0, size))) return;
    }
    response.end();
  };
  response.on('drain', send);
  send();
}

const relayTo = (port) =>
  createRelay({ noDelay: true }, (client) => {
    const upstream = connect({ port, host: '127.0.0.1', noDelay: true });
    client.on('error', () => upstream.destroy()).pipe(upstream);
    upstream.on('error', () => client.destroy()).pipe(client);
  });

const http = await listen(createServer({ keepAliveTimeout: 0 }, answer));
const https = await listen(createTlsServer({ ...TLS, keepAliveTimeout: 0 }, answer));
// Each name is an origin of its own, and only the proxy knows them.
const names = Object.fromEntries(Array.from({ length: NAMES }, (_, i) => [`site-${i}.test`, '127.0.0.1']));
const socks = await startServer({ names });
const guarded = await startServer({ users: { user: 'password' } });
process.send({
  http,
  https,
  socks: socks.port,
  guarded: guarded.port,
  names: NAMES,
  relayHttp: await listen(relayTo(http)),
  relayHttps: await listen(relayTo(https)),
});
process.on('disconnect', () => process.exit());
