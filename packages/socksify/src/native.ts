// Checks connections on the native side of TCP and of Unix sockets, which every module and `process.binding` share: one
// is made only for a socket that has been checked.

import { Socket } from 'node:net';
import { bindingOf } from './bindings.ts';
import { ownerOf, prototypeOfHandle } from './internals.ts';
import type { Patches } from './patches.ts';
import { connectionHint, print, refusal } from './policy.ts';
import { fieldOf, isObject } from './unknown.ts';

/**
 * @param connect the method `connect` of Node's sockets, before it was wrapped
 * @param mayConnect true for a socket that has been checked
 */
export function watchNative(
  patches: Patches,
  connect: typeof Socket.prototype.connect,
  mayConnect: (socket: object) => boolean,
): void {
  const watch = (native: object, name: string, refused: (args: readonly unknown[]) => Error): void => {
    patches.wrap(native, name, (original, handle: object, args) => {
      const owner = ownerOf(handle);
      if (isObject(owner) && mayConnect(owner)) return Reflect.apply(original, handle, args);
      throw refused(args);
    });
  };
  const tcp = nativeTcp(connect);
  for (const name of ['connect', 'connect6']) {
    watch(tcp, name, ([, host, port]) => {
      const to = { host: String(host), port: Number(port) };
      return refusal('a native TCP connection', print(to), connectionHint(to.host, true));
    });
  }
  const pipe = fieldOf(fieldOf(bindingOf('pipe_wrap'), 'Pipe'), 'prototype');
  if (!isObject(pipe)) return;
  watch(pipe, 'connect', ([, path]) =>
    refusal('a native connection to a Unix socket', String(path), `list it: allow: '${String(path)}'`),
  );
}

/**
 * The class of the native side of TCP. Where the binding is hidden, from a socket: it gets its native side when it begins
 * to connect. This one waits for its look-up, and never connects. The binding is cheaper, because Node would match the
 * name with its long pattern for IPv6.
 */
function nativeTcp(connect: typeof Socket.prototype.connect): object {
  const shown = fieldOf(fieldOf(bindingOf('tcp_wrap'), 'TCP'), 'prototype');
  if (isObject(shown)) return shown;
  const socket = new Socket();
  Reflect.apply(connect, socket, [{ host: 'native.invalid', port: 9, lookup: () => {} }]);
  const prototype = prototypeOfHandle(fieldOf(socket, '_handle'));
  socket.destroy();
  return prototype;
}
