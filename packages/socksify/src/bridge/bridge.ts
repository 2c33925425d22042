// startBridge(): accepts clients of SOCKS4, SOCKS4A, SOCKS5 and HTTP on one port, and opens their tunnels.

import { once } from 'node:events';
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { parseHost, SocksClient } from '@socksify/core';
import type { Bound } from '@socksify/core';
import type { EnvironmentRoute } from '../environment.ts';
import { isObject } from '../unknown.ts';
import { cdOf, codeOf, repOf } from './answers.ts';
import { serveHttp } from './http.ts';
import { negotiate } from './negotiate.ts';
import { checkBridgeOptions } from './options.ts';
import type { BridgeOptions, Settings } from './options.ts';
import { drive, readExactly } from './read.ts';
import { dismiss, join } from './traffic.ts';
import { PORT as RESOLVE_PORT, resolve } from './resolve.ts';
import { CD, encodeReply4 } from './socks4.ts';
import { encodeReply5, REP } from './socks5.ts';
import { Refusal } from './steps.ts';
import type { Request, Steps } from './steps.ts';
import type { Destination } from './request-target.ts';
import { Visit } from './visit.ts';

export type { BridgeOptions } from './options.ts';

/** A bridge that listens. */
export interface Bridge extends AsyncDisposable {
  /** The address that it listens on. */
  readonly host: string;
  readonly port: number;
  /**
   * Stops listening, closes every connection, and resolves when all are closed. With `drain`, requests and tunnels have so
   * many milliseconds to end by themselves. It can be called again; the shortest time counts.
   */
  close(options?: { readonly drain?: number | undefined }): Promise<void>;
}

const HANDSHAKE_TIMEOUT = 10_000;
/** Longer than the proxy's own limit usually is, so that its answer can be passed on. */
const UPSTREAM_TIMEOUT = 30_000;
const IDLE_TIMEOUT = 60_000;
const MAX_DRAIN = 2 ** 31 - 1;
const TOO_SLOW = 'HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';
const MAX_HEAD = 64 * 1024;
/** How many clients beyond `maxConnections` wait: as many as Node's default for the queue of the system. */
const MAX_WAITING = 511;

/** @param fromEnvironment reads the route when the options have none. Passed in, because the preload shares its module */
export async function startBridge(
  options: BridgeOptions,
  fromEnvironment: () => EnvironmentRoute,
): Promise<Bridge> {
  const bridge = new RunningBridge(checkBridgeOptions(options, fromEnvironment));
  await bridge.listen();
  return bridge;
}

