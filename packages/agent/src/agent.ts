// An http.Agent for http and https whose sockets are tunnels. Pools, queues and keep-alive are Node's; this file
// knows how to open a socket for a request, and how to tell Node when that fails.

import type { ClientRequest } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { AgentOptions as HttpsAgentOptions } from 'node:https';
import type { LookupFunction, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { chainKey, SessionCache, SocksClient, SocksError } from '@socksify/core';
import type { Chain, ClientOptions, ProxyRoute, SecureOptions } from '@socksify/core';
import { Agent } from 'agent-base';
import type { AgentConnectOpts } from 'agent-base';
import { Opening } from './opening.ts';
import { fixPort, isSecure, PORT_UNSET } from './origin.ts';
import type { OriginOptions } from './origin.ts';

/** Options of Node's `https.Agent`, and those of a tunnel with the deadline named `connectTimeout`. */
export interface SocksAgentOptions extends HttpsAgentOptions, Omit<ClientOptions, 'timeout' | 'lookup'> {
  /** Milliseconds for a new socket: look-ups, dial, handshake and TLS. Default 30000; 0: none. */
  connectTimeout?: number;
  /** Makes the agent one for this protocol alone; `http.globalAgent` and `https.globalAgent` have to be. */
  protocol?: string;
  /** The port of a request that names none. Default: that of its protocol. */
  defaultPort?: number;
}

const CHAIN: unique symbol = Symbol('socksify.chain');

/** Of the options of one request, as Node hands them to its agent, what is of interest here. */
interface RequestOptions extends OriginOptions {
  readonly host?: string | undefined;
  readonly socketPath?: string | undefined;
  readonly family?: number | undefined;
  readonly localAddress?: string | undefined;
  readonly lookup?: LookupFunction | undefined;
  readonly noDelay?: boolean | undefined;
  [CHAIN]?: Chain;
}
type Created = (error: Error | null, socket?: Socket) => void;

/** What Node's Agent has and @types/node does not tell. */
interface Internals {
  addRequest(req: ClientRequest, options: object): void;
  createSocket(req: ClientRequest, options: object, created: Created): void;
  removeSocket(socket: object, options: object): void;
  keepSocketAlive(socket: Duplex): boolean;
  requests: Record<string, ClientRequest[]>;
  readonly options: HttpsAgentOptions;
  readonly keepAlive: boolean;
  readonly keepAliveMsecs: number;
}

/** Node's mark (22 and later) on a request with a `checkServerIdentity` of its own: its socket serves no other. */
const OWN_CHECK = 'per-request checkServerIdentity';

const base = Agent.prototype as unknown as Internals;
const https = HttpsAgent.prototype as unknown as Internals;

/**
 * Takes `http` and `https` requests through a SOCKS proxy.
 *
 * Errors of the tunnel arrive as the request's `error` event, a `SocksError` with an `ERR_SOCKS_*` code; errors of
 * the destination as they do without a proxy.
 *
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS` in the constructor
 * @example
 * const agent = new SocksAgent('socks5://127.0.0.1:1080', { keepAlive: true });
 * https.get('https://example.com/', { agent }, (response) => response.pipe(process.stdout));
 */
export class SocksAgent extends Agent {
  #client: SocksClient;
  readonly #newClient: () => SocksClient;
  readonly #opening = new Map<ClientRequest, Opening>();
  readonly #sessions: SessionCache;

  constructor(proxy: ProxyRoute, options: SocksAgentOptions = {}) {
    const { connectTimeout: timeout, lookup, tcp, auth, pipeline, standby, ...agentOptions } = options;
    super(agentOptions);
    const given = { timeout, lookup, tcp, auth, pipeline, standby };
    const clientOptions = Object.fromEntries(
      Object.entries(given).filter(([, value]) => value !== undefined),
    ) as ClientOptions;
    this.#newClient = () => new SocksClient(proxy, clientOptions);
    this.#client = this.#newClient();
    this.#sessions = new SessionCache(options.maxCachedSessions);
    // One agent for two protocols: no protocol of its own, and a port that says "none was given".
    const { protocol, defaultPort = protocol === undefined ? PORT_UNSET : standardPort(protocol) } = options;
    Object.defineProperties(this, {
      protocol: { value: protocol, writable: true, configurable: true },
      defaultPort: { value: defaultPort, writable: true, configurable: true },
    });
  }

  /** Without agent-base's search through a stack trace: Node says in the options which module asked. */
  override isSecureEndpoint(options?: AgentConnectOpts): boolean {
    return options !== undefined && isSecure(options);
  }

  /** Node's name of a pool, kept apart by proxy and credentials, with none of them readable in it. */
  override getName(options?: AgentConnectOpts): string {
    const name = super.getName(options);
    const chain = (options as RequestOptions | undefined)?.[CHAIN];
    return chain === undefined ? name : `${name}:${chainKey(chain)}`;
  }

  addRequest(req: ClientRequest, options: RequestOptions): void {
    if (Object.is(this.defaultPort, PORT_UNSET)) fixPort(req, options);
    try {
      if (options.socketPath !== undefined) {
        throw new SocksError('ERR_SOCKS_INVALID_DESTINATION', {
          phase: 'input',
          detail: 'a request to a Unix socket (socketPath) cannot go through a proxy',
        });
      }
      const chain = this.#client.select(destinationOf(options));
      if (chain instanceof Promise) throw new TypeError('SocksAgent cannot wait for a selector yet');
      options[CHAIN] = chain;
    } catch (error) {
      fail(req, error as Error);
      return;
    }
    base.addRequest.call(this, req, options);
  }

  override createSocket(req: ClientRequest, options: RequestOptions, created: Created): void {
    // A request that waited in the queue stays first in it until there is a socket, but must not be found twice.
    const queue = this.#dequeue(req, options);
    const opening = new Opening(req, this.#timeoutOf(req));
    this.#opening.set(req, opening);
    base.createSocket.call(this, req, options, (error, socket) => {
      opening.end();
      this.#opening.delete(req);
      if (!error) {
        if (queue !== undefined) (this.#internals.requests[queue] ??= []).unshift(req);
        created(null, socket);
        return;
      }
      // A request destroyed meanwhile ends as Node ends it; its own reason wins over ours.
      if (req.destroyed) fail(req, req.aborted && opening.late ? hangUp() : undefined);
      else created(error);
      // The place is free again: the next in the queue gets its turn.
      this.#internals.removeSocket({ writable: true }, options);
    });
  }

  override async connect(req: ClientRequest, options: RequestOptions): Promise<Socket> {
    const { family, localAddress, lookup, noDelay } = options;
    const tcp = {
      ...(family && { family }),
      ...(localAddress && { localAddress }),
      ...(noDelay === false && { noDelay }),
    };
    const signal = this.#opening.get(req)?.signal;
    signal?.throwIfAborted();
    const { socket } = await this.#client.connect(destinationOf(options), {
      ...(signal && { signal }),
      ...(options[CHAIN] && { chain: options[CHAIN] }),
      ...(lookup && { lookup }),
      ...(isSecure(options) && { tls: this.#secure(options) }),
      tcp,
    });
    const { keepAlive, keepAliveMsecs } = this.#internals;
    if (keepAlive) socket.setKeepAlive(true, keepAliveMsecs);
    const timeout = this.#timeoutOf(req);
    if (timeout) socket.setTimeout(timeout);
    return socket;
  }

  override keepSocketAlive(socket: Duplex): boolean {
    return https.keepSocketAlive.call(this, socket);
  }

  /** As Node's: ends all sockets; here also those that are still being opened. The agent stays usable. */
  override destroy(): void {
    for (const req of this.#opening.keys()) req.destroy();
    void this.#client.close();
    this.#client = this.#newClient();
    super.destroy();
  }

  #secure(options: RequestOptions): SecureOptions {
    const ownCheck = Object.getOwnPropertySymbols(options).find(
      ({ description }) => description === OWN_CHECK,
    );
    const key = this.getName(options as AgentConnectOpts);
    const session = ownCheck ? undefined : this.#sessions.get(key);
    const onSocket = (socket: TLSSocket): void => {
      if (ownCheck) Object.assign(socket, { [ownCheck]: true });
      else this.#sessions.watch(key, socket);
      if (this.listenerCount('keylog') === 0) return;
      // Node listens only to sockets that it has, and it has this one when the handshake is done.
      const onKeylog = (line: Buffer): boolean => this.emit('keylog', line, socket);
      socket.on('keylog', onKeylog).once('secureConnect', () => socket.off('keylog', onKeylog));
    };
    return { ...(session && { session }), ...(options as ConnectionOptions), onSocket };
  }

  #timeoutOf(req: ClientRequest): number | undefined {
    return (req as { timeout?: number }).timeout || this.#internals.options.timeout;
  }

  #dequeue(req: ClientRequest, options: RequestOptions): string | undefined {
    const { requests } = this.#internals;
    const name = this.getName(options as AgentConnectOpts);
    if (requests[name]?.[0] !== req) return undefined;
    requests[name].shift();
    if (requests[name].length === 0) delete requests[name];
    return name;
  }

  get #internals(): Internals {
    return this as unknown as Internals;
  }
}

function destinationOf(options: RequestOptions): {
  host: string;
  port: number;
  protocol: 'http:' | 'https:';
} {
  return {
    host: options.host ?? 'localhost',
    port: Number(options.port),
    protocol: isSecure(options) ? 'https:' : 'http:',
  };
}

function standardPort(protocol: string): number {
  return protocol === 'https:' ? 443 : 80;
}

function fail(req: ClientRequest, error: Error | undefined): void {
  (req as unknown as { onSocket(socket: null, error?: Error): void }).onSocket(null, error);
}

/** What Node says of a request that was aborted while its socket was connecting. */
function hangUp(): Error {
  return Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
}
