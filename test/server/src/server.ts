// The server: accepts clients, lets them negotiate, connects them, keeps the books, lets go of everything.

import { EventEmitter, once } from 'node:events';
import { createServer as createTcpServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { TlsOptions } from 'node:tls';
import { converse } from './converse.ts';
import { enter, enterRefused } from './log.ts';
import type { Entry, RefusedClient } from './log.ts';
import { createResolver } from './names.ts';
import type { NameTable, Resolver } from './names.ts';
import { negotiate } from './negotiate.ts';
import type { Policy } from './negotiate.ts';
import { encodeReply, REP, repOf } from './reply.ts';
import { Refusal } from './request.ts';
import type { SocksRequest } from './request.ts';
import { dial, splice } from './tunnel.ts';

export interface ServerOptions extends Policy {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 0: any free one. */
  readonly port?: number;
  /** A Unix socket in place of host and port. */
  readonly path?: string;
  /** SOCKS inside TLS. */
  readonly tls?: TlsOptions;
  /** The names that this proxy knows. */
  readonly names?: NameTable;
  /** Who is asked about names that are not in the table. Default `none`: REP 04, SOCKS4A 91. */
  readonly resolve?: 'none' | 'system';
  /** False refuses a request: REP 02, SOCKS4 91. */
  readonly allow?: (request: SocksRequest) => boolean;
  /** Milliseconds from the connection to the whole request. Default 10 s; then the client is closed. */
  readonly handshakeTimeout?: number;
  /** Milliseconds to reach the destination, over all its addresses. Default 120 s; then REP 06, SOCKS4 91. */
  readonly connectTimeout?: number;
}

export interface ServerEvents {
  /** A request was read; its `reply` is still undefined unless it was refused at once. */
  received: [entry: Entry];
  /** It was answered. */
  request: [entry: Entry];
  /** Its client's socket is closed. */
  closed: [entry: Entry];
  /** A client was turned away before it made a request. */
  refused: [client: RefusedClient];
}

/** How long a client that was turned away may take to close its side. Its answer and FIN were sent at once. */
const LINGER = 500;

/**
 * A SOCKS4, SOCKS4A and SOCKS5 server, listening. CONNECT only; methods 00 and 02.
 * @throws TypeError for a name table without addresses; the system's error when it cannot listen
 * @example
 * const server = await startServer({ names: { 'origin.test': '127.0.0.1' }, users: { alice: 'secret' } });
 * server.url('socks5', { username: 'alice', password: 'secret' }); // socks5://alice:secret@127.0.0.1:40123
 * await server.close();
 */
export async function startServer(options: ServerOptions = {}): Promise<SocksServer> {
  const { host = '127.0.0.1', port = 0, path } = options;
  const server = new SocksServer(options);
  await server.listen(path === undefined ? { host, port } : { path });
  return server;
}

export class SocksServer extends EventEmitter<ServerEvents> {
  /** All requests, in the order in which they were read. */
  readonly log: Entry[] = [];
  /** All clients turned away before they made one. */
  readonly refusals: RefusedClient[] = [];
  /** The clients' sockets, as accepted: with TLS, the TCP sockets below it. */
  readonly sockets: Set<Socket> = new Set<Socket>();
  readonly #outgoing = new Set<Socket>();
  readonly #options: ServerOptions;
  readonly #resolve: Resolver;
  readonly #listener: Server;

  /** Use {@link startServer}. */
  constructor(options: ServerOptions) {
    super();
    this.#options = options;
    this.#resolve = createResolver(options.names, options.resolve);
    const { tls, handshakeTimeout = 10_000 } = options;
    const serve = (client: Socket): void => {
      // Only now: a client that gives up in the middle of the TLS handshake has nothing to be half-open for.
      client.allowHalfOpen = true;
      void this.#serve(client);
    };
    this.#listener = tls
      ? createTlsServer({ handshakeTimeout, ...tls, noDelay: true }, serve)
      : createTcpServer({ allowHalfOpen: true, noDelay: true }, serve);
    this.#listener.on('connection', (socket: Socket) => track(socket, this.sockets));
  }

  /** Use {@link startServer}. */
  async listen(where: { host: string; port: number } | { path: string }): Promise<void> {
    this.#listener.listen(where);
    await once(this.#listener, 'listening');
  }

  /** The port it listens on; 0 on a Unix socket. */
  get port(): number {
    const address = this.#listener.address();
    return address && typeof address === 'object' ? address.port : 0;
  }

  /** How many clients are connected just now. */
  get connections(): number {
    return this.sockets.size;
  }

  /** The URL of this server, for a client. */
  url(scheme: string, credentials?: { readonly username: string; readonly password?: string }): string {
    const { host = '127.0.0.1', path } = this.#options;
    const password =
      credentials?.password === undefined ? '' : `:${encodeURIComponent(credentials.password)}`;
    const login = credentials ? `${encodeURIComponent(credentials.username)}${password}@` : '';
    if (path !== undefined) return `${scheme}://${login}localhost${encodeURI(path)}`;
    return `${scheme}://${login}${host.includes(':') ? `[${host}]` : host}:${this.port}`;
  }

  /** Resolves once no client is connected and no outgoing connection is left; at once if so already. */
  async idle(): Promise<void> {
    for (;;) {
      const [socket] = [...this.sockets, ...this.#outgoing];
      if (!socket) return;
      await new Promise<void>((resolve) => {
        socket.once('close', () => resolve());
      });
    }
  }

  /** Stops listening, breaks all tunnels off, resolves when every socket is closed. Safe to repeat. */
  async close(): Promise<void> {
    const stopped = this.#listener.listening ? once(this.#listener, 'close') : undefined;
    this.#listener.close();
    for (const socket of [...this.sockets, ...this.#outgoing]) socket.destroy();
    await this.idle();
    await stopped;
  }

  async #serve(client: Socket): Promise<void> {
    client.on('error', ignore);
    let request: SocksRequest;
    try {
      request = await this.#negotiate(client);
    } catch (error) {
      if (error instanceof Refusal) this.#refuse(client, error);
      else client.destroy();
      return;
    }
    const entry = this.#enter(client, request);
    let remote: Socket;
    try {
      remote = await this.#reach(client, request);
    } catch (error) {
      if (client.destroyed) return;
      const answer = error instanceof Refusal ? error.answer : encodeReply(request.version, repOf(error));
      this.#answered(entry, answer);
      dismiss(client, answer);
      return;
    }
    const { localAddress: host = '0.0.0.0', localPort: port = 0 } = remote;
    entry.outgoingPort = port;
    const answer = encodeReply(request.version, REP.SUCCEEDED, { host, port });
    client.write(answer);
    splice(client, remote, entry);
    this.#answered(entry, answer);
  }

  async #negotiate(client: Socket): Promise<SocksRequest> {
    const timer = setTimeout(() => client.destroy(), this.#options.handshakeTimeout ?? 10_000);
    try {
      return await converse(client, negotiate(this.#options));
    } finally {
      clearTimeout(timer);
    }
  }

  async #reach(client: Socket, request: SocksRequest): Promise<Socket> {
    const { allow, connectTimeout: timeout = 120_000 } = this.#options;
    if (allow?.(request) === false) {
      throw new Refusal('against the rules', encodeReply(request.version, REP.NOT_ALLOWED), request);
    }
    const addresses = await this.#resolve(request.host);
    const onSocket = (socket: Socket): void => track(socket, this.#outgoing);
    return dial({ addresses, port: request.port, timeout, client, onSocket });
  }

  #refuse(client: Socket, refusal: Refusal): void {
    if (refusal.request) {
      this.#answered(this.#enter(client, refusal.request), refusal.answer);
    } else {
      const refused = enterRefused(refusal, client.remotePort);
      this.refusals.push(refused);
      this.emit('refused', refused);
    }
    dismiss(client, refusal.answer);
  }

  #enter(client: Socket, request: SocksRequest): Entry {
    const entry = enter(request, client.remotePort);
    this.log.push(entry);
    this.emit('received', entry);
    const onClose = (): void => {
      entry.closed = true;
      this.emit('closed', entry);
    };
    if (client.closed) onClose();
    else client.once('close', onClose);
    return entry;
  }

  #answered(entry: Entry, answer: Uint8Array): void {
    entry.reply = answer[1];
    this.emit('request', entry);
  }
}

// The FIN goes out with the answer. What the client still sends is read and dropped: closing with bytes unread would
// be a reset, and a reset can overtake the answer.
function dismiss(client: Socket, answer: Uint8Array): void {
  const timer = setTimeout(() => client.destroy(), LINGER);
  client.once('close', () => clearTimeout(timer)).resume();
  if (answer.length > 0) client.write(answer);
  client.end();
}

function track(socket: Socket, set: Set<Socket>): void {
  set.add(socket);
  socket.on('error', ignore).once('close', () => set.delete(socket));
}

// A broken connection is told by 'close'; without a listener for 'error' it would end the process.
function ignore(): void {}
