// Wraps the one method in which every TCP and Unix connection of a process begins. Each connection is made directly, made
// through the proxy, or refused.

import { Socket } from 'node:net';
import { readCall, withDestination } from './connect-call.ts';
import { beginConnecting } from './handle.ts';
import type { HttpClient } from './http-clients.ts';
import { isTls } from './internals.ts';
import type { Patches } from './patches.ts';
import type { Placeholders } from './placeholders.ts';
import { connectionHint, print, refusal } from './policy.ts';
import type { Policy } from './policy.ts';
import { isOwn } from './tunnels.ts';
import type { Tunnels } from './tunnels.ts';
import { fieldOf } from './unknown.ts';

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
  check(socket: Socket, client: HttpClient): Error | undefined;
  /** True while Node connects a socket that may be direct to this name: Node may look it up. */
  isConnecting(name: string): boolean;
  /** True if this socket may connect without the proxy. */
  mayConnect(socket: object): boolean;
}

export function watchSockets(options: SocketOptions): Sockets {
  const { patches, policy, tunnels, strict, placeholders, client, approved } = options;
  /** Sockets of the program that are left alone, and their destinations. */
  const others = new WeakMap<object, string>();
  /** Sockets that an http client was given before they were connected. They must not keep the request. */
  const claimed = new WeakMap<object, HttpClient>();
  const direct = new WeakSet<object>();
  /** The names to which Node connects now. The program's own code can run meanwhile, and may look up no other name. */
  const names: (string | undefined)[] = [];

  patches.wrap(Socket.prototype, 'connect', (original, socket: Socket, args) => {
    const call = readCall(args);
    const callbacks = call?.callback ? [call.callback] : [];
    const pass = (exact?: object): unknown => {
      direct.add(socket);
      names.push(call?.destination?.host);
      try {
        return Reflect.apply(original, socket, exact ? [exact, ...callbacks] : args);
      } finally {
        names.pop();
      }
    };
    if (!call || isOwn(call.options)) return pass();
    const { options: given, path, destination } = call;
    const http = client() ?? claimed.get(socket);
    const isOther = !http && strict === false;
    if (path !== undefined) {
      if (isOther) return passOther(socket, path, pass);
      if (!policy.isDirectPath(path))
        return refuse(socket, refusal('a Unix socket', path, `list it: allow: '${path}'`));
      approved.add(socket);
      return pass(given);
    }
    if (!destination) return pass(given);
    if (isOther) return passOther(socket, print(destination), pass);

    const { port } = destination;
    const isAlias = destination.host === http?.servername && Boolean(fieldOf(given, 'lookup'));
    const host = (isAlias && http?.hostname) || destination.host;
    const to = { host: placeholders?.nameOf(host) ?? host, port };
    if (policy.isDirect(to)) {
      approved.add(socket);
      return pass(withDestination(given, to, policy));
    }
    if (!http && strict === true) {
      const what = isTls(socket) ? 'a TLS connection' : 'a TCP connection';
      return refuse(socket, refusal(what, print(to), connectionHint(to.host, true)));
    }
    for (const callback of callbacks) socket.once('connect', callback);
    approved.add(socket);
    const protocol = isTls(socket) ? 'https:' : http?.protocol;
    tunnels.connect(socket, http ? { ...to, protocol: protocol === 'https:' ? protocol : 'http:' } : to);
    return socket;
  });

  /** Leaves the socket of the program alone, and remembers where it leads. */
  function passOther(socket: Socket, destination: string, pass: () => unknown): unknown {
    others.set(socket, destination);
    approved.delete(socket);
    return pass();
  }

  return {
    isConnecting: (name) => names.includes(name),
    mayConnect: (socket) => direct.has(socket),
    check(socket, { protocol }) {
      // TLS over a socket leads where that socket leads.
      let at: unknown = socket;
      while (at instanceof Socket) {
        if (approved.has(at)) return undefined;
        // A server accepted this socket, so it was not dialled here.
        if (fieldOf(at, '_server')) return undefined;
        const parent = fieldOf(at, '_parent');
        if (!parent) break;
        at = parent;
      }
      // Other streams do not say where they lead.
      if (!(at instanceof Socket) || at.destroyed) return undefined;
      if (at.pending && !at.connecting) {
        claimed.set(at, { protocol });
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

function refuse(socket: Socket, error: Error): Socket {
  beginConnecting(socket);
  // As Node reports that a connection failed: later, so that there is time to listen for it.
  process.nextTick(() => socket.destroy(error));
  return socket;
}
