// A server that runs a script for each client: wrong bytes, slow bytes, silence, closes, resets. It does not parse what
// clients send.

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';
import { setImmediate as turn, setTimeout as wait } from 'node:timers/promises';

/** One step of a script. Hex may have white space in it. */
export type ScriptStep =
  /** Waits until the client has sent so many bytes more. */
  | { readonly read: number }
  /** Forgets what has come behind the bytes that were read, as a server does that reads once and looks at the start. */
  | { readonly drop: true }
  | { readonly send: string }
  /** Every byte in a segment of its own. */
  | { readonly sendSlowly: string }
  /** Milliseconds of silence. */
  | { readonly delay: number }
  /** FIN. The steps behind it still run, but cannot send. */
  | { readonly close: true }
  | { readonly reset: true }
  /** Never anything more, not even an answer to the client's FIN. */
  | { readonly stall: true };

/** A script for every connection, or one that depends on the number of the connection, from 0. */
export type Script = readonly ScriptStep[] | ((index: number) => readonly ScriptStep[]);

/**
 * Starts a server on a free port of 127.0.0.1 that runs the script for each connection. After the last step a
 * connection stays open until the client ends it.
 * @throws TypeError for a script with bad hex
 * @example
 * const server = await startScript([{ read: 3 }, { send: '05 00' }, { read: 10 }, { close: true }]);
 * const [connection] = server.connections;
 * connection.received.toString('hex');
 * await connection.closedByClient;
 */
export async function startScript(script: Script): Promise<ScriptedServer> {
  const server = new ScriptedServer(script);
  await server.listen();
  return server;
}

export class ScriptedServer {
  /** In the order of their arrival. */
  readonly connections: ScriptedConnection[] = [];
  readonly #listener: Server;

  /** Use {@link startScript}. */
  constructor(script: Script) {
    if (typeof script !== 'function') check(script);
    this.#listener = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      const steps = typeof script === 'function' ? script(this.connections.length) : script;
      this.connections.push(new ScriptedConnection(socket, steps));
      this.#listener.emit('scripted');
    });
  }

  /** Use {@link startScript}. */
  async listen(): Promise<void> {
    this.#listener.listen(0, '127.0.0.1');
    await once(this.#listener, 'listening');
  }

  get port(): number {
    return (this.#listener.address() as AddressInfo).port;
  }

  url(scheme: string): string {
    return `${scheme}://127.0.0.1:${this.port}`;
  }

  /** A connection by its number, once it is there. */
  async connection(index = 0): Promise<ScriptedConnection> {
    for (;;) {
      const connection = this.connections[index];
      if (connection) return connection;
      await once(this.#listener, 'scripted');
    }
  }

  /** Destroys every connection; resolves when all are closed. */
  async close(): Promise<void> {
    const stopped = this.#listener.listening ? once(this.#listener, 'close') : undefined;
    this.#listener.close();
    for (const connection of this.connections) connection.destroy();
    await stopped;
  }
}

export class ScriptedConnection {
  /** Resolves when the client has ended its side: by FIN, or by a reset. Never because of this server. */
  readonly closedByClient: Promise<'fin' | 'reset'>;
  /** Resolves when the script has come to its end, or to a step that the connection did not live to see. */
  readonly ran: Promise<void>;
  /** How the client has ended its side, if it has. */
  ended: 'fin' | 'reset' | undefined;
  readonly #chunks: Buffer[] = [];
  readonly #socket: Socket;
  #length = 0;

  /** Made by {@link ScriptedServer}. */
  constructor(socket: Socket, steps: readonly ScriptStep[]) {
    check(steps);
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      socket.emit('received');
    });
    this.closedByClient = new Promise((resolve) => {
      const settle = (how: 'fin' | 'reset'): void => {
        this.ended ??= how;
        resolve(this.ended);
      };
      socket.once('end', () => settle('fin'));
      socket.on('error', () => settle('reset'));
    });
    // A step on a connection that has closed ends the script without an error.
    this.ran = this.#run(steps).catch(() => {});
  }

  /** All that the client has sent so far. */
  get received(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  async #run(steps: readonly ScriptStep[]): Promise<void> {
    const gone = new AbortController();
    this.#socket.once('close', () => gone.abort());
    let expected = 0;
    for (const step of steps) {
      if ('read' in step) {
        expected += step.read;
        while (this.#length < expected) await once(this.#socket, 'received', { signal: gone.signal });
      } else if ('drop' in step) expected = this.#length;
      else if ('send' in step) await this.#send(bytes(step.send));
      else if ('sendSlowly' in step) {
        for (const byte of bytes(step.sendSlowly)) {
          await this.#send(Buffer.of(byte));
          await turn();
        }
      } else if ('delay' in step) await wait(step.delay, undefined, { signal: gone.signal });
      else if ('close' in step) this.#socket.end();
      else if ('reset' in step) this.#socket.resetAndDestroy();
      else return;
    }
    if (this.#socket.readableEnded) this.#socket.end();
    else this.#socket.once('end', () => this.#socket.end());
  }

  #send(chunk: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(chunk, (error) => (error ? reject(error) : resolve()));
    });
  }
}

// A typing error in a script must not look like a server that stays silent.
function check(steps: readonly ScriptStep[]): void {
  for (const step of steps) {
    if ('send' in step) bytes(step.send);
    if ('sendSlowly' in step) bytes(step.sendSlowly);
  }
}

function bytes(hex: string): Buffer {
  const digits = hex.replaceAll(/\s/g, '');
  if (!/^(?:[0-9a-f]{2})*$/i.test(digits)) throw new TypeError(`not hex: ${hex}`);
  return Buffer.from(digits, 'hex');
}
