// An http.Agent for http and https whose sockets are tunnels. Pools, queues and keep-alive are Node's; this file opens
// a socket for a request, and tells Node when that fails.

import { AsyncResource } from 'node:async_hooks';
import type { AgentOptions as HttpsAgentOptions } from 'node:https';
import type { ClientRequest } from 'node:http';
import type { LookupFunction, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { chainKey, SecureContexts, SessionCache, SocksClient } from '@socksify/core';
import type { Chain, ClientOptions, Destination, ProxyRoute, SecureOptions, Selection } from '@socksify/core';
import { Agent } from 'agent-base';
import { bindConstructor } from './bound-constructor.ts';
import { cutPort, HTTP_PORT, HTTPS_PORT, PORT_UNSET } from './default-port.ts';
import type { PortOptions } from './default-port.ts';
import { failRequest, moduleProtocol, nodeAgent, nodeHttpsAgent, ownCheckMark } from './node-http.ts';
import type { Created, NodeAgent, NodeRequest } from './node-http.ts';
import { checkTimeouts, Opening } from './opening.ts';
import { PendingSocket, secureStream } from './pending-socket.ts';
import {
  DIAL_OPTIONS,
  OPENING,
  SELECTED,
  toDestination,
  unixSocket,
  withoutUndefined,
} from './request-options.ts';
import type { OpeningSlot, RequestOptions } from './request-options.ts';

/** Options of Node's `https.Agent`, and those of a tunnel with the time limit named `connectTimeout`. */
export interface SocksAgentOptions extends HttpsAgentOptions, Omit<ClientOptions, 'timeout' | 'lookup'> {
  /** Milliseconds for a new socket: a selector's promise, look-ups, dial, handshake and TLS. Default 30000; 0: none. */
  connectTimeout?: number | undefined;
  /**
   * The agent serves this protocol alone, as `http.globalAgent` and `https.globalAgent` have to. Default: http and
   * https.
   */
  protocol?: string | undefined;
  /** The port of a request that names none. Default: that of its protocol. */
  defaultPort?: number | undefined;
}

/**
 * What belongs to a request in Node's queue. Node opens its socket later, with the options and in the async context of
 * another request.
 */
interface Queued {
  readonly options: RequestOptions;
  readonly context: AsyncResource;
  /** createSocket() runs in this context now. */
  entered?: true;
}

/** Node takes a stream that createConnection() returns, and otherwise waits for the callback. */
const NO_STREAM = undefined as never;

const DEFAULT_CONNECT_TIMEOUT = 30_000;

/**
 * Sends `http` and `https` requests through a SOCKS proxy.
 *
 * Errors of the tunnel arrive as the request's `error` event, a `SocksError` with an `ERR_SOCKS_*` code; errors of
 * the destination as they do without a proxy.
 *
 * @throws (in the constructor) SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS`; TypeError
 * `ERR_INVALID_ARG_VALUE` for an option
 * @example
 * const agent = new SocksAgent('socks5://127.0.0.1:1080', { keepAlive: true });
 * https.get('https://example.com/', { agent }, (response) => response.pipe(process.stdout));
 */
export class SocksAgent extends Agent {
  #client: SocksClient;
  readonly #newClient: () => SocksClient;
  readonly #connectTimeout: number;
  readonly #lookup: LookupFunction | undefined;
  readonly #selects: boolean;
  #protocol: string | undefined;
  #defaultPort: number | undefined;
  #constructing = false;
  readonly #openings = new Map<NodeRequest, Opening>();
  readonly #queued = new WeakMap<NodeRequest, Queued>();
  readonly #sessions: SessionCache;
  readonly #contexts = new SecureContexts();
  /**
   * Its signal is for the next selection. It is replaced only after a selector that returned a promise, because no other
   * selection uses the signal.
   */
  #unusedAbort: AbortController | undefined;
  /** This agent, with the parts that @types/node does not declare. */
  readonly #node = this as unknown as NodeAgent;
  /** The request for which Node looks for a socket, until it opens a new one. */
  #adding: NodeRequest | undefined;

  constructor(proxy: ProxyRoute, options: SocksAgentOptions = {}) {
    if (typeof options !== 'object' || options === null) {
      throw Object.assign(new TypeError('options must be an object'), { code: 'ERR_INVALID_ARG_VALUE' });
    }
    const given: SocksAgentOptions & { proxyEnv?: unknown } = withoutUndefined(options);
    // With `proxyEnv`, Node would write request heads for an HTTP proxy, with the credentials of that proxy.
    const { connectTimeout, lookup, tcp, auth, pipeline, standby, proxyEnv: _, ...agentOptions } = given;
    super(agentOptions);
    const ofDial: RequestOptions = agentOptions;
    const { protocol, defaultPort, maxCachedSessions, keepAlive, keepAliveMsecs = 1000 } = given;
    const clientOptions: ClientOptions = {
      timeout: connectTimeout,
      lookup,
      auth,
      pipeline,
      standby,
      tcp: {
        ...Object.fromEntries(DIAL_OPTIONS.map((name) => [name, ofDial[name] ?? undefined])),
        ...(keepAlive && { keepAlive, keepAliveInitialDelay: keepAliveMsecs }),
        ...tcp,
      },
    };
    this.#newClient = () => newClient(proxy, clientOptions);
    this.#client = this.#newClient();
    this.#connectTimeout = connectTimeout ?? DEFAULT_CONNECT_TIMEOUT;
    this.#lookup = lookup;
    this.#selects = typeof proxy === 'function';
    this.#sessions = new SessionCache(maxCachedSessions);
    this.#protocol = protocol;
    this.#defaultPort = defaultPort;
    bindConstructor(this, SocksAgent, proxy, given);
  }

  // Undefined in an agent for http and https.
  override get protocol(): string {
    this.#constructing = true;
    return this.#protocol as string;
  }

  override set protocol(protocol: string | undefined) {
    if (#protocol in this) this.#protocol = protocol;
  }

  // In an agent for http and https this is 0, which code that builds URLs reads as the default port of the protocol.
  // `ClientRequest` would read 0 as port 80, so it gets PORT_UNSET. It is recognised by what it reads: first `protocol`,
  // then `defaultPort`, once.
  override get defaultPort(): number {
    const unset = this.#constructing ? PORT_UNSET : 0;
    this.#constructing = false;
    if (this.#defaultPort !== undefined) return this.#defaultPort;
    if (this.#protocol === undefined) return unset;
    return this.#protocol === 'https:' ? HTTPS_PORT : HTTP_PORT;
  }

  override set defaultPort(port: number) {
    if (#protocol in this) this.#defaultPort = port;
  }

  // Replaces the method of agent-base, which searches a stack trace.
  override isSecureEndpoint(given: object = {}): boolean {
    const options: PortOptions = given;
    return (
      options.secureEndpoint ?? (options.protocol ?? moduleProtocol(options) ?? this.#protocol) === 'https:'
    );
  }

  /** Node's name of a pool. With a selector, the key of its answer is added; no credentials can be read from it. */
  override getName(given: object = {}): string {
    const options: RequestOptions = given;
    const secure = options.secureEndpoint ?? this.isSecureEndpoint(options);
    const name = (secure ? nodeHttpsAgent : nodeAgent).getName.call(this.#node, options);
    const { [SELECTED]: selected } = options;
    return selected ? `${name}:${chainKey(selected.chain)}` : name;
  }

  addRequest(request: ClientRequest, given: object | string, port?: number, localAddress?: string): void {
    const req: NodeRequest = request;
    // Old programs call addRequest(req, host, port, localAddress).
    const options: RequestOptions =
      typeof given === 'string'
        ? { host: given, port, ...(localAddress !== undefined && { localAddress }) }
        : given;
    const secure = this.isSecureEndpoint(options);
    options.secureEndpoint = secure;
    this.#constructing = false;
    if (this.#protocol === undefined && this.#defaultPort === undefined) {
      const standard = secure ? HTTPS_PORT : HTTP_PORT;
      if (options.port === PORT_UNSET) options.port = standard;
      else if (Number(options.port) === standard) cutPort(req, options);
    }
    if (this.#selects) checkTimeouts(req.timeout, this.options.timeout);
    try {
      // For Node, the options of the agent come before those of a request.
      const ofAgent: RequestOptions = this.options;
      const { socketPath = options.socketPath } = ofAgent;
      if (socketPath) throw unixSocket();
      // With an opening, the selector of the request has answered.
      if (this.#selects && !this.#openings.has(req) && this.#select(req, options)) return;
    } catch (error) {
      failRequest(req, error);
      return;
    }
    const outer = this.#adding;
    this.#adding = req;
    try {
      nodeAgent.addRequest.call(this.#node, req, options);
      if (this.#adding === req && !req.reusedSocket) {
        this.#queued.set(req, { options, context: new AsyncResource('SocksRequest') });
        this.#makeRoom(req);
      }
    } finally {
      this.#adding = outer;
    }
  }

  /**
   * Closes an idle socket of another pool if the request waits for `maxTotalSockets`. Node's agent would wait until the
   * server closes one. With a selector that rotates, every request could wait so.
   */
  #makeRoom(req: NodeRequest): void {
    const { requests, sockets, totalSocketCount } = this.#node;
    if (totalSocketCount < this.maxTotalSockets) return;
    const name = Object.keys(requests).find((pool) => requests[pool]?.at(-1) === req) ?? '';
    if ((sockets[name] ?? []).length >= this.maxSockets) return;
    const idle = Object.values(this.freeSockets).flat();
    idle.find((socket) => !socket?.destroyed)?.destroy();
  }

  /** @returns true if the selector has not answered yet: its request is added later. */
  #select(req: NodeRequest, options: RequestOptions): boolean {
    const ofAgent: RequestOptions = this.options;
    const { host = options.host, port = options.port } = ofAgent;
    const destination = toDestination({ host, port }, options.secureEndpoint === true);
    // The selector may itself send a request over this agent.
    const abort = this.#unusedAbort ?? new AbortController();
    this.#unusedAbort = undefined;
    const chain = this.#client.select(destination, abort);
    if (chain !== 'direct' && 'then' in chain) {
      void this.#addWhenSelected(req, options, chain, abort);
      return true;
    }
    this.#unusedAbort = abort;
    options[SELECTED] = { chain, waited: 0 };
    return false;
  }

  /** Until the selector has answered, Node sees the request as one whose socket is being opened. */
  async #addWhenSelected(
    req: NodeRequest,
    options: RequestOptions,
    chain: Promise<Selection>,
    abort: AbortController,
  ): Promise<void> {
    const timeout = req.timeout || this.options.timeout;
    const opening = new Opening(req, this.#openings, timeout, undefined, abort);
    try {
      const began = performance.now();
      options[SELECTED] = { chain: await chain, waited: performance.now() - began };
      // Not that of a subclass, which has seen this request.
      SocksAgent.prototype.addRequest.call(this, req, options);
      // No socket is being opened for it: it got an idle one, or its place in the queue.
      if (!opening.pool) opening.end();
    } catch (error) {
      opening.end();
      opening.fail(error);
    }
  }

  // Opens a socket for the request. For one that was queued, Node calls this in the async context of another request, with
  // the options of the socket of that other request: these name the pool in which the socket is counted.
  override createSocket(
    request: ClientRequest,
    place: object,
    created: (error: Error | null, socket?: Duplex) => void,
  ): void {
    const req: NodeRequest = request;
    if (this.#adding === req) this.#adding = undefined;
    const queued = this.#queued.get(req);
    if (queued && !queued.entered) {
      queued.entered = true;
      queued.context.runInAsyncScope(() => {
        try {
          SocksAgent.prototype.createSocket.call(this, req, place, created);
        } catch (error) {
          created(error as Error);
        }
      });
      return;
    }
    this.#queued.delete(req);
    const agent = this.#node;
    const name = this.getName(place);
    // A request from the queue is taken out of it while its socket is being opened, so that Node does not find it
    // twice. When there is a socket, it is first in the queue again.
    const queue = agent.requests[name];
    const isFirst = queue?.[0] === req;
    if (isFirst) {
      queue.shift();
      if (queue.length === 0) delete agent.requests[name];
    }
    const timeout = req.timeout || this.options.timeout;
    const opening = this.#openings.get(req) ?? new Opening(req, this.#openings, timeout, queued?.context);
    opening.pool = agent.sockets;
    opening.name = name;
    (agent.sockets[name] ??= []).push(opening);
    agent.totalSocketCount++;
    const slot: OpeningSlot = { opening };
    const end = (): void => {
      opening.end();
      slot.opening = undefined;
      agent.totalSocketCount--;
    };
    const onCreated: Created = (error, socket) => {
      end();
      if (!error) {
        if (isFirst) (agent.requests[name] ??= []).unshift(req);
        created(null, socket);
        return;
      }
      if (req.destroyed) opening.fail(error);
      else created(error);
      // The place in the pool is free again, so Node turns to the next request in the queue.
      agent.removeSocket(opening, place);
    };
    try {
      if (timeout) checkTimeouts(req.timeout, this.options.timeout);
      const options: RequestOptions = queued?.options ?? place;
      // For createConnection(), which Node calls with a copy of the options.
      options[OPENING] = slot;
      nodeAgent.createSocket.call(agent, req, options, onCreated);
      options[OPENING] = undefined;
    } catch (error) {
      end();
      agent.removeSocket(opening, place);
      throw error;
    }
  }

  // Opens a tunnel for these options, which are those of a request. Node itself gets the socket by the callback. Any other
  // caller gets a stream at once, for https a `TLSSocket`; the callback gets the same stream when it is connected.
  override createConnection(
    given: object = {},
    created?: (error: Error | null, stream: Duplex) => void,
  ): Duplex {
    const options: RequestOptions = given;
    if (options.socketPath) throw unixSocket();
    const opening = options[OPENING]?.opening;
    if (opening) {
      this.connect(opening.request, options).then(created?.bind(undefined, null), (error) =>
        created?.(error || new Error(`connect() failed: ${String(error)}`), NO_STREAM),
      );
      return NO_STREAM;
    }
    const pending = new PendingSocket((signal) =>
      this.connect(undefined, { ...options, [OPENING]: { opening: { request: undefined, signal } } }),
    );
    const secure = this.isSecureEndpoint(options);
    const socket = secure ? secureStream(pending, toDestination(options, secure), options) : pending;
    if (created) {
      socket.once('error', created).once(secure ? 'secureConnect' : 'connect', () => {
        socket.off('error', created);
        created(null, socket);
      });
    }
    return socket;
  }

  // Opens the tunnel, and TLS in it for https.
  override async connect(request: ClientRequest | undefined, given: object): Promise<Socket> {
    const req: NodeRequest | undefined = request;
    const options: RequestOptions = given;
    const { [OPENING]: { opening } = {}, [SELECTED]: selected } = options;
    const secure = options.secureEndpoint ?? this.isSecureEndpoint(options);
    const destination = toDestination(options, secure);
    const ofAgent: RequestOptions = this.options;
    // PendingSocket and its caller handle the timeout of the agent, and TLS.
    const isTunnel = opening !== undefined && opening.request === undefined;
    const timeout = (isTunnel ? undefined : req?.timeout || ofAgent.timeout) ?? options.timeout;
    const waited = this.#connectTimeout > 0 ? selected?.waited : 0;
    // The client has those of the agent.
    let tcp: Record<string, unknown> | undefined;
    for (const name of DIAL_OPTIONS) {
      const value = options[name];
      if (value !== undefined && value !== null && value !== ofAgent[name]) (tcp ??= {})[name] = value;
    }
    const { socket } = await this.#client.connect(destination, {
      signal: opening?.signal,
      chain: selected?.chain,
      lookup: (!this.#lookup && options.lookup) || undefined,
      tcp,
      timeout: waited ? Math.max(1, this.#connectTimeout - waited) : undefined,
      tls: secure && !isTunnel ? this.#secure.bind(this, options, destination) : undefined,
      prepare: timeout ? (opened) => void opened.setTimeout(timeout) : undefined,
    });
    return socket;
  }

  /** Ends all sockets, as Node does, and those that are still being opened. The agent stays usable. */
  override destroy(): void {
    for (const req of this.#openings.keys()) req.destroy();
    void this.#client.close();
    this.#client = this.#newClient();
    super.destroy();
  }

  /** @param chain a TLS session of another chain would link the two */
  #secure(options: RequestOptions, { port }: Destination, chain: Chain): SecureOptions {
    const ownCheck = options.checkServerIdentity && ownCheckMark(options);
    const key = `${this.getName(options)}:${chainKey(chain)}`;
    const session = ownCheck ? undefined : this.#sessions.get(key);
    const onSocket = (socket: TLSSocket): void => {
      if (ownCheck) Object.assign(socket, { [ownCheck]: true });
      else this.#sessions.watch(key, socket);
      if (this.listenerCount('keylog') === 0) return;
      // Node listens for `keylog` only on sockets that it has, and it gets this one after the handshake.
      const onKeylog = (line: Buffer): boolean => this.emit('keylog', line, socket);
      socket.on('keylog', onKeylog).once('secureConnect', () => socket.off('keylog', onKeylog));
    };
    const secureContext = this.#contexts.get(options);
    return { ...(session && { session }), ...options, port, secureContext, onSocket };
  }

  static {
    Object.assign(this.prototype, { keepSocketAlive: nodeHttpsAgent.keepSocketAlive });
  }
}

function newClient(proxy: ProxyRoute, options: ClientOptions): SocksClient {
  try {
    return new SocksClient(proxy, options);
  } catch (error) {
    if (error instanceof TypeError) error.message = error.message.replace(/^timeout /, 'connectTimeout ');
    // Traces are ten lines long. This one begins at the caller, whose line would be cut off otherwise.
    if (error instanceof Error) Error.captureStackTrace(error, SocksAgent);
    throw error;
  }
}
