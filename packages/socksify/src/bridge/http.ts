// The HTTP proxy of a bridge: CONNECT, and requests in absolute-form for http. Node's parser reads, Node's client writes.
// Each forwarded request has a tunnel of its own, so that no answer can be taken for that of another request.

import { request as sendRequest, STATUS_CODES } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { codeOf, messageOf, statusOf } from './answers.ts';
import { dismiss, join, reset } from './traffic.ts';
import { parseAuthority, parseRequestTarget } from './request-target.ts';
import type { Destination, RequestTarget } from './request-target.ts';
import type { User } from './user.ts';
import type { Visit } from './visit.ts';

/** What the bridge does for its HTTP clients. */
export interface HttpBridge {
  readonly user: User | undefined;
  /** Opens a tunnel; ends the attempt when the client's connection is reset. */
  open(client: Socket, destination: Destination, protocol: 'http:' | 'https:'): Promise<Socket>;
  /** Counts a request as in progress, until its visit ends. */
  begin(client: Socket, protocol: string, destination?: string): Visit;
  /** True if a request of this client is in progress. */
  isBusy(client: Socket): boolean;
  /** The head of the client's first request has come. */
  onHead(client: Socket): void;
}

/** Serves the requests of the connections that are given to the server. */
export function serveHttp(server: Server, bridge: HttpBridge): void {
  // A client that has ended its direction still gets the answer to its request.
  Object.assign(server, { httpAllowHalfOpen: true });
  const refused = new WeakSet<Socket>();
  const lastAnswer = new WeakMap<Socket, ServerResponse>();
  const onRequest = (req: IncomingMessage, res: ServerResponse): void => {
    bridge.onHead(req.socket);
    // The client was refused, and its last answer has been sent.
    if (!req.socket.writable) return;
    lastAnswer.set(req.socket, res);
    void forward(req, res, bridge);
  };
  server.on('request', onRequest).on('checkContinue', onRequest).on('checkExpectation', onRequest);
  server.on('connect', (req, _, head) => {
    bridge.onHead(req.socket);
    if (req.socket.writable) void openTunnel(req, head, bridge);
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    // The server gets its connections from the bridge, so that each is a socket.
    if (!(socket instanceof Socket)) {
      socket.destroy();
      return;
    }
    bridge.onHead(socket);
    // The parser reports this again for each further chunk.
    if (refused.has(socket)) return;
    // After the beginning of an answer, an error would be taken for a part of that answer.
    if (!socket.writable || error.code === 'ECONNRESET') reset(socket);
    else if (bridge.isBusy(socket)) {
      if (lastAnswer.get(socket)?.writableEnded) socket.destroySoon();
      else reset(socket);
    } else {
      refused.add(socket);
      const visit = bridge.begin(socket, 'http');
      const status = statusOfParser(error);
      visit.end(`${status} ${error.code}`);
      dismiss(socket, answer(status, MEANING[status] ?? ''));
    }
  });
}

const MEANING: Readonly<Record<number, string>> = {
  400: 'this is no request to an HTTP proxy: write CONNECT host:port, or GET http://host/path',
  407: 'this proxy wants a user and a password',
  408: 'the head of the request took too long',
  431: 'the head of the request is longer than 64 KiB',
  501: 'this proxy forwards no transfer coding but chunked',
  505: 'this proxy speaks HTTP/1.1 and HTTP/1.0',
};

function statusOfParser({ code = '', message }: NodeJS.ErrnoException): number {
  if (code === 'HPE_HEADER_OVERFLOW') return 431;
  if (code === 'ERR_HTTP_REQUEST_TIMEOUT') return 408;
  // The same code stands for a missing CR behind the version.
  const version = code === 'HPE_INVALID_VERSION' && message.includes('Invalid HTTP version');
  return version || code === 'HPE_PAUSED_H2_UPGRADE' ? 505 : 400;
}

