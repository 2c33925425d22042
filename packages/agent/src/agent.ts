// An http.Agent for http and https whose sockets are tunnels. Pools, queues and keep-alive are Node's; this file opens
// a socket for a request, and tells Node when that fails.

import { AsyncResource } from 'node:async_hooks';
import type { ClientRequest } from 'node:http';
import type { AgentOptions as HttpsAgentOptions } from 'node:https';
import { isIP } from 'node:net';
import type { LookupFunction, Socket, TcpNetConnectOpts } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as startTls } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import { chainKey, SessionCache, SocksClient, SocksError } from '@socksify/core';
import type { Chain, ClientOptions, Destination, ProxyRoute, SecureOptions } from '@socksify/core';
import { Agent } from 'agent-base';
import type { AgentConnectOpts } from 'agent-base';
import {
  endRequest,
  endWithFalsyError,
  keepSocketAlive,
  moduleProtocol,
  nodeAgent,
  ownCheckMark,
  timeoutOf,
} from './node.ts';
import type { Created, NodeAgent } from './node.ts';
import { bindConstructor } from './bound-constructor.ts';
import { checkTimeout, Opening } from './opening.ts';
import { fixPort, PORT_UNSET, standardPort } from './origin.ts';
import type { OriginOptions } from './origin.ts';
import { PendingSocket } from './pending.ts';

/** Options of Node's `https.Agent`, and those of a tunnel with the deadline named `connectTimeout`. */
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

/** The options of one request, as Node hands them to its agent: those that are used here. */
interface RequestOptions extends OriginOptions, Partial<Omit<TcpNetConnectOpts, 'port'>> {
  readonly socketPath?: string | null | undefined;
  readonly timeout?: number | undefined;
  readonly highWaterMark?: number | undefined;
  [SELECTED]?: Selected;
  [OPENING]?: Opening;
}

/** What a selector chose for one request, and how many milliseconds its promise took. */
interface Selected {
  readonly chain: Chain;
  readonly waited: number;
}

/**
 * What belongs to a request in Node's queue. Node opens its socket later, with the options and in the async context of
 * another request.
 */
interface Queued {
  readonly options: RequestOptions;
  readonly context: AsyncResource;
}

const SELECTED: unique symbol = Symbol('socksify.selected');
const OPENING: unique symbol = Symbol('socksify.opening');

const DEFAULT_CONNECT_TIMEOUT = 30_000;

/** Options of the dial. A request can have them, and the agent can have them for all requests. */
const DIAL_OPTIONS = [
  'family',
  'localAddress',
  'localPort',
  'hints',
  'highWaterMark',
  'autoSelectFamily',
  'autoSelectFamilyAttemptTimeout',
  'noDelay',
] as const;

