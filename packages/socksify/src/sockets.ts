// Wraps the one method in which every TCP and Unix connection of a process begins. Each connection is made directly, made
// through the proxy, or refused.

import net from 'node:net';
import type { LookupFunction, NetConnectOpts, Socket, TcpNetConnectOpts } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Destination } from '@socksify/core';
import { beginConnecting, isTls } from './handle.ts';
import type { HttpClient } from './http.ts';
import type { Patches } from './patches.ts';
import type { Placeholders } from './placeholders.ts';
import { connectionHint, print, refusal } from './policy.ts';
import type { Policy } from './policy.ts';
import { isOwn } from './tunnels.ts';
import type { Tunnels } from './tunnels.ts';

/** `false`: only http clients and undici are proxied. `true`: other sockets are refused. `tcp`: they are tunnelled too. */
export type Strict = boolean | 'tcp';

export interface SocketOptions {
  readonly patches: Patches;
  readonly policy: Policy;
  readonly tunnels: Tunnels;
  readonly strict: Strict;
  /** The names for which look-ups were answered. */
  readonly placeholders?: Placeholders | undefined;
  /** The http client or undici for which the running code dials, if any. Called once for each connection. */
  readonly client: () => HttpClient | undefined;
  /** Sockets that an http client may use: each leads through the proxy, or to a destination that is listed. */
  readonly approved: WeakSet<object>;
}

export interface Sockets {
  /**
   * The error for a connection that an http client is about to use although it bypasses the proxy: the program dialled it
   * itself, or it was dialled before the installation. A socket that is not connected yet will be tunnelled.
   */
  check(socket: Duplex, client: HttpClient): Error | undefined;
  /** True while Node connects a socket that may be direct: it may look its name up. */
  isConnecting(): boolean;
  /** True if this socket may connect without the proxy. */
  mayConnect(socket: object): boolean;
}

export function watchSockets(options: SocketOptions): Sockets {
  const { patches, policy, tunnels, strict, placeholders, client, approved } = options;
  /** Sockets of the program that are left alone, and their destinations. */
  const others = new WeakMap<object, string>();
  /** Sockets that an http client was given before they were connected. */
  const claimed = new WeakMap<object, HttpClient>();
  const direct = new WeakSet<object>();
  let depth = 0;

  patches.wrap(net.Socket.prototype, 'connect', (original, socket: Socket, args) => {
    const call = readCall(args);
    const pass = (exact?: NetConnectOpts): unknown => {
      direct.add(socket);
      depth++;
      try {
        return Reflect.apply(original, socket, exact ? [exact, ...callbackOf(call)] : args);
      } finally {
        depth--;
      }
    };
    if (!call || isOwn(call.options)) return pass();
    const path = pathOf(call.options);
    const destination = path === undefined ? destinationOf(call.options) : undefined;
    // Without a valid port Node throws, and connects to nothing.
    if (path === undefined && !destination) return pass(call.options);

    const http = client() ?? claimed.get(socket);
    if (!http && strict === false) {
      others.set(socket, path ?? print(destination as Destination));
      approved.delete(socket);
      return pass();
    }
    if (path !== undefined) {
      if (!policy.isDirectPath(path)) {
        return refuse(socket, refusal('a Unix socket', path, `list it: allow: '${path}'`));
      }
      approved.add(socket);
      return pass(call.options);
    }
    const { host, port } = destination as Destination;
    const to = { host: placeholders?.nameOf(host) ?? host, port };
    if (policy.isDirect(to)) {
      approved.add(socket);
      return pass(exactly(to, call.options as TcpNetConnectOpts, policy));
    }
    if (!http && strict === true) {
      const what = isTls(socket) ? 'a TLS connection' : 'a TCP connection';
      return refuse(socket, refusal(what, print(to), connectionHint(to.host, true)));
    }
    for (const callback of callbackOf(call)) socket.once('connect', callback);
    approved.add(socket);
    const protocol = isTls(socket) ? 'https:' : http?.protocol;
    tunnels.connect(socket, http ? { ...to, protocol: protocol === 'https:' ? protocol : 'http:' } : to);
    return socket;
  });

  return {
    isConnecting: () => depth > 0,
    mayConnect: (socket) => direct.has(socket),
    check(socket, user) {
      // TLS over a socket leads where that socket leads.
      let at: unknown = socket;
      while (at instanceof net.Socket) {
        if (approved.has(at)) return undefined;
        const { _parent: parent, _server: server } = at as { _parent?: unknown; _server?: unknown };
        // A server accepted this socket, so it was not dialled here.
        if (server) return undefined;
        if (!parent) break;
        at = parent;
      }
      // Other streams do not say where they lead.
      if (!(at instanceof net.Socket) || at.destroyed) return undefined;
      if (at.pending && !at.connecting) {
        claimed.set(at, user);
        return undefined;
      }
      const { remoteAddress: host, remotePort: port = 0 } = at;
      if (host !== undefined && policy.isDirect({ host, port })) return undefined;
      const destination =
        others.get(at) ?? (host === undefined ? 'an unknown destination' : print({ host, port }));
      const what = others.has(at)
        ? 'a connection that the program made itself and gave to an http client'
        : 'a connection from the time before socksify was installed';
      return refusal(what, destination, connectionHint(destination.replace(/:\d+$/, ''), false));
    },
  };
}

