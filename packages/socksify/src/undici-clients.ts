// Finds out which sockets are dialled by undici, inside Node or from npm. Every undici announces on a diagnostics channel
// that it is about to call its connector, which dials before it returns.

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { Socket } from 'node:net';
import type { Check, HttpClient } from './http-clients.ts';
import type { Patches } from './patches.ts';
import { fieldOf, isObject } from './unknown.ts';

/**
 * undici 5 and 6 compile their parser while the first connection opens, and listen to its socket only then. They wait for
 * ever for a socket that closed before, so the event comes once more. `@socksify/undici` does this for its own sockets.
 */
const SHOWS_CLOSE = Symbol.for('socksify.showsClose');

export interface UndiciClients {
  /** The connection that undici has announced. It can be taken once. */
  take(): HttpClient | undefined;
}

/** @param check called with each socket before undici writes to it; what it returns ends the connection */
export function watchUndici(patches: Patches, check: Check): UndiciClients {
  let announced: HttpClient | undefined;
  const listen = (name: string, listener: (message: unknown) => void): void => {
    subscribe(name, listener);
    patches.onUndo(() => void unsubscribe(name, listener));
  };
  listen('undici:client:beforeConnect', (message) => {
    const connection = clientOf(message);
    announced = connection;
    // If the connector dials nothing at once, the next socket of the program must not be taken for that of undici.
    queueMicrotask(() => {
      if (announced === connection) announced = undefined;
    });
  });
  listen('undici:client:connected', (message) => {
    const socket = socketOf(message);
    const error = socket && check(socket, clientOf(message));
    if (error) socket.destroy(error);
    if (socket?.closed && !(SHOWS_CLOSE in socket))
      setImmediate(() => socket.emit('close', socket.errored !== null));
  });
  // A pool can hold connections from the time before the installation.
  listen('undici:client:sendHeaders', (message) => {
    const socket = socketOf(message);
    const error = socket && check(socket, {});
    if (!error) return;
    // With this code undici sends the request again, on a new connection. A body may have been read already.
    const hasBody = Boolean(fieldOf(fieldOf(message, 'request'), 'body'));
    const canRepeat = !hasBody && fieldOf(socket, 'alpnProtocol') !== 'h2';
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

/** The client that a message is about. */
function clientOf(message: unknown): HttpClient {
  const client = fieldOf(message, 'connectParams');
  return isObject(client) ? client : {};
}

/** The connection that a message is about. Other streams than sockets do not say where they lead. */
function socketOf(message: unknown): Socket | undefined {
  const socket = fieldOf(message, 'socket');
  return socket instanceof Socket ? socket : undefined;
}