/**
 * Sends `http` and `https` requests through a SOCKS proxy.
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
  readonly #connectTimeout: number;
  readonly #lookup: LookupFunction | undefined;
  readonly #selects: boolean;
  #protocol: string | undefined;
  #defaultPort: number | undefined;
  #constructing = false;
  readonly #openings = new Map<ClientRequest, Opening>();
  readonly #queued = new WeakMap<ClientRequest, Queued>();
  readonly #sessions: SessionCache;
  /**
   * Given to each selection, for its signal. Replaced only after a selector that returned a promise: no other uses it.
   */
  #unusedAbort: AbortController | undefined;
  /** The request for which Node looks for a socket, until it opens a new one. */
  #adding: ClientRequest | undefined;

  constructor(proxy: ProxyRoute, options: SocksAgentOptions = {}) {
    if (typeof options !== 'object' || options === null) {
      throw Object.assign(new TypeError('options are an object'), { code: 'ERR_INVALID_ARG_VALUE' });
    }
    const given = withoutUndefined(options);
    const { connectTimeout, lookup, tcp, auth, pipeline, standby, ...agentOptions } = given;
    // With `proxyEnv`, Node would write request heads for an HTTP proxy, with the credentials of that proxy.
    delete (agentOptions as { proxyEnv?: unknown }).proxyEnv;
    super(agentOptions);
    const { protocol, defaultPort, maxCachedSessions, keepAlive, keepAliveMsecs = 1000 } = given;
    const clientOptions: ClientOptions = {
      timeout: connectTimeout,
      lookup,
      auth,
      pipeline,
      standby,
      tcp: {
        ...pick(agentOptions),
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
    const value = bindConstructor(new.target, proxy, given);
    Object.defineProperty(this, 'constructor', { value, writable: true, configurable: true });
  }

  // Undefined in an agent for http and https.
  override get protocol(): string {
    this.#constructing = true;
    return this.#protocol as string;
  }

  override set protocol(protocol: string | undefined) {
    if (#protocol in this) this.#protocol = protocol;
  }

  // 0 in an agent for http and https: code that builds URLs takes it for the default port of the protocol.
  // `ClientRequest` would take 0 for port 80, so it gets PORT_UNSET. It is recognised by its reads: `protocol`, and
  // then, once, `defaultPort`.
  override get defaultPort(): number {
    const unset = this.#constructing ? PORT_UNSET : 0;
    this.#constructing = false;
    if (this.#servesBoth) return unset;
    return this.#defaultPort ?? standardPort(this.#protocol === 'https:');
  }

  override set defaultPort(port: number) {
    if (#protocol in this) this.#defaultPort = port;
  }

  get #servesBoth(): boolean {
    return this.#protocol === undefined && this.#defaultPort === undefined;
  }

  // Replaces the method of agent-base, which searches a stack trace.
  override isSecureEndpoint(options: object = {}): boolean {
    const { secureEndpoint, protocol } = options as OriginOptions;
    return secureEndpoint ?? (protocol ?? moduleProtocol(options) ?? this.#protocol) === 'https:';
  }

  /** Node's name of a pool. With a selector, the key of its answer is added; no credentials can be read from it. */
  override getName(options?: object): string {
    const name = super.getName(options as AgentConnectOpts);
    const { [SELECTED]: selected } = (options ?? {}) as RequestOptions;
    return selected ? `${name}:${chainKey(selected.chain)}` : name;
  }

  addRequest(req: ClientRequest, given: object | string, port?: number, localAddress?: string): void {
    // Old programs call addRequest(req, host, port, localAddress).
    const options: RequestOptions =
      typeof given === 'string'
        ? { host: given, port, ...(localAddress !== undefined && { localAddress }) }
        : given;
    options.secureEndpoint = this.isSecureEndpoint(options);
    this.#constructing = false;
    if (this.#servesBoth) fixPort(req, options, options.secureEndpoint);
    if (this.#selects) this.#checkTimeouts(req);
    try {
      const { socketPath = options.socketPath } = this.options as RequestOptions;
      if (socketPath) throw unixSocket();
      if (this.#selects) {
        // For Node, the options of the agent come before those of a request.
        const { host = options.host, port: chosenPort = options.port } = this.options as RequestOptions;
        const { secureEndpoint } = options;
        // The selector may itself send a request over this agent.
        const abort = this.#unusedAbort ?? new AbortController();
        this.#unusedAbort = undefined;
        const chain = this.#client.select(
          this.#destination({ host, port: chosenPort, secureEndpoint }),
          abort,
        );
        if (chain !== 'direct' && 'then' in chain) {
          void this.#waitFor(chain, req, options, abort);
          return;
        }
        this.#unusedAbort = abort;
        options[SELECTED] = { chain, waited: 0 };
      }
    } catch (error) {
      fail(req, error);
      return;
    }
    this.#add(req, options);
  }

  /** Until the selector has answered, Node sees the request as one whose socket is being opened. */
  async #waitFor(
    chain: Promise<Chain>,
    req: ClientRequest,
    options: RequestOptions,
    abort: AbortController,
  ): Promise<void> {
    const opening = this.#begin(req, undefined, abort);
    try {
      const began = performance.now();
      options[SELECTED] = { chain: await chain, waited: performance.now() - began };
      this.#add(req, options);
      // No socket is being opened for it: it got an idle one, or its place in the queue.
      if (!opening.opens) this.#end(req, opening);
    } catch (error) {
      this.#end(req, opening);
      failOrHangUp(req, opening, error);
    }
  }

  #add(req: ClientRequest, options: RequestOptions): void {
    const outer = this.#adding;
    this.#adding = req;
    try {
      nodeAgent.addRequest.call(this.#node, req, options);
      if (this.#adding === req && !req.reusedSocket)
        this.#queued.set(req, { options, context: new AsyncResource('SocksRequest') });
    } finally {
      this.#adding = outer;
    }
  }

  override createSocket(req: ClientRequest, options: object, created: Created): void {
    const given = options as RequestOptions;
    if (this.#adding === req) this.#adding = undefined;
    const queued = this.#queued.get(req);
    if (queued === undefined) {
      this.#open(req, given, given, created);
      return;
    }
    // Node calls createSocket() for a queued request in the async context of another request, with the options of the
    // socket of that other request.
    this.#queued.delete(req);
    queued.context.runInAsyncScope(() => {
      try {
        this.#open(req, queued.options, given, created, queued.context);
      } catch (error) {
        created(error as Error);
      }
    });
  }

  /** @param place the options that name the pool in which the socket counts */
  #open(
    req: ClientRequest,
    options: RequestOptions,
    place: RequestOptions,
    created: Created,
    context?: AsyncResource,
  ): void {
    const agent = this.#node;
    const name = this.getName(place);
    // A request from the queue is taken out of it while its socket is being opened, so that Node does not find it
    // twice. When there is a socket, it is first in the queue again.
    const queued = agent.requests[name]?.[0] === req;
    if (queued) removeFrom(agent.requests, name, req);
    const opening = this.#begin(req, context);
    opening.opens = true;
    (agent.sockets[name] ??= []).push(opening);
    agent.totalSocketCount++;
    const end = (): void => {
      this.#end(req, opening);
      agent.totalSocketCount--;
    };
    const onCreated: Created = (error, socket) => {
      end();
      if (!error) {
        removeFrom(agent.sockets, name, opening);
        if (queued) (agent.requests[name] ??= []).unshift(req);
        created(null, socket);
        return;
      }
      if (req.destroyed) failOrHangUp(req, opening, error);
      else created(error);
      // The place in the pool is free again, so Node turns to the next request in the queue.
      agent.removeSocket(opening, place);
    };
    try {
      this.#checkTimeouts(req);
      nodeAgent.createSocket.call(agent, req, { ...options, [OPENING]: opening }, onCreated);
    } catch (error) {
      end();
      agent.removeSocket(opening, place);
      throw error;
    }
  }

  #checkTimeouts(req: ClientRequest): void {
    checkTimeout(timeoutOf(req));
    checkTimeout(this.options.timeout);
  }

  #begin(req: ClientRequest, context?: AsyncResource, abort?: AbortController): Opening {
    const known = this.#openings.get(req);
    if (known) return known;
    const opening = new Opening(req, context, abort);
    opening.arm(timeoutOf(req) || this.options.timeout);
    this.#openings.set(req, opening);
    return opening;
  }

  #end(req: ClientRequest, opening: Opening): void {
    opening.end();
    this.#openings.delete(req);
  }

  /**
   * Opens a tunnel for these options, which are those of a request. Node itself gets the socket by the callback. Any
   * other caller gets a stream at once, for https a `TLSSocket`; the callback gets the same stream when it is
   * connected.
   */
  override createConnection(
    options: object = {},
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex {
    const given = options as RequestOptions;
    if (given.socketPath) throw unixSocket();
    const created = callback as Created | undefined;
    const opening = given[OPENING];
    if (opening) {
      this.connect(opening.request, given).then(
        (socket) => created?.(null, socket),
        (error: unknown) => created?.((error || new Error(`connect() failed: ${String(error)}`)) as Error),
      );
      return undefined as unknown as Duplex;
    }
    const secure = this.isSecureEndpoint(given);
    const pending = new PendingSocket((signal) => this.#connect(given, false, signal));
    const socket = secure ? secureStream(pending, this.#destination(given), options) : pending;
    if (created) {
      socket.once('error', created).once(secure ? 'secureConnect' : 'connect', () => {
        socket.off('error', created);
        created(null, socket);
      });
    }
    return socket;
  }

  /** Opens the tunnel, and TLS in it for https. */
  override connect(req: ClientRequest | undefined, options: object): Promise<Socket> {
    const given = options as RequestOptions;
    const signal = given[OPENING]?.signal;
    return this.#connect(
      given,
      this.isSecureEndpoint(given),
      signal,
      (req && timeoutOf(req)) || this.options.timeout,
    );
  }

  async #connect(
    options: RequestOptions,
    secure: boolean,
    signal: AbortSignal | undefined,
    timeout: number | undefined = options.timeout,
  ): Promise<Socket> {
    const { chain, waited = 0 } = options[SELECTED] ?? {};
    const lookup = this.#lookup ? undefined : options.lookup;
    const { socket } = await this.#client.connect(this.#destination(options), {
      signal,
      chain,
      lookup,
      tcp: pick(options, this.options),
      timeout: waited && this.#connectTimeout ? Math.max(1, this.#connectTimeout - waited) : undefined,
      tls: secure ? this.#secure(options) : undefined,
      prepare: timeout ? (opened) => void opened.setTimeout(timeout) : undefined,
    });
    return socket;
  }

  override keepSocketAlive(socket: Duplex): boolean {
    return keepSocketAlive.call(this, socket);
  }

  /** Ends all sockets, as Node does, and those that are still being opened. The agent stays usable. */
  override destroy(): void {
    for (const req of this.#openings.keys()) req.destroy();
    void this.#client.close();
    this.#client = this.#newClient();
    super.destroy();
  }

  #secure(options: RequestOptions): SecureOptions {
    const ownCheck = ownCheckMark(options);
    const key = this.getName(options);
    const session = ownCheck ? undefined : this.#sessions.get(key);
    const onSocket = (socket: TLSSocket): void => {
      if (ownCheck) Object.assign(socket, { [ownCheck]: true });
      else this.#sessions.watch(key, socket);
      if (this.listenerCount('keylog') === 0) return;
      // Node listens for `keylog` only on sockets that it has, and it gets this one after the handshake.
      const onKeylog = (line: Buffer): boolean => this.emit('keylog', line, socket);
      socket.on('keylog', onKeylog).once('secureConnect', () => socket.off('keylog', onKeylog));
    };
    return { ...(session && { session }), ...(options as ConnectionOptions), onSocket };
  }

  #destination(options: RequestOptions): Destination {
    const secure = this.isSecureEndpoint(options);
    const { host, port } = options;
    return {
      host: host || 'localhost',
      port: Number(port || port === 0 ? port : standardPort(secure)),
      protocol: secure ? 'https:' : 'http:',
    };
  }

  get #node(): NodeAgent {
    return this as unknown as NodeAgent;
  }
}

