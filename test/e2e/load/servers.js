// What the load needs besides the client, each in a process of its own: `proxy`, the SOCKS server with a relay that loses
// links, and `site`. Messages start their work, and request their figures.

import { createHash } from 'node:crypto';
import { createServer as createHttpServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { startRelay, startServer } from '@socksify/server';
import { chunksOf, writeChunks } from './chunks.js';

const listen = (server) =>
  new Promise((resolve) =>
    server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => resolve(server.address().port)),
  );

async function proxy() {
  let server = await startServer();
  const { port } = server;
  // Far enough into an answer, and far from its end.
  const relay = await startRelay({ to: port, lose: { after: 100_000, how: 'reset' } });
  return {
    ready: () => ({ socks: port, lossy: relay.port }),
    lost: () => relay.lost,
    connections: () => server.connections,
    die: async () => {
      const dying = [...server.sockets];
      for (const socket of dying) socket.resetAndDestroy();
      await server.close();
      return dying.length;
    },
    revive: async () => {
      server = await startServer({ port });
    },
  };
}

async function site() {
  const digests = new Map();
  const sent = new Map();
  /** Requests that wait until as many as they say are there. */
  let waiting = [];
  let open = 0;

  const echo = createTcpServer({ noDelay: true }, (socket) => {
    open++;
    socket.on('error', () => {}).once('close', () => open--);
    socket.pipe(socket);
  });

  async function send(response, id, bytes) {
    const hash = createHash('sha256');
    response.on('error', () => {});
    const onChunk = (chunk) => {
      hash.update(chunk);
      sent.set(id, (sent.get(id) ?? 0) + chunk.length);
    };
    if (!(await writeChunks(response, chunksOf(bytes, id), onChunk))) return;
    digests.set(id, hash.digest('hex'));
    response.end();
  }

  const web = createHttpServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (request, response) => {
    const url = new URL(request.url, 'http://site.test');
    const number = (name) => Number(url.searchParams.get(name));
    if (url.pathname === '/download') {
      response.setHeader('content-length', number('bytes'));
      void send(response, number('id'), number('bytes'));
      return;
    }
    const hash = createHash('sha256');
    request.on('error', () => {}).on('data', (chunk) => hash.update(chunk));
    request.on('end', () => {
      waiting.push(() => response.end(hash.digest('hex')));
      if (waiting.length < number('count')) return;
      for (const go of waiting) go();
      waiting = [];
    });
  });
  web.on('connection', (socket) => {
    open++;
    socket.once('close', () => open--);
  });
  const ports = { echo: await listen(echo), web: await listen(web) };
  return {
    ready: () => ports,
    digest: (id) => digests.get(id),
    sent: (id) => sent.get(id) ?? 0,
    open: () => open,
  };
}

const actions = await { proxy, site }[process.argv[2]]();
process.on('message', async ({ number, action, argument }) => {
  process.send({ number, result: await actions[action](argument) });
});
process.on('disconnect', () => process.exit());
