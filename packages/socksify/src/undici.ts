// Tells the sockets of undici, inside Node or from npm, from others. Every undici says on a diagnostics channel that it
// is about to call its connector, which dials before it returns.

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Duplex } from 'node:stream';
import type { HttpClient } from './http.ts';
import type { Patches } from './patches.ts';

export interface UndiciClients {
  /** The connection that undici has announced. It can be taken once. */
  take(): HttpClient | undefined;
}

/** @param check called with each socket before undici writes to it; what it returns ends the connection */
export function watchUndici(patches: Patches, check: (socket: Duplex) => Error | undefined): UndiciClients {
  let announced: HttpClient | undefined;
  const listen = (name: string, listener: (message: any) => void): void => {
    subscribe(name, listener);
    patches.onUndo(() => void unsubscribe(name, listener));
  };
  listen('undici:client:beforeConnect', ({ connectParams }) => {
    const connection = { protocol: connectParams?.protocol as string | undefined };
    announced = connection;
    // A connector that dials nothing at once must not leave this to the next socket of the program.
    queueMicrotask(() => {
      if (announced === connection) announced = undefined;
    });
  });
  listen('undici:client:connected', ({ socket }) => {
    const error = check(socket as Duplex);
    if (error) (socket as Duplex).destroy(error);
  });
  return {
    take: () => {
      const connection = announced;
      announced = undefined;
      return connection;
    },
  };
}