class RunningBridge implements Bridge {
  readonly #settings: Settings;
  readonly #client: SocksClient;
  readonly #server: Server;
  readonly #parseHttp: (client: Socket) => void;
  readonly #clients = new Set<Socket>();
  readonly #waiting = new Set<Socket>();
  /** How many requests of each client are in progress. */
  readonly #requests = new Map<Socket, number>();
  /** The time limit for the handshake or first head of each client. */
  readonly #deadlines = new WeakMap<Socket, NodeJS.Timeout>();
  #draining = false;
  #address: Pick<AddressInfo, 'address' | 'port'> = { address: '', port: 0 };

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#client = new SocksClient(settings.route, {
      timeout: UPSTREAM_TIMEOUT,
      tcp: { allowHalfOpen: true },
    });
    this.#server = createServer({
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
      insecureHTTPParser: false,
      requireHostHeader: false, // Node's own answer would not be logged
      maxHeaderSize: MAX_HEAD,
      headersTimeout: HANDSHAKE_TIMEOUT,
      requestTimeout: 0,
      keepAliveTimeout: IDLE_TIMEOUT,
      connectionsCheckingInterval: 1000,
    });
    // By default Node drops the fields behind the first thousand, but its parser still uses a length among them.
    this.#server.maxHeadersCount = 0;
    // This listener of Node parses HTTP on each connection. Here it is called only if the first byte is not of SOCKS.
    const parse = this.#server.listeners('connection');
    this.#parseHttp = (client) => {
      for (const listener of parse) Reflect.apply(listener, this.#server, [client]);
    };
    this.#server.removeAllListeners('connection').on('connection', (client: Socket) => this.#accept(client));
    serveHttp(this.#server, {
      user: settings.user,
      open: (client, destination, protocol) => this.#open(client, destination, protocol),
      begin: (client, protocol, destination) => this.#begin(client, protocol, destination),
      isBusy: (client) => this.#requests.has(client),
      onHead: (client) => clearTimeout(this.#deadlines.get(client)),
    });
  }

  async listen(): Promise<void> {
    const { host, port } = this.#settings;
    this.#server.listen({ host, port });
    await once(this.#server, 'listening');
    const address = this.#server.address();
    if (isObject(address)) this.#address = address;
    // Without a listener, the process would end when no file descriptor is left for a new connection.
    this.#server.on('error', ignore);
  }

  get host(): string {
    return this.#address.address;
  }

  get port(): number {
    return this.#address.port;
  }

  async close({ drain = 0 }: { readonly drain?: number | undefined } = {}): Promise<void> {
    this.#draining = true;
    const stopped = this.#server.listening ? once(this.#server, 'close') : undefined;
    this.#server.close();
    for (const client of this.#waiting) client.destroy();
    for (const client of this.#clients) if (drain <= 0 || !this.#requests.has(client)) client.destroy();
    const timer = setTimeout(() => void this.close(), Math.min(drain, MAX_DRAIN));
    // Each client leaves the set when its connection closes.
    for (const client of this.#clients) await once(client, 'close').catch(ignore);
    clearTimeout(timer);
    await this.#client.close();
    await stopped;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #accept(client: Socket): void {
    client.on('error', ignore);
    if (this.#draining) return void client.destroy();
    if (this.#clients.size < this.#settings.maxConnections) return this.#serve(client);
    if (this.#waiting.size >= MAX_WAITING) return void client.destroy();
    this.#waiting.add(client);
    client.once('close', () => this.#waiting.delete(client));
  }

  #serve(client: Socket): void {
    this.#clients.add(client);
    client.once('close', () => {
      this.#clients.delete(client);
      const [next] = this.#waiting;
      if (next === undefined || this.#draining) return;
      this.#waiting.delete(next);
      this.#serve(next);
    });
    const deadline = setTimeout(() => this.#giveUp(client), HANDSHAKE_TIMEOUT);
    this.#deadlines.set(client, deadline);
    client.once('close', () => clearTimeout(deadline));
    void this.#negotiate(client);
  }

  /** The client took too long. If it has begun to speak HTTP, it gets a 408. */
  #giveUp(client: Socket): void {
    this.#begin(client, 'client').end('no whole request in time');
    if (client.listenerCount('timeout') > 0) dismiss(client, TOO_SLOW);
    else client.destroy();
  }

  async #negotiate(client: Socket): Promise<void> {
    let steps: Steps<Request> | undefined;
    let request: Request;
    try {
      const bytes = await readExactly(client, 1);
      const [first = 0] = bytes;
      steps = negotiate(first, this.#settings.user?.check);
      if (steps === undefined) {
        client.unshift(bytes);
        return this.#parseHttp(client);
      }
      request = await drive(client, steps);
    } catch (error) {
      clearTimeout(this.#deadlines.get(client));
      if (!(error instanceof Refusal)) return void client.destroy();
      this.#begin(client, 'socks').end(`refused: ${error.message}`);
      return dismiss(client, error.answer);
    }
    clearTimeout(this.#deadlines.get(client));
    await this.#carryOut(client, request);
  }

  async #carryOut(client: Socket, { version, command, host: bytes, port }: Request): Promise<void> {
    const given = typeof bytes === 'string' ? bytes : decode(bytes);
    const host = parseHost(given) ?? '';
    const requested = { host, port: command === 'resolve' ? RESOLVE_PORT : port };
    const destination = `${host.includes(':') ? `[${host}]` : host}:${requested.port}`;
    const visit = this.#begin(client, `socks${version}`, host === '' ? given : destination);
    // Node notices a reset only while it reads.
    client.read(0);
    try {
      if (command === 'resolve') {
        const bound = await this.#resolve(client, requested);
        dismiss(client, encodeReply5(REP.SUCCEEDED, { ...bound, port: 0 }));
        return visit.end('resolved');
      }
      const { socket: tunnel, bound } = await this.#connect(client, requested);
      client.write(version === 5 ? encodeReply5(REP.SUCCEEDED, bound) : encodeReply4(CD.GRANTED));
      visit.carry(client, tunnel);
      join(client, tunnel);
    } catch (error) {
      visit.end(codeOf(error));
      const rep = repOf(error, destination);
      dismiss(client, version === 5 ? encodeReply5(rep) : encodeReply4(cdOf(error, destination)));
    }
  }

  async #open(client: Socket, destination: Destination, protocol: 'http:' | 'https:'): Promise<Socket> {
    const { socket } = await this.#connect(client, { ...destination, protocol });
    return socket;
  }

  /** An attempt that ends when the connection of the client closes. A FIN does not close it. */
  #connect(
    client: Socket,
    destination: Destination & { readonly protocol?: 'http:' | 'https:' },
  ): Promise<{ readonly socket: Socket; readonly bound: Bound }> {
    return whileOpen(client, (signal) =>
      this.#client.connect(destination, { signal, prepare: (socket) => void socket.on('error', ignore) }),
    );
  }

  #resolve(client: Socket, destination: Destination): Promise<Bound> {
    return whileOpen(client, async (signal) => {
      const chain = await this.#client.select(destination, { signal });
      return resolve(chain, destination, { signal, timeout: UPSTREAM_TIMEOUT });
    });
  }

  #begin(client: Socket, protocol: string, destination?: string): Visit {
    this.#requests.set(client, (this.#requests.get(client) ?? 0) + 1);
    return new Visit(protocol, destination, (line) => {
      this.#settings.log?.(line);
      const left = (this.#requests.get(client) ?? 1) - 1;
      if (left > 0) this.#requests.set(client, left);
      else this.#requests.delete(client);
      if (left === 0 && this.#draining && !client.destroyed) client.destroySoon();
    });
  }
}

async function whileOpen<T>(client: Socket, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const abort = new AbortController();
  const stop = (): void => abort.abort(Object.assign(new Error('the client left'), { code: 'ECONNRESET' }));
  if (client.destroyed) stop();
  client.once('close', stop);
  try {
    return await run(abort.signal);
  } finally {
    client.off('close', stop);
  }
}

/** Bytes that are not UTF-8 become U+FFFD, which makes the name invalid. */
function decode(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('utf8');
}

function ignore(): void {}
