// The server: accepts clients, negotiates, carries out their requests, counts and logs them, and closes everything.

import { EventEmitter, once } from 'node:events';
import { createServer as createTcpServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import type { TlsOptions } from 'node:tls';
import { Commands } from './commands.ts';
import { converse } from './converse.ts';
import type { IdentOptions } from './identify.ts';
import { createAdmission } from './limits.ts';
import type { Admission, LimitOptions } from './limits.ts';
import { enter, enterRefused } from './log.ts';
import type { Entry, RefusedClient } from './log.ts';
import type { NameTable } from './name-table.ts';
import { negotiate } from './negotiate.ts';
import type { Policy } from './negotiate.ts';
import { encodeReply, repOf } from './reply.ts';
import { Refusal } from './request.ts';
import type { SocksRequest } from './request.ts';
import type { Rule } from './rules.ts';
import { dismiss } from './tunnel.ts';

export interface ServerOptions extends Policy, LimitOptions {
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
  /** Who looks up the names that are not in the table. Default `none`: REP 04, CD 91. */
  readonly resolve?: 'none' | 'system';
  /**
   * Who may connect to which destination: the first rule that matches decides. What no rule matches is allowed. A name
   * is allowed if all its addresses are. A refusal is REP 02, CD 91; a datagram is dropped.
   */
  readonly rules?: readonly Rule[];
  /**
   * A rule as a function, called before `rules`: once for each request, and once for each datagram of an association.
   * False refuses.
   */
  readonly allow?: (request: SocksRequest) => boolean;
  /**
   * Queries the machine of a SOCKS4 client for the user (RFC 1413), who has to be the USERID. CD 92 without an answer,
   * CD 93 for another user. Default: no query.
   */
  readonly ident?: IdentOptions;
  /** Serve Tor's commands RESOLVE and RESOLVE_PTR. Default false: REP 07, SOCKS4 91. */
  readonly tor?: boolean;
  /** Milliseconds from the connection to the whole request. Default 10 s; then the client is closed. */
  readonly handshakeTimeout?: number;
  /** Milliseconds to connect to the destination, over all its addresses. Default 120 s; then REP 06, CD 91. */
  readonly connectTimeout?: number;
  /** Milliseconds within which the peer of a BIND has to connect. Default 120 s; then REP 06, CD 91. */
  readonly bindTimeout?: number;
}

export interface CloseOptions {
  /** Milliseconds in which tunnels may end by themselves. Default 0: they are closed at once. */
  readonly drain?: number;
}

export interface ServerEvents {
  /** A client has connected. */
  accepted: [];
  /** A request was read; its `reply` is still undefined unless it was refused at once. */
  received: [entry: Entry];
  /** A request was answered. A BIND is answered twice. */
  request: [entry: Entry];
  /** The socket of the client of a request is closed. */
  closed: [entry: Entry];
  /** A client was refused before it made a request. */
  refused: [client: RefusedClient];
}

/**
 * A SOCKS4, SOCKS4A and SOCKS5 server, listening: CONNECT, BIND, UDP ASSOCIATE; methods 00 and 02.
 * @throws TypeError for a name table without addresses, or a rule that means nothing; the system's error when it cannot listen
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
  /** All clients that were refused before they made a request. */
  readonly refusals: RefusedClient[] = [];
  /** The clients' sockets, as accepted: with TLS, the TCP sockets below it. */
  readonly sockets: Set<Socket> = new Set<Socket>();
  /** Clients whose request was read: not those that are still in their handshake. */
  readonly #served = new Set<Socket>();
  readonly #outgoing = new Set<Socket>();
  /** The listeners for peers and the sockets for datagrams. Each closes with its client. */
  readonly #openings = new Set<EventEmitter>();
  readonly #options: ServerOptions;
  readonly #commands: Commands;
  readonly #admit: Admission;
  readonly #listener: Server;

  #accepted = 0;

  /** Use {@link startServer}. */
  constructor(options: ServerOptions) {
    super();
    this.#options = options;
    this.#commands = new Commands(options, {
      onSocket: (socket) => track(socket, this.#outgoing),
      onOpening: (opening) => track(opening, this.#openings),
      onAnswer: (entry, answer) => this.#answered(entry, answer),
    });
    this.#admit = createAdmission(options);
    const { tls, handshakeTimeout = 10_000 } = options;
    const serve = (client: Socket): void => {
      // Set after the TLS handshake: a client that ends its side before is closed at once.
      client.allowHalfOpen = true;
      void this.#serve(client);
    };
    this.#listener = tls
      ? createTlsServer({ handshakeTimeout, ...tls, noDelay: true }, serve)
      : createTcpServer({ allowHalfOpen: true, noDelay: true });
    this.#listener.on('connection', (socket: Socket) => {
      track(socket, this.sockets);
      this.#accepted++;
      this.emit('accepted');
      const reason = this.#admit(socket);
      if (reason !== undefined) {
        socket.destroy();
        this.#turnAway(socket, new Refusal(reason, new Uint8Array()));
      } else if (!tls) serve(socket);
    });
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

  /** How many clients have ever connected. */
  get accepted(): number {
    return this.#accepted;
  }

  /** Resolves when so many clients have connected. */
  async reached(count: number): Promise<void> {
    while (this.#accepted < count) await once(this, 'accepted');
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

  /** Resolves when no client is connected and everything that was opened for clients is closed. */
  async idle(): Promise<void> {
    for (;;) {
      const [open] = [...this.sockets, ...this.#outgoing, ...this.#openings];
      if (!open) return;
      await new Promise<void>((resolve) => {
        open.once('close', () => resolve());
      });
    }
  }

  /**
   * Stops listening, closes all tunnels, and resolves when every socket is closed. With `drain`, only clients without a
   * request are closed at once, and the others when that time is over. It can be called again.
   */
  async close({ drain = 0 }: CloseOptions = {}): Promise<void> {
    const stopped = this.#listener.listening ? once(this.#listener, 'close') : undefined;
    this.#listener.close();
    const breakOff = (): void => {
      for (const socket of [...this.sockets, ...this.#outgoing]) socket.destroy();
    };
    if (drain > 0) {
      for (const socket of this.#unserved()) socket.destroy();
      const timer = setTimeout(breakOff, drain);
      await this.idle();
      clearTimeout(timer);
    } else {
      breakOff();
      await this.idle();
    }
    await stopped;
  }

  // Of a client inside TLS only the TCP socket is in `sockets`; both show the same port.
  #unserved(): Socket[] {
    const served = [...this.#served];
    return [...this.sockets].filter(
      (socket) =>
        !served.some(
          (client) =>
            client === socket ||
            (socket.remotePort !== undefined &&
              client.remotePort === socket.remotePort &&
              client.remoteAddress === socket.remoteAddress),
        ),
    );
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
    track(client, this.#served);
    const entry = this.#enter(client, request);
    try {
      await this.#commands.carryOut(client, entry);
    } catch (error) {
      if (client.destroyed) return;
      const answer = error instanceof Refusal ? error.answer : encodeReply(entry.version, repOf(error));
      this.#answered(entry, answer);
      dismiss(client, answer);
    }
  }

  async #negotiate(client: Socket): Promise<SocksRequest> {
    const timer = setTimeout(() => client.destroy(), this.#options.handshakeTimeout ?? 10_000);
    try {
      return await converse(client, negotiate(this.#options));
    } finally {
      clearTimeout(timer);
    }
  }

  #refuse(client: Socket, refusal: Refusal): void {
    if (refusal.request) this.#answered(this.#enter(client, refusal.request), refusal.answer);
    else this.#turnAway(client, refusal);
    dismiss(client, refusal.answer);
  }

  #turnAway(client: Socket, refusal: Refusal): void {
    const refused = enterRefused(refusal, client.remotePort);
    this.refusals.push(refused);
    this.emit('refused', refused);
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

function track<Opened extends EventEmitter>(socket: Opened, set: Set<Opened>): void {
  set.add(socket);
  socket.on('error', ignore).once('close', () => set.delete(socket));
}

// 'close' follows each 'error'. Without a listener for 'error' a broken connection would end the process.
function ignore(): void {}