/** A status that refuses the request, for what Node's parser lets pass. */
function refuse(req: IncomingMessage, { user }: HttpBridge): number | undefined {
  // An answer of HTTP/0.9 has no head, so its client cannot tell an error from a page.
  if (req.httpVersion === '0.9') return 400;
  if (req.httpVersionMajor !== 1) return 505;
  const hosts = countOf(req, 'host');
  if (hosts > 1 || (hosts === 0 && req.httpVersion === '1.1')) return 400;
  const coding = req.headers['transfer-encoding'];
  // RFC 9112 section 6.1: HTTP/1.0 has no transfer codings, so the length of this message cannot be trusted.
  if (coding !== undefined && req.httpVersion === '1.0') return 400;
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') return 501;
  if (coding !== undefined && req.headers['content-length'] !== undefined) return 400;
  // RFC 9110 section 9.3.6: a CONNECT has no content.
  if (req.method === 'CONNECT' && (coding !== undefined || Number(req.headers['content-length'] ?? 0) > 0))
    return 400;
  if (countOf(req, 'proxy-authorization') > 1) return 400;
  if (user && !user.checkHeader(req.headers['proxy-authorization'])) return 407;
  return undefined;
}

function countOf({ rawHeaders }: IncomingMessage, name: string): number {
  return rawHeaders.filter((each, i) => i % 2 === 0 && each.toLowerCase() === name).length;
}

async function openTunnel(req: IncomingMessage, head: Buffer, bridge: HttpBridge): Promise<void> {
  const client = req.socket;
  // The answer to an earlier request would be written into the tunnel.
  if (bridge.isBusy(client)) return reset(client);
  if (head.length > 0) client.unshift(head);
  const destination = parseAuthority(req.url ?? '');
  const visit = bridge.begin(client, 'connect', req.url);
  const refused = refuse(req, bridge) ?? (destination === undefined ? 400 : undefined);
  if (refused !== undefined || destination === undefined) {
    visit.end(String(refused));
    return dismiss(client, answer(refused ?? 400, MEANING[refused ?? 400] ?? ''));
  }
  // Node notices a reset only while it reads.
  client.read(0);
  try {
    const tunnel = await bridge.open(client, destination, 'https:');
    client.write('HTTP/1.1 200 Connection established\r\n\r\n');
    visit.carry(client, tunnel);
    join(client, tunnel);
  } catch (error) {
    visit.end(codeOf(error));
    dismiss(client, answer(statusOf(error), messageOf(error), codeOf(error)));
  }
}

async function forward(req: IncomingMessage, res: ServerResponse, bridge: HttpBridge): Promise<void> {
  const client = req.socket;
  const { method = 'GET' } = req;
  const requested = parseRequestTarget(method, req.url ?? '');
  const visit = bridge.begin(client, 'http', requested && `${requested.host}:${requested.port}`);
  res.on('error', () => {}).once('close', () => visit.end());
  req.on('error', () => {});
  const refused = refuse(req, bridge) ?? (requested === undefined ? 400 : undefined);
  if (refused !== undefined || requested === undefined) {
    visit.result = String(refused);
    return respond(res, refused ?? 400, MEANING[refused ?? 400] ?? '');
  }
  try {
    const tunnel = await bridge.open(client, requested, 'http:');
    visit.count(tunnel);
    visit.result = 'open';
    if (res.destroyed) return reset(tunnel);
    await exchange(req, res, requested, tunnel);
  } catch (error) {
    visit.result = codeOf(error);
    // Half an answer must not be taken for the whole.
    if (res.headersSent || res.destroyed) reset(client);
    else respond(res, statusOf(error), messageOf(error), codeOf(error));
  }
}

