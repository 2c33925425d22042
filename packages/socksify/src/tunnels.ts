// Opens tunnels for sockets of the program.

import type { LookupFunction, Socket } from 'node:net';
import { SocksClient } from '@socksify/core';
import type { Destination } from '@socksify/core';
import { beginConnecting, giveHandle } from './handle.ts';
import { explain } from './policy.ts';
import type { Policy } from './policy.ts';
import { fieldOf } from './unknown.ts';

/** Marks the options of our own dials, which pass. Only this file has the value. The key is text: core copies no symbols. */
const MARK = Symbol('socksify.own');
const OWN: object = { socksify: MARK };

export function isOwn(options: object): boolean {
  return fieldOf(options, 'socksify') === MARK;
}

export class Tunnels {
  readonly #client: SocksClient;

  /** @param lookup looks up the names of proxies, and destinations for SOCKS4. Default: `dns.lookup` */
  constructor(policy: Policy, lookup: LookupFunction | undefined) {
    this.#client = new SocksClient(policy.route, { tcp: OWN, lookup });
  }

  /** Connects this socket through the proxy. If no tunnel opens, the socket fails with that error. */
  connect(socket: Socket, destination: Destination): void {
    beginConnecting(socket);
    void this.#open(socket, destination);
  }

  async #open(socket: Socket, destination: Destination): Promise<void> {
    const abort = new AbortController();
    const onClose = (): void => abort.abort();
    socket.once('close', onClose);
    try {
      const tunnel = await this.#client.connect(destination, { signal: abort.signal });
      socket.off('close', onClose);
      if (socket.destroyed) tunnel.socket.destroy();
      else giveHandle(tunnel.socket, socket);
    } catch (error) {
      socket.off('close', onClose);
      if (!socket.destroyed) socket.destroy(explain(error, destination) as Error);
    }
  }

  /** Ends the tunnels that are not open yet. */
  close(): void {
    void this.#client.close();
  }
}