function newClient(proxy: ProxyRoute, options: ClientOptions): SocksClient {
  try {
    return new SocksClient(proxy, options);
  } catch (error) {
    if (error instanceof TypeError) error.message = error.message.replace(/^timeout /, 'connectTimeout ');
    throw error;
  }
}

function secureStream(stream: PendingSocket, { host }: Destination, options: ConnectionOptions): TLSSocket {
  try {
    // An IP address is no SNI name (RFC 6066 section 3).
    return startTls({ servername: isIP(host) ? '' : host, ...withoutUndefined(options), socket: stream });
  } catch (error) {
    stream.destroy();
    throw error;
  }
}

/** Those options of the dial that are given and differ from those of the agent. */
function pick(options: RequestOptions, known: RequestOptions = {}): Partial<TcpNetConnectOpts> {
  const picked: Record<string, unknown> = {};
  for (const name of DIAL_OPTIONS) {
    const value = options[name];
    if (value !== undefined && value !== null && value !== known[name]) picked[name] = value;
  }
  return picked;
}

function withoutUndefined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

function unixSocket(): SocksError {
  const detail = 'a request to a Unix socket (socketPath) cannot go through a proxy';
  return new SocksError('ERR_SOCKS_INVALID_DESTINATION', { phase: 'input', detail });
}

function removeFrom<T>(lists: Record<string, T[]>, name: string, member: T): void {
  const list = lists[name];
  const index = list?.indexOf(member) ?? -1;
  if (index === -1) return;
  list?.splice(index, 1);
  if (list?.length === 0) delete lists[name];
}

function fail(req: ClientRequest, error: unknown): void {
  if (error || req.destroyed) endRequest(req, error);
  else endWithFalsyError(req, error);
}

/** Fails the request. One that was destroyed meanwhile ends as Node ends it, with the error of its own destroy(). */
function failOrHangUp(req: ClientRequest, { late }: Opening, error: unknown): void {
  if (!req.destroyed) fail(req, error);
  else endRequest(req, req.aborted && late ? hangUp() : undefined);
}

/** The error that Node gives to a request that was aborted while its socket was connecting. */
function hangUp(): Error {
  return Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
}