/** Sends the request through the tunnel, and its answer to the client. Rejects when either breaks. */
function exchange(
  req: IncomingMessage,
  res: ServerResponse,
  { path, authority }: RequestTarget,
  tunnel: Socket,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const { method = 'GET' } = req;
    const fail = (error: unknown): void => {
      reset(tunnel);
      reject(error);
    };
    const headers = ['Host', authority, ...forwardable(req), ...framing(req), 'Connection', 'close'];
    const out = sendRequest({ method, path, headers, createConnection: () => tunnel, setHost: false });
    // No field of the answer is dropped.
    out.maxHeadersCount = 0;
    out.on('error', fail);
    // The field Upgrade is not forwarded, so a switch of protocols is an error.
    out.on('upgrade', () => fail(broken('the destination switched protocols')));
    out.on('continue', () => {
      if (/^100-continue$/i.test(req.headers.expect ?? '')) res.writeContinue();
    });
    out.on('response', (answered) => {
      answered.on('error', fail);
      const { statusCode = 0, headers: fieldsOfAnswer } = answered;
      // Node's parser lets both pass. An error that is thrown here would end the process.
      if (statusCode < 200) return fail(broken('the destination sent a status that ends no request'));
      if (!/^(?:chunked)?$/i.test(fieldsOfAnswer['transfer-encoding'] ?? ''))
        return fail(broken('the destination used a transfer coding besides chunked'));
      res.sendDate = false;
      res.writeHead(statusCode, reasonOf(answered), [...forwardable(answered), ...lengthOf(answered)]);
      answered.pipe(res);
    });
    res.once('finish', resolve).once('close', () => {
      reset(tunnel);
      reject(Object.assign(new Error('the client left'), { code: 'ECONNRESET' }));
    });
    out.flushHeaders();
    req.pipe(out);
  });
}

function broken(message: string): Error {
  return Object.assign(new Error(message), { code: 'EPROTO' });
}

/** Empty for a phrase with control characters, which Node does not write. RFC 9112 section 4: clients ignore the phrase. */
function reasonOf({ statusMessage = '' }: IncomingMessage): string {
  return /^[\t\u0020-\u007e\u0080-\u00ff]*$/.test(statusMessage) ? statusMessage : '';
}

const HOP_BY_HOP = new Set(['connection', 'keep-alive', 'te', 'trailer', 'transfer-encoding', 'upgrade']);
/** Never forwarded: the bridge writes its own fields, or none. */
const FRAMING = new Set(['host', 'content-length', 'http2-settings']);

/** The fields of a head that are forwarded, RFC 9110 section 7.6.1, as a flat list of names and values. */
function forwardable({ rawHeaders, headers }: IncomingMessage): string[] {
  const named = new Set((headers.connection ?? '').split(',').map((name) => name.trim().toLowerCase()));
  const kept: string[] = [];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const [name = '', value = ''] = rawHeaders.slice(i, i + 2);
    const lower = name.toLowerCase();
    if (HOP_BY_HOP.has(lower) || FRAMING.has(lower) || lower.startsWith('proxy-') || named.has(lower))
      continue;
    kept.push(name, value);
  }
  return kept;
}

/** How long the content is, as the parser has understood it. Without either field there is none. */
function framing({ headers }: IncomingMessage): string[] {
  if (headers['transfer-encoding'] !== undefined) return ['Transfer-Encoding', 'chunked'];
  return lengthOf({ headers });
}

function lengthOf({ headers }: Pick<IncomingMessage, 'headers'>): string[] {
  const length = headers['content-length'];
  return length === undefined ? [] : ['Content-Length', length];
}

function respond(res: ServerResponse, status: number, text: string, code?: string): void {
  res.shouldKeepAlive = false;
  res.writeHead(status, fields(status, text, code));
  res.end(`${text}\n`);
}

/** The answer as text, for a connection on which Node's parser writes no answer. */
function answer(status: number, text: string, code?: string): string {
  const lines = Object.entries(fields(status, text, code)).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${text}\n`;
}

function fields(status: number, text: string, code: string | undefined): Record<string, string> {
  return {
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': String(Buffer.byteLength(text) + 1),
    ...(status === 407 && { 'Proxy-Authenticate': 'Basic realm="socksify", charset="UTF-8"' }),
    // RFC 9209.
    ...(code !== undefined && { 'Proxy-Status': `socksify; error=${code}` }),
    Connection: 'close',
  };
}
