// Relays the datagrams of one client in both directions, as long as its TCP connection lasts.

import { createSocket } from 'node:dgram';
import type { RemoteInfo, Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';
import type { Socket } from 'node:net';
import { canonical, isUnspecified } from './address.ts';
import type { Bound, Destination } from './address.ts';
import { localAddressOf } from './bind.ts';
import { encodeDatagram, parseDatagram } from './datagram.ts';
import type { Entry } from './log.ts';

export interface AssociateOptions {
  readonly client: Socket;
  /** The request, and where its datagrams are counted. */
  readonly entry: Entry;
  /** The addresses of a destination. @throws the reason for which no datagram may be sent to it */
  readonly addressesOf: (destination: Destination) => Promise<readonly string[]>;
  /** Called with each socket. All are closed with the client's. */
  readonly onSocket: (socket: UdpSocket) => void;
}

/** Opens a relay at the address to which the client connected, and returns its address. */
export async function associate(options: AssociateOptions): Promise<Bound> {
  const association = new Association(options);
  return association.open();
}

/** Datagrams whose destination is being looked up; and addresses that may answer, the latest ones. */
const LIMIT = { PENDING: 256, CONTACTED: 1024 } as const;

class Association {
  readonly #options: AssociateOptions;
  /** The address of the client's datagrams, and of the answers. Port 0: unknown before the first datagram. */
  readonly #home: { readonly host: string; port: number };
  /** One socket for each family. Destinations send to these, and the client sends to the relay alone. */
  readonly #outgoing = new Map<string, UdpSocket>();
  readonly #contacted = new Set<string>();
  #relay: UdpSocket | undefined;
  #pending = 0;
  #closed = false;

  constructor(options: AssociateOptions) {
    this.#options = options;
    const { remoteAddress = '127.0.0.1' } = options.client;
    const host = canonical(remoteAddress);
    const { entry } = options;
    // DST.ADDR is the address that the client believes to have. If the server sees another one, there is a NAT between
    // them, and the port in the request means nothing either.
    const isHere = entry.atyp !== 'name' && (isUnspecified(entry.host) || canonical(entry.host) === host);
    this.#home = { host, port: isHere ? entry.port : 0 };
  }

  async open(): Promise<Bound> {
    const { client } = this.#options;
    const host = localAddressOf(client);
    const relay = this.#socket(host, (bytes, source) => void this.#up(bytes, source));
    this.#relay = relay;
    client.once('close', () => this.#close());
    if (client.destroyed) this.#close();
    else relay.bind({ address: host, port: 0, exclusive: true });
    if (this.#closed) throw new Error('the client left');
    await once(relay, 'listening');
    relay.on('error', () => client.destroy());
    // Of the TCP connection only the end has a meaning.
    client.once('end', () => client.end()).resume();
    return { host, port: relay.address().port };
  }

  #socket(family: string, onMessage: (bytes: Buffer, source: RemoteInfo) => void): UdpSocket {
    const socket = createSocket(isIPv6(family) ? 'udp6' : 'udp4', onMessage);
    this.#options.onSocket(socket);
    return socket;
  }

  async #up(bytes: Buffer, source: RemoteInfo): Promise<void> {
    const { entry, addressesOf } = this.#options;
    const datagram = this.#isHome(source) && this.#pending < LIMIT.PENDING ? parseDatagram(bytes) : undefined;
    if (!datagram || datagram.port === 0) {
      entry.dropped++;
      return;
    }
    this.#home.port = source.port;
    this.#pending++;
    try {
      const [address] = await addressesOf(datagram);
      if (address === undefined) entry.dropped++;
      else this.#send({ host: canonical(address), port: datagram.port }, datagram.data);
    } catch {
      entry.dropped++;
    } finally {
      this.#pending--;
    }
  }

  #isHome({ address, port }: RemoteInfo): boolean {
    const home = this.#home;
    return canonical(address) === home.host && (home.port === 0 || home.port === port);
  }

  #send({ host, port }: Bound, data: Uint8Array): void {
    const { entry } = this.#options;
    if (this.#closed) return;
    this.#contacted.delete(host);
    this.#contacted.add(host);
    if (this.#contacted.size > LIMIT.CONTACTED) {
      for (const oldest of [...this.#contacted].slice(0, -LIMIT.CONTACTED)) this.#contacted.delete(oldest);
    }
    const socket = this.#outgoingTo(host);
    entry.bytesUp += data.length;
    socket.send(data, port, host, (error) => {
      if (!error) return;
      entry.bytesUp -= data.length;
      entry.dropped++;
    });
  }

  #outgoingTo(host: string): UdpSocket {
    const any = isIPv6(host) ? '::' : '0.0.0.0';
    let socket = this.#outgoing.get(any);
    if (!socket) {
      const made = this.#socket(any, (data, source) => this.#down(data, source));
      made.on('error', () => this.#options.client.destroy());
      made.once('listening', () => (this.#options.entry.outgoingPort ??= made.address().port));
      this.#outgoing.set(any, made);
      socket = made;
    }
    return socket;
  }

  // Only an address to which something was sent may answer, from any port, as TFTP does.
  #down(data: Buffer, source: RemoteInfo): void {
    const { entry } = this.#options;
    const host = canonical(source.address);
    if (!this.#relay || !this.#contacted.has(host)) {
      entry.dropped++;
      return;
    }
    entry.bytesDown += data.length;
    const datagram = encodeDatagram({ host, port: source.port }, data);
    this.#relay.send(datagram, this.#home.port, this.#home.host, (error) => {
      if (!error) return;
      entry.bytesDown -= data.length;
      entry.dropped++;
    });
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const socket of [this.#relay, ...this.#outgoing.values()]) socket?.close();
  }
}
