// Finds out which sockets are dialled for requests of Node's http and https clients. What any agent dials for a request,
// also after an await, is dialled in the asynchronous context of that request.

import { AsyncLocalStorage } from 'node:async_hooks';
import type { ClientRequest } from 'node:http';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Patches } from './patches.ts';
import { fieldOf, isObject } from './unknown.ts';

/** What Node gives to an agent or to `createConnection`. */
interface RequestOptions {
  path?: string | undefined;
  readonly socketPath?: string | undefined;
  createConnection(options: object, created: Created): Duplex | undefined;
}
type Created = (error: unknown, socket?: Duplex) => void;
type Request = Omit<ClientRequest, 'onSocket'> & {
  onSocket(socket: Duplex | null, error?: Error): void;
};

/** The connections of an agent, by name. */
interface Pool {
  readonly freeSockets?: NodeJS.Dict<Socket[]>;
  readonly sockets?: NodeJS.Dict<Socket[]>;
}

// Not imported: an import reads every export of a module of Node, and some of them load much.
const http = process.getBuiltinModule('node:http');

/** The client for which something is dialled. */
export interface HttpClient {
  /** `http:` or `https:` */
  readonly protocol?: string | undefined;
  /** Of undici, which dials an address under the name in the Host header, with a look-up that gives the address. */
  readonly hostname?: string | undefined;
  readonly servername?: string | undefined;
}

/** The listeners of a request run in its context too, but they dial nothing for the request once it has a socket. */
interface DiallingClient extends HttpClient {
  isDialling?: boolean;
}

export interface HttpClients {
  /** The http or https request for which the running code dials, if any. */
  current(): HttpClient | undefined;
}

/** The methods of an agent in which it dials, or calls the code that does. */
const DIALLING = ['addRequest', 'createSocket'] as const;

/** An error for a connection that this client must not use. */
export type Check = (socket: Socket, client: HttpClient) => Error | undefined;

/** @param check called with each socket that a request gets; what it returns ends the request */
export function watchHttp(patches: Patches, check: Check): HttpClients {
  const storage = new AsyncLocalStorage<DiallingClient>();
  patches.onUndo(() => storage.disable());
  /** A connection keeps what is stored when it is dialled, so that is not the request, which may end long before. */
  const clients = new WeakMap<object, DiallingClient>();
  const dialFor = (request: unknown, dial: () => unknown): unknown => {
    if (!isObject(request)) return dial();
    const { protocol }: HttpClient = request;
    const client: DiallingClient = clients.get(request) ?? { protocol };
    client.isDialling = true;
    clients.set(request, client);
    return storage.run(client, dial);
  };

  const known = new WeakSet<object>();
  const agents = new WeakSet<object>();
  /** A class that extends Node's Agent may replace these methods, and an agent need not extend it at all. */
  const watchAgent = (agent: object): void => {
    for (
      let owner: unknown = agent;
      owner && owner !== Object.prototype;
      owner = Object.getPrototypeOf(owner)
    ) {
      if (known.has(owner)) continue;
      known.add(owner);
      for (const method of DIALLING) {
        if (!Object.hasOwn(owner, method)) continue;
        patches.wrap(owner, method, (original, self: Pool, args) => {
          if (!agents.has(self)) {
            agents.add(self);
            closeOldConnections(self, check);
          }
          const send = (): unknown => Reflect.apply(original, self, args);
          // That of Node gives the request a free socket, or dials in createSocket(), which is wrapped too.
          const isOfNode = owner === http.Agent.prototype && method === 'addRequest';
          return isOfNode ? send() : dialFor(args[0], send);
        });
      }
    }
  };
  watchAgent(http.Agent.prototype);

  /** Used where a request has no agent, but a `createConnection` of the program's own. Does what Node does then. */
  const noAgent = {
    keepAlive: false,
    maxSockets: Infinity,
    addRequest(request: Request, options: RequestOptions): void {
      Object.assign(request, { agent: undefined, _last: true, shouldKeepAlive: false });
      dialFor(request, () => createConnection(request, options));
    },
  };
  // Node assigns `agent` once, in the constructor, before it dials. An own property takes the place of this accessor.
  patches.define(http.ClientRequest.prototype, 'agent', {
    configurable: true,
    enumerable: true,
    get: () => undefined,
    set(this: Request, agent: object | undefined) {
      if (agent && patches.active) watchAgent(agent);
      const value = agent ?? (patches.active ? noAgent : agent);
      Object.defineProperty(this, 'agent', { value, writable: true, enumerable: true, configurable: true });
    },
  });

  patches.wrap(http.ClientRequest.prototype, 'onSocket', (original, self: Request, args) => {
    const client = clients.get(self);
    if (client) client.isDialling = false;
    const socket: unknown = args[0];
    // Other streams do not say where they lead.
    const error = socket instanceof Socket ? check(socket, self) : undefined;
    if (!error || !(socket instanceof Socket)) return Reflect.apply(original, self, args);
    socket.on('error', () => {}).destroy();
    return Reflect.apply(original, self, [null, error]);
  });

  return {
    current: () => {
      const client = storage.getStore();
      return client?.isDialling ? client : undefined;
    },
  };
}

/**
 * An agent can hold connections from the time before the installation. Those that are free are closed, so that the agent
 * dials again; those in use are closed after their response.
 */
function closeOldConnections({ freeSockets, sockets }: Pool, check: Check): void {
  const client: HttpClient = {};
  for (const socket of Object.values(freeSockets ?? {}).flat()) {
    if (socket && check(socket, client)) socket.destroy();
  }
  for (const socket of Object.values(sockets ?? {}).flat()) {
    const request = fieldOf(socket, '_httpMessage');
    if (socket && request instanceof http.ClientRequest && check(socket, client))
      request.shouldKeepAlive = false;
  }
}

/** As in the constructor of Node's ClientRequest. */
function createConnection(request: Request, options: RequestOptions): void {
  let settled = false;
  const created: Created = (error, socket) => {
    if (settled) return;
    settled = true;
    if (error) process.nextTick(() => request.emit('error', error));
    else request.onSocket(socket ?? null);
  };
  try {
    const path = options.socketPath || undefined;
    const socket = options.createConnection({ ...options, path }, created);
    if (socket) created(null, socket);
  } catch (error) {
    created(error);
  }
}
