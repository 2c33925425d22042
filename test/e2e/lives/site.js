// The site of the lives. The path of a request says what the site does with it. An answer repeats the id and the body of
// the request, and says through which route the request came.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { listen, TLS } from '@socksify/support';

/** What the site can do with a request, and whether the request can then get a whole answer. */
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

/** @param seen returns the route through which an open socket came */
async function serve(request, response, seen) {
  const { pathname, searchParams } = new URL(request.url, 'http://site.test');
  const id = searchParams.get('id');
  const { remotePort } = request.socket;
  // This is read while the connection is open, because its port may belong to another connection later.
  const through = seen(request.socket);
  // An error of a connection that the client has closed is expected.
  request.on('error', () => {});
  response.on('error', () => {});
  const chunks = [];
  try {
    for await (const chunk of request) chunks.push(chunk);
  } catch {
    return;
  }
  // The client has closed the connection meanwhile.
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
  // Only the client ends an idle connection, so that no request is sent on a connection that is being closed.
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
  }
  const plain = await listen(servers[0], '0.0.0.0');
  const secure = await listen(servers[1], '0.0.0.0');
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
