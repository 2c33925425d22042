// Checks connections on the native side of TCP and of Unix sockets, which every module and `process.binding` share: one
// is made only for a socket that has been checked.

import net from 'node:net';
import { bindingOf } from './bindings.ts';
import { ownerOf } from './handle.ts';
import type { Patches } from './patches.ts';
import { connectionHint, print, refusal } from './policy.ts';

/**
 * @param connect the method `connect` of Node's sockets, before it was wrapped
 * @param mayConnect true for a socket that has been checked
 */
export function watchNative(
  patches: Patches,
  connect: typeof net.Socket.prototype.connect,
  mayConnect: (socket: object) => boolean,
): void {
  const watch = (native: object, name: string, refused: (args: readonly unknown[]) => Error): void => {
    patches.wrap(native, name, (original, handle: object, args) => {
      const owner = ownerOf(handle);
      if (typeof owner === 'object' && owner !== null && mayConnect(owner))
        return Reflect.apply(original, handle, args);
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
  const { Pipe } = (bindingOf('pipe_wrap') ?? {}) as { Pipe?: { prototype: object } };
  if (!Pipe) return;
  watch(Pipe.prototype, 'connect', ([, path]) =>
    refusal('a native connection to a Unix socket', String(path), `list it: allow: '${String(path)}'`),
  );
}

/** A socket gets its native side when it begins to connect. This one waits for its look-up, and never connects. */
function nativeTcp(connect: typeof net.Socket.prototype.connect): object {
  const socket = new net.Socket();
  Reflect.apply(connect, socket, [{ host: 'native.invalid', port: 9, lookup: () => {} }]);
  const { _handle } = socket as unknown as { _handle: object };
  socket.destroy();
  return Object.getPrototypeOf(_handle) as object;
}
