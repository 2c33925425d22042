// An http.Agent for http and https whose sockets are tunnels. Pools, queues and keep-alive are Node's; this file
// knows how to open a socket for a request, and how to tell Node when that fails.

import type { ClientRequest } from 'node:http';
import type { AgentOptions as HttpsAgentOptions } from 'node:https';
import type { LookupFunction, Socket } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { SocksClient, SocksError } from '@socksify/core';
import type { ProxyRoute, SocksOptions, Via } from '@socksify/core';
import { Agent } from 'agent-base';
import type { AgentConnectOpts } from 'agent-base';
import { fixPort, isSecure, PORT_UNSET } from './origin.ts';
import type { OriginOptions } from './origin.ts';
import { PoolNames } from './pool-names.ts';

/** Options of Node's `https.Agent`, and those of a tunnel with the deadline named `connectTimeout`. */
export interface SocksAgentOptions extends HttpsAgentOptions, Omit<SocksOptions, 'timeout' | 'lookup'> {
  /** Milliseconds for a new socket: look-ups, dial, handshake and TLS. Default 30000; 0: none. */
  connectTimeout?: number;
}

const VIA: unique symbol = Symbol('socksify.via');

/** Of the options of one request, as Node hands them to its agent, what is of interest here. */
interface RequestOptions extends OriginOptions {
  readonly host?: string | undefined;
  readonly socketPath?: string | undefined;
  readonly family?: number | undefined;
  readonly localAddress?: string | undefined;
  readonly lookup?: LookupFunction | undefined;
  readonly timeout?: number | undefined;
  readonly keepAlive?: boolean | undefined;
  readonly keepAliveInitialDelay?: number | undefined;
  [VIA]?: Via;
}
type Created = (error: Error | null, socket?: Socket) => void;

/** What Node's Agent has and @types/node does not tell. */
interface Internals {
  addRequest(req: ClientRequest, options: object): void;
  createSocket(req: ClientRequest, options: object, created: Created): void;
  removeSocket(socket: object, options: object): void;
  requests: Record<string, ClientRequest[]>;
}

const base = Agent.prototype as unknown as Internals;

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
  readonly #names = new PoolNames();

  constructor(proxy: ProxyRoute, options: SocksAgentOptions = {}) {
    const { connectTimeout, tcp, auth, pipeline, ...agentOptions } = options;
    super(agentOptions);
    this.#newClient = () =>
      new SocksClient(proxy, {
        ...(connectTimeout !== undefined && { timeout: connectTimeout }),
        ...(tcp && { tcp }),
        ...(auth && { auth }),
        ...(pipeline !== undefined && { pipeline }),
      });
    this.#client = this.#newClient();
    // One agent for two protocols: no protocol of its own, and a port that says "none was given".
    Object.defineProperties(this, {
      protocol: { value: undefined, writable: true, configurable: true },
      defaultPort: { value: PORT_UNSET, writable: true, configurable: true },
    });
  }

  /** Without agent-base's search through a stack trace: Node says in the options which module asked. */
  override isSecureEndpoint(options?: AgentConnectOpts): boolean {
    return options !== undefined && isSecure(options);
  }

  /** Node's name of a pool, kept apart by proxy and credentials, with none of them readable in it. */
  override getName(options?: AgentConnectOpts): string {
    const name = super.getName(options);
    const via = (options as RequestOptions | undefined)?.[VIA];
    return via === undefined ? name : `${name}:${this.#names.of(via)}`;
  }

  addRequest(req: ClientRequest, options: RequestOptions): void {
    fixPort(req, options);
    try {
      if (options.socketPath !== undefined) {
        throw new SocksError('ERR_SOCKS_INVALID_DESTINATION', {
          phase: 'input',
          detail: 'a request to a Unix socket (socketPath) cannot go through a proxy',
        });
      }
      options[VIA] = this.#client.select(destinationOf(options));
    } catch (error) {
      fail(req, error as Error);
      return;
    }
    base.addRequest.call(this, req, options);
  }

  override createSocket(req: ClientRequest, options: RequestOptions, created: Created): void {
    // A request that waited in the queue stays first in it until there is a socket, but must not be found twice.
    const queue = this.#dequeue(req);
    base.createSocket.call(this, req, options, (error, socket) => {
      if (!error) {
        if (queue !== undefined) (this.#internals.requests[queue] ??= []).unshift(req);
        created(null, socket);
        return;
      }
      // A request destroyed meanwhile ends as Node ends it; its own reason wins over ours.
      if (req.destroyed) req.onSocket(undefined as unknown as Socket);
      else created(error);
      // The place is free again: the next in the queue gets its turn.
      this.#internals.removeSocket({ writable: true }, options);
    });
  }

  override async connect(req: ClientRequest, options: RequestOptions): Promise<Socket> {
    const abort = new AbortController();
    const restore = onDestroy(req, () => abort.abort());
    try {
      const { family, localAddress, lookup } = options;
      const { socket } = await this.#client.connect(destinationOf(options), {
        signal: abort.signal,
        ...(options[VIA] && { via: options[VIA] }),
        ...(lookup && { lookup }),
        ...(isSecure(options) && { tls: { ALPNProtocols: ['http/1.1'], ...(options as ConnectionOptions) } }),
        tcp: { ...(family && { family }), ...(localAddress && { localAddress }) },
      });
      if (options.keepAlive !== undefined)
        socket.setKeepAlive(options.keepAlive, options.keepAliveInitialDelay);
      if (options.timeout) socket.setTimeout(options.timeout);
      return socket;
    } finally {
      restore();
    }
  }

  /** As Node's: ends all sockets; here also those that are still being opened. The agent stays usable. */
  override destroy(): void {
    void this.#client.close();
    this.#client = this.#newClient();
    super.destroy();
  }

  #dequeue(req: ClientRequest): string | undefined {
    for (const [name, waiting] of Object.entries(this.#internals.requests)) {
      const place = waiting.indexOf(req);
      if (place === -1) continue;
      waiting.splice(place, 1);
      if (waiting.length === 0) delete this.#internals.requests[name];
      return name;
    }
    return undefined;
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

function fail(req: ClientRequest, error: Error): void {
  (req as unknown as { onSocket(socket: null, error: Error): void }).onSocket(null, error);
}

/** A request that has no socket yet says nothing when it is destroyed, so its method is watched for the while. */
function onDestroy(req: ClientRequest, listener: () => void): () => void {
  if (req.destroyed) listener();
  const destroy = req.destroy.bind(req);
  const watched = (error?: Error): ClientRequest => {
    destroy(error);
    listener();
    return req;
  };
  req.destroy = watched;
  return () => {
    if (req.destroy === watched) req.destroy = destroy;
  };
}
