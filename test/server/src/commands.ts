// Carries out each command of a client that may use the server, under the rules, from the request to the last answer.

import type { EventEmitter } from 'node:events';
import { isIPv4 } from 'node:net';
import type { Socket } from 'node:net';
import { canonical, isUnspecified } from './address.ts';
import type { Bound } from './address.ts';
import { associate } from './associate.ts';
import { awaitPeer } from './bind.ts';
import { isSameUser } from './ident.ts';
import { identify } from './identify.ts';
import type { Entry } from './log.ts';
import { createResolver } from './name-table.ts';
import type { Resolver } from './name-table.ts';
import { CD, encodeReply, encodeReply4, REP } from './reply.ts';
import { Refusal } from './request.ts';
import type { SocksRequest } from './request.ts';
import { createJudge } from './rules.ts';
import type { Judge, Subject } from './rules.ts';
import type { ServerOptions } from './server.ts';
import { dial, dismiss, splice } from './tunnel.ts';

/** Gets what a command opens and answers, for the log and for closing. */
export interface Books {
  /** A connection to or from a destination. */
  readonly onSocket: (socket: Socket) => void;
  /** A listener or a datagram socket. It closes with its client. */
  readonly onOpening: (opening: EventEmitter) => void;
  readonly onAnswer: (entry: Entry, answer: Uint8Array) => void;
}

export class Commands {
  readonly #options: ServerOptions;
  readonly #books: Books;
  readonly #resolver: Resolver;
  readonly #judge: Judge;

  /** @throws TypeError for a name table without addresses, or a rule that means nothing */
  constructor(options: ServerOptions, books: Books) {
    this.#options = options;
    this.#books = books;
    this.#resolver = createResolver(options.names, options.resolve);
    this.#judge = createJudge(options.rules);
  }

  /** Resolves when the last answer is sent. @throws Refusal, or the error of the connection to the destination */
  async carryOut(client: Socket, entry: Entry): Promise<void> {
    const { allow, tor } = this.#options;
    if (entry.command.startsWith('resolve') && tor !== true) {
      throw new Refusal('a command of tor', encodeReply(entry.version, REP.COMMAND_NOT_SUPPORTED), entry);
    }
    await this.#checkIdent(client, entry);
    if (allow?.(entry) === false) throw against(entry, 'the rules');
    switch (entry.command) {
      case 'connect':
        return this.#connect(client, entry);
      case 'bind':
        return this.#bind(client, entry);
      case 'associate':
        return this.#associate(client, entry);
      default:
        return this.#lookUp(client, entry);
    }
  }

  async #connect(client: Socket, entry: Entry): Promise<void> {
    const { connectTimeout: timeout = 120_000 } = this.#options;
    const addresses = await this.#addressesOf(entry);
    const { onSocket } = this.#books;
    const remote = await dial({ addresses, port: entry.port, timeout, client, onSocket });
    const { localAddress: host = '0.0.0.0', localPort: port = 0 } = remote;
    entry.outgoingPort = port;
    const answer = grant(client, entry, { host, port });
    splice(client, remote, entry);
    this.#books.onAnswer(entry, answer);
  }

  // Two replies: the address at which the peer is awaited, and the address of the peer.
  async #bind(client: Socket, entry: Entry): Promise<void> {
    const { bindTimeout: timeout = 120_000 } = this.#options;
    const anybody = isUnspecified(entry.host);
    const expected = anybody ? [] : (await this.#addressesOf(entry)).map(canonical);
    if (anybody) this.#check(entry, { command: 'bind' });
    const { bound, peer } = await awaitPeer({ client, timeout, onListener: this.#books.onOpening });
    entry.outgoingPort = bound.port;
    this.#books.onAnswer(entry, grant(client, entry, bound));

    const remote = await peer;
    this.#books.onSocket(remote);
    const { remoteAddress = '0.0.0.0', remotePort: port = 0 } = remote;
    const host = canonical(remoteAddress);
    try {
      if (anybody) this.#check(entry, { command: 'bind', host, port, address: host });
      else if (!expected.includes(host)) throw against(entry, `a peer at ${host}`);
    } catch (error) {
      remote.destroy();
      throw error;
    }
    const answer = grant(client, entry, { host, port });
    splice(client, remote, entry);
    this.#books.onAnswer(entry, answer);
  }

  async #associate(client: Socket, entry: Entry): Promise<void> {
    // The request has the client's own host and port. The rules apply to the destinations of the datagrams.
    this.#check(entry, { command: 'associate' });
    const { allow } = this.#options;
    const bound = await associate({
      client,
      entry,
      addressesOf: async ({ atyp, host, port }) => {
        const request = { ...entry, atyp, host, port };
        if (allow?.(request) === false) throw against(request, 'the rules');
        return this.#addressesOf(request);
      },
      onSocket: this.#books.onOpening,
    });
    this.#books.onAnswer(entry, grant(client, entry, bound));
  }

  // Tor's two commands. The reply has the answer as its BND.ADDR, and nothing follows.
  async #lookUp(client: Socket, entry: Entry): Promise<void> {
    const { version, command, host } = entry;
    const addresses = await this.#addressesOf(entry);
    // A SOCKS4 reply cannot carry an IPv6 address, and zeros would be another address.
    const fitting = version === 4 ? addresses.filter((address) => isIPv4(address)) : addresses;
    const found = command === 'resolve-ptr' ? this.#resolver.nameOf(host) : fitting[0];
    if (found === undefined)
      throw new Refusal('no address', encodeReply(version, REP.HOST_UNREACHABLE), entry);
    const answer = encodeReply(version, REP.SUCCEEDED, { host: found, port: 0 });
    this.#books.onAnswer(entry, answer);
    dismiss(client, answer);
  }

  async #checkIdent(client: Socket, entry: Entry): Promise<void> {
    const { ident } = this.#options;
    if (!ident || entry.version !== 4) return;
    const user = await identify(client, ident, this.#books.onSocket).catch((error: unknown) => {
      throw new Refusal(String(error), encodeReply4(CD.IDENTD_UNREACHABLE), entry);
    });
    if (!isSameUser(user, entry.user ?? '')) {
      throw new Refusal('another user', encodeReply4(CD.IDENTD_MISMATCH), entry);
    }
  }

  /** The addresses that may be dialled. A name that the rules refuse as such is not even looked up. */
  async #addressesOf(request: SocksRequest): Promise<readonly string[]> {
    const { command, host, port } = request;
    this.#check(request, { command, host, port });
    const addresses = await this.#resolver.addressesOf(host);
    for (const address of addresses) this.#check(request, { command, host, port, address });
    return addresses;
  }

  #check(request: SocksRequest, subject: Omit<Subject, 'user'>): void {
    // On a server with passwords a USERID names no user: otherwise any client could claim the user of a rule.
    const { users } = this.#options;
    const claim = request.version === 4 && users !== undefined && users !== 'any';
    if (this.#judge({ ...subject, user: claim ? undefined : request.user }) === false) {
      throw against(request, 'the rules');
    }
  }
}

function grant(client: Socket, { version }: SocksRequest, bound: Bound): Uint8Array {
  const answer = encodeReply(version, REP.SUCCEEDED, bound);
  client.write(answer);
  return answer;
}

function against(request: SocksRequest, what: string): Refusal {
  return new Refusal(`against ${what}`, encodeReply(request.version, REP.NOT_ALLOWED), request);
}