interface Call {
  readonly options: NetConnectOpts;
  readonly callback?: (() => void) | undefined;
}

/** The forms of `socket.connect`, and the array that `net.connect` makes of them. */
function readCall(args: readonly unknown[]): Call | undefined {
  const [first, second] = args;
  // The array of net.connect() has no names. An array that has some is an object with options.
  if (Array.isArray(first) && !('port' in first || 'path' in first))
    return readCall(first.filter((value) => value !== null));
  const last = args.at(-1);
  const callback = typeof last === 'function' ? (last as () => void) : undefined;
  if (typeof first === 'object' && first !== null)
    return { options: readOnce(first as TcpNetConnectOpts & { path?: string }), callback };
  if (typeof first === 'string' && !(Number(first) >= 0)) return { options: { path: first }, callback };
  if (typeof first !== 'number' && typeof first !== 'string') return undefined;
  const host = typeof second === 'string' ? second : undefined;
  return { options: { port: Number(first), ...(host !== undefined && { host }) }, callback };
}

function callbackOf(call: Call | undefined): (() => void)[] {
  return call?.callback ? [call.callback] : [];
}

function pathOf(options: NetConnectOpts): string | undefined {
  return 'path' in options && options.path ? options.path : undefined;
}

function destinationOf(options: NetConnectOpts): Destination | undefined {
  const { host, port } = options as { host?: unknown; port?: unknown };
  const number = Number(port);
  const isPort = (typeof port === 'number' || (typeof port === 'string' && port !== '')) && number >= 0;
  if (!isPort || number > 65_535 || !Number.isInteger(number)) return undefined;
  return { host: textOf(host) || 'localhost', port: number };
}

/** A host as text. Node converts it too, whatever the program gives. */
function textOf(value: unknown): string {
  return value ? ''.concat(value as string) : '';
}

function refuse(socket: Socket, error: Error): Socket {
  beginConnecting(socket);
  // As Node reports that a connection failed: later, so that there is time to listen for it.
  process.nextTick(() => socket.destroy(error));
  return socket;
}

/** The options as they are now. A getter could give another destination when Node reads it after the check. */
function readOnce(options: TcpNetConnectOpts & { path?: string }): NetConnectOpts {
  const prototype = Object.getPrototypeOf(options) as unknown;
  if (prototype === Object.prototype || prototype === null) return { ...options };
  // An object of a class can inherit options.
  const { host, port, path, lookup } = options;
  const own = Object.getOwnPropertyDescriptors({ ...options, host, port, path, lookup });
  return Object.create(options, own) as NetConnectOpts;
}

/** The options, with the destination that was checked. */
function exactly(to: Destination, options: TcpNetConnectOpts, policy: Policy): NetConnectOpts {
  const { lookup } = options;
  const own = lookup && lookup !== process.getBuiltinModule('node:dns').lookup && net.isIP(to.host) === 0;
  // What readOnce() has made is not the program's.
  return Object.assign(options, to, own && { lookup: checkedLookup(lookup, to, policy) });
}

/** A listed name says nothing about the addresses that a look-up function of the program gives for it. */
function checkedLookup(lookup: LookupFunction, to: Destination, policy: Policy): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, options, (error, address, family) => {
      // Read once, as the options are.
      const found = Array.isArray(address) ? address.map((each) => ({ ...each })) : address;
      const addresses = Array.isArray(found) ? found.map((each) => each.address) : [found];
      const bad = error ? undefined : addresses.find((each) => !policy.isDirectAddress(to, each));
      if (bad === undefined) return callback(error, found, family);
      const what = `the program's own lookup says ${bad} for ${to.host}`;
      callback(refusal(what, print({ ...to, host: bad }), connectionHint(bad, false)), '', 0);
    });
  };
}
