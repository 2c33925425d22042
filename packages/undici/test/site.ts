// The site of these tests: one handler behind http, https and HTTP/2.

import { createHash } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createSecureServer } from 'node:http2';
import type { Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:https';
import type { TLSSocket } from 'node:tls';
import { brotliCompressSync, gzipSync } from 'node:zlib';
import { listen, stopListening, TLS } from '@socksify/support';

export const LARGE = Buffer.alloc(5 * 1024 * 1024, 'a large body ');

export interface Site extends AsyncDisposable {
  readonly port: number;
  readonly server: Server;
  /** SNI, ALPN and resumption of every TLS connection. */
  readonly secured: { servername: string | false; alpn: string | false; reused: boolean }[];
  /** What `/hang`, `/drip` and `/events` requests were given. */
  readonly pending: ServerResponse[];
}

export async function startSite(kind: 'http' | 'https' | 'h2' = 'http'): Promise<Site> {
  const pending: ServerResponse[] = [];
  const secured: Site['secured'] = [];
  const handler = (request: IncomingMessage, response: ServerResponse): void =>
    answer(request, response, pending, () => server.emit('hanging'));
  const server = (
    kind === 'http'
      ? createServer(handler)
      : kind === 'https'
        ? createTlsServer(TLS, handler)
        : createSecureServer({ ...TLS, allowHTTP1: true }, handler as never)
  ) as Server;
  const sockets = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket)).on('error', () => {});
  });
  server.on('secureConnection', (socket: TLSSocket & { servername: string | false }) => {
    secured.push({
      servername: socket.servername,
      alpn: socket.alpnProtocol ?? false,
      reused: socket.isSessionReused(),
    });
  });
  server.on('upgrade', (request: IncomingMessage, socket: Socket) => upgrade(request, socket));
  return {
    port: await listen(server),
    server,
    secured,
    pending,
    [Symbol.asyncDispose]: () => stopListening(server, sockets),
  };
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  pending: ServerResponse[],
  hanging: () => void,
): void {
  const version = request.httpVersion;
  switch (request.url) {
    case '/echo': {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const {
          'content-length': length = 'none',
          'content-type': type = 'none',
          'x-a': own = '',
        } = request.headers;
        response
          .writeHead(200, { 'x-length': length, 'x-type': type, 'x-a': own })
          .end(Buffer.concat(chunks));
      });
      return;
    }
    case '/pipe':
      response.writeHead(200).flushHeaders();
      return void request.pipe(response);
    case '/redirect':
      return void response.writeHead(302, { location: '/' }).end('gone');
    case '/gzip':
      return void response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('zipped'));
    case '/brotli':
      return void response
        .writeHead(200, { 'content-encoding': 'br' })
        .end(brotliCompressSync(Buffer.from('pressed')));
    case '/cookies':
      return void response.writeHead(200, { 'set-cookie': ['a=1', 'b=2', 'c=3'] }).end();
    case '/none':
      return void response.writeHead(204).end();
    case '/large':
      return void response.writeHead(200, { 'content-length': LARGE.length }).end(LARGE);
    case '/events':
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: hello\n\n');
      return void pending.push(response);
    case '/drip':
      response.writeHead(200).write('first');
      return void pending.push(response);
    case '/hang':
      pending.push(response);
      return hanging();
    default:
      response.writeHead(200, { 'x-version': version }).end('hello');
  }
}

/** A WebSocket that greets with "hello" and closes. */
function upgrade(request: IncomingMessage, socket: Socket): void {
  const guid = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';
  const accept = createHash('sha1').update(`${request.headers['sec-websocket-key']}${guid}`).digest('base64');
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
  );
  socket.write(
    Buffer.concat([Buffer.from('8105', 'hex'), Buffer.from('hello'), Buffer.from('880203e8', 'hex')]),
  );
  // The answer to the close frame.
  socket.once('data', () => socket.end());
}
