// The native side of TCP, which everybody shares, `process.binding` too: it connects only for sockets that have been
// looked at.

import net from 'node:net';
import type { Patches } from './patches.ts';
import { connectionHint, print, refusal } from './policy.ts';

/**
 * @param connect the method `connect` of Node's sockets, as it was
 * @param mayConnect true for a socket that has been looked at
 */
export function watchNative(
  patches: Patches,
  connect: typeof net.Socket.prototype.connect,
  mayConnect: (socket: object) => boolean,
): void {
  const native = nativeTcp(connect);
  for (const name of ['connect', 'connect6']) {
    patches.wrap(native, name, (original, handle, args) => {
      const owner = ownerOf(handle as object);
      if (owner && mayConnect(owner)) return Reflect.apply(original, handle, args);
      const [, host, port] = args as [unknown, unknown, unknown];
      const to = { host: String(host), port: Number(port) };
      throw refusal('a native TCP connection', print(to), connectionHint(to.host, true));
    });
  }
}

/** What a socket is given when it begins to connect. This one waits for its look-up, and never connects. */
function nativeTcp(connect: typeof net.Socket.prototype.connect): object {
  const socket = new net.Socket();
  Reflect.apply(connect, socket, [{ host: 'native.invalid', port: 9, lookup: () => {} }]);
  const { _handle } = socket as unknown as { _handle: object };
  socket.destroy();
  return Object.getPrototypeOf(_handle) as object;
}

function ownerOf(handle: object): object | undefined {
  for (let at: object | null = handle; at; at = Object.getPrototypeOf(at) as object | null) {
    const symbol = Object.getOwnPropertySymbols(at).find(({ description }) => description === 'owner_symbol');
    if (symbol) return (handle as Record<symbol, object | undefined>)[symbol];
  }
  return undefined;
}
