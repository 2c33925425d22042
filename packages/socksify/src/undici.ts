// Finds out which sockets are dialled by undici, inside Node or from npm. Every undici announces on a diagnostics channel
// that it is about to call its connector, which dials before it returns.

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { Check, HttpClient } from './http.ts';
import type { Patches } from './patches.ts';

export interface UndiciClients {
  /** The connection that undici has announced. It can be taken once. */
  take(): HttpClient | undefined;
}

interface ConnectMessage {
  readonly connectParams?: { readonly protocol?: string };
  readonly socket: Duplex;
}
interface RequestMessage {
  readonly request: { readonly body?: unknown };
  readonly socket?: Duplex;
}

/** @param check called with each socket before undici writes to it; what it returns ends the connection */
export function watchUndici(patches: Patches, check: Check): UndiciClients {
  let announced: HttpClient | undefined;
  const listen = (name: string, listener: (message: never) => void): void => {
    const onMessage = (message: unknown): void => listener(message as never);
    subscribe(name, onMessage);
    patches.onUndo(() => void unsubscribe(name, onMessage));
  };
  listen('undici:client:beforeConnect', ({ connectParams }: ConnectMessage) => {
    const connection = { protocol: connectParams?.protocol };
    announced = connection;
    // If the connector dials nothing at once, the next socket of the program must not be taken for that of undici.
    queueMicrotask(() => {
      if (announced === connection) announced = undefined;
    });
  });
  listen('undici:client:connected', ({ socket, connectParams }: ConnectMessage) => {
    const error = check(socket, { protocol: connectParams?.protocol });
    if (error) socket.destroy(error);
  });
  // A pool can hold connections from the time before the installation.
  listen('undici:client:sendHeaders', ({ socket, request }: RequestMessage) => {
    const error = socket && check(socket, {});
    if (!error) return;
    // With this code undici sends the request again, on a new connection. A body may have been read already.
    const canRepeat = !request.body && (socket as Partial<TLSSocket>).alpnProtocol !== 'h2';
    socket.destroy(canRepeat ? Object.assign(error, { code: 'UND_ERR_INFO' }) : error);
  });
  return {
    take: () => {
      const connection = announced;
      announced = undefined;
      return connection;
    },
  };
}
