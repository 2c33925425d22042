// The web sites of the lives: each path says what the site does to its request. An answer repeats the request's id and
// body, and says at which address and from which port the request came.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { TLS } from '@socksify/support';

/** Whether a request that this is done to can have a whole answer. */
export const BEHAVIOURS = {
  answer: true,
  slow: true,
  big: true,
  close: true,
  reset: false,
  cut: false,
  stall: false,
};

export function bodyOf(id, size) {
  const block = createHash('sha256').update(id).digest();
  return Buffer.alloc(size, block);
}

/** @param seen tells, of a socket that is open, the route that its connection came through */
async function serve(request, response, seen) {
  const { pathname, searchParams } = new URL(request.url, 'http://site.test');
  const id = searchParams.get('id');
  const { remotePort } = request.socket;
  // Now, while the connection is open: later its port may belong to another.
  const through = seen(request.socket);
  // What the client breaks off has no one to be told about it.
  request.on('error', () => {});
  response.on('error', () => {});
  const chunks = [];
  try {
    for await (const chunk of request) chunks.push(chunk);
  } catch {
    return;
  }
  // The connection was broken off meanwhile.
  if (remotePort === undefined) return;
  const body = Buffer.concat(chunks);
  const sent = pathname === '/big' ? bodyOf(id, 300_000) : body;
  const head = {
    'x-id': id,
    'x-through': String(through),
    'x-path': request.url,
    'content-length': sent.length,
  };
  switch (pathname) {
    case '/reset':
      // A socket of TLS cannot be reset.
      if (request.socket.encrypted) request.socket.destroy();
      else request.socket.resetAndDestroy();
      break;
    case '/cut':
      response.writeHead(200, { ...head, 'content-length': sent.length + 10 });
      response.write(sent, () => request.socket.destroy());
      break;
    case '/stall':
      break;
    case '/slow':
      setTimeout(() => response.writeHead(200, head).end(sent), 5 + (sent.length % 30));
      break;
    case '/close':
      response.writeHead(200, { ...head, connection: 'close' }).end(sent);
      break;
    default:
      response.writeHead(200, head).end(sent);
  }
}

export async function startSite(seen) {
  const listener = (request, response) => serve(request, response, seen);
  // An idle connection is ended by its client alone, so that no request can meet the end of its connection.
  const options = {
    keepAliveTimeout: 0,
    requestTimeout: 0,
    headersTimeout: 0,
    connectionsCheckingInterval: 1e6,
  };
  const servers = [
    http.createServer(options, listener),
    https.createServer({ ...options, ...TLS }, listener),
  ];
  const sockets = new Set();
  for (const server of servers) {
    server.on('connection', (socket) => {
      sockets.add(socket);
      socket.on('error', () => {}).once('close', () => sockets.delete(socket));
    });
    server.on('tlsClientError', () => {});
    server.on('clientError', (_error, socket) => socket.destroy());
    await once(server.listen(0, '0.0.0.0'), 'listening');
  }
  const [plain, secure] = servers.map((server) => server.address().port);
  return {
    http: plain,
    https: secure,
    sockets,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      await Promise.all(
        servers.map(async (server) => {
          server.close();
          await once(server, 'close');
        }),
      );
    },
  };
}
