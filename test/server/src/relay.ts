// A TCP relay in front of a server: it delays each direction, closes or silences links, and counts bytes and answers. It
// does not parse SOCKS.

import { EventEmitter, once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

/** How a link is lost, as its client sees it: a FIN, a reset, or nothing ever again. */
export type Loss = 'close' | 'reset' | 'silence';

export interface RelayOptions {
  /** The port on 127.0.0.1 to which each client is connected. */
  readonly to: number;
  /** Milliseconds that bytes take in each direction, or a time for each direction. A round trip takes both. Default 0. */
  readonly delay?: number | { readonly up: number; readonly down: number };
  /**
   * Loses every link once so many bytes have come down it, and lets not one byte more through. A handshake counts:
   * SOCKS5 without credentials comes to 12 bytes down when the server is bound to IPv4.
   */
  readonly lose?: { readonly after: number; readonly how: Loss };
}

export interface RelayEvents {
  /** A link was lost. */
  lost: [];
  /** A client has ended its side, by FIN or reset. */
  ended: [];
}

/**
 * Starts a relay on a free port of 127.0.0.1. It accepts at once: a dial takes no round trip here, each question
 * that waits for its answer takes one.
 * @example
 * const relay = await startRelay({ to: server.port, delay: { up: 50, down: 10 } });
 * relay.cut('silence'); // no byte passes, on links that are open and on new ones
 * relay.restore();
 */
export async function startRelay(options: RelayOptions): Promise<Relay> {
  const relay = new Relay(options);
  await relay.listen();
  return relay;
}

export class Relay extends EventEmitter<RelayEvents> {
  /** How many connections were accepted so far. */
  accepted = 0;
  /** How many of them were lost. */
  lost = 0;
  /** How many were ended by their client. */
  ended = 0;
  readonly #links = new Set<Link>();
  readonly #listener: Server;
  #cut: Loss | undefined;

  /** Use {@link startRelay}. */
  constructor(options: RelayOptions) {
    super();
    this.#listener = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
      this.accepted++;
      const link = new Link(near, options, (what) => {
        this[what]++;
        this.emit(what);
      });
      this.#links.add(link);
      near.once('close', () => this.#links.delete(link));
      if (this.#cut) link.lose(this.#cut);
    });
  }

  /** Use {@link startRelay}. */
  async listen(): Promise<void> {
    this.#listener.listen(0, '127.0.0.1');
    await once(this.#listener, 'listening');
  }

  /**
   * How often each client that is connected has been answered, by its port: bytes that came down after others had gone up.
   * These are the round trips that it has waited for on this connection, whatever the time of each.
   */
  answers(): ReadonlyMap<number, number> {
    return new Map(Array.from(this.#links, ({ clientPort, answers }) => [clientPort, answers]));
  }

  get port(): number {
    return (this.#listener.address() as AddressInfo).port;
  }

  /** Loses every link, and each that is made from now on. */
  cut(how: Loss): void {
    this.#cut = how;
    for (const link of this.#links) link.lose(how);
  }

  /** Links that are made from now on hold again. Those that were lost stay so. */
  restore(): void {
    this.#cut = undefined;
  }

  /** Destroys every connection; resolves when all are closed. */
  async close(): Promise<void> {
    const stopped = this.#listener.listening ? once(this.#listener, 'close') : undefined;
    this.#listener.close();
    for (const link of this.#links) link.destroy();
    await stopped;
  }
}

class Link {
  readonly clientPort: number;
  /** See {@link Relay.answers}. */
  answers = 0;
  #isAsked = false;
  readonly #near: Socket;
  readonly #far: Socket;
  readonly #tell: (what: 'lost' | 'ended') => void;
  #lost = false;
  #destroyed = false;

  constructor(near: Socket, { to, delay = 0, lose }: RelayOptions, tell: (what: 'lost' | 'ended') => void) {
    const { up, down } = typeof delay === 'number' ? { up: delay, down: delay } : delay;
    this.#near = near;
    this.clientPort = near.remotePort ?? 0;
    near.on('data', () => (this.#isAsked = true));
    this.#far = connect({ host: '127.0.0.1', port: to, allowHalfOpen: true, noDelay: true });
    this.#tell = tell;
    const onEnd = (): void => {
      near.off('end', onEnd).off('error', onEnd);
      if (!this.#destroyed) tell('ended');
    };
    near.on('end', onEnd).on('error', onEnd);
    // Nothing stays open when the client has left, whatever the state of the link.
    near.on('error', () => {}).once('close', () => this.#lost && this.#far.destroy());
    this.#far.on('error', () => {});
    this.#forward(near, this.#far, up, (chunk) => void this.#far.write(chunk));
    let left = lose?.after ?? Infinity;
    this.#forward(this.#far, near, down, (chunk) => {
      if (this.#isAsked) this.answers++;
      this.#isAsked = false;
      near.write(chunk.subarray(0, left));
      left -= chunk.length;
      if (lose && left <= 0) this.lose(lose.how);
    });
  }

  lose(how: Loss): void {
    if (this.#lost) return;
    this.#lost = true;
    // Reads and drops what the client sends, because Node reports the end only to a reader.
    this.#near.resume();
    if (how === 'silence') this.#far.pause();
    else this.#far.destroy();
    if (how === 'close') this.#near.end();
    if (how === 'reset') this.#near.resetAndDestroy();
    this.#tell('lost');
  }

  destroy(): void {
    this.#destroyed = true;
    this.#near.destroy();
    this.#far.destroy();
  }

  // Timers of one length fire in the order in which they were set, so that bytes and the end keep their order.
  #forward(from: Socket, to: Socket, delay: number, pass: (chunk: Buffer) => void): void {
    const later = (action: () => void): void => {
      const act = (): void => {
        if (!to.destroyed && !this.#lost) action();
      };
      if (delay === 0) act();
      else setTimeout(act, delay);
    };
    from.on('data', (chunk: Buffer) => {
      later(() => {
        pass(chunk);
        if (to.writableNeedDrain && !this.#lost) from.pause();
      });
    });
    to.on('drain', () => from.resume());
    from.once('end', () => later(() => to.end()));
    from.once('close', () => later(() => (from.readableEnded ? to.end() : to.resetAndDestroy())));
  }
}
