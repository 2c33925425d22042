// One connection to the proxy for one probe: exact reads, one time limit, the time of each phase, and errors of core.

import { connect as dial, isIP } from 'node:net';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { connect as startTls, TLSSocket } from 'node:tls';
import type { ConnectionOptions } from 'node:tls';
import { SocksError } from '@socksify/core';
import type { SocksErrorCode, SocksPhase, SocksProxy, Step } from '@socksify/core';
import { codeOf } from '../unknown.ts';
import { certificateHint, describeCertificate } from './proxy-certificate.ts';
import type { Certificate } from './proxy-certificate.ts';
import { BY_CODE, CLOSED, SILENT } from './hints.ts';
import { printProxy } from './printed.ts';

/** The time of a phase in milliseconds, and how often this machine waited for an answer in it. */
export interface PhaseTime {
  readonly ms: number;
  readonly roundTrips: number;
}

export interface ProbeConnectionOptions {
  /** Milliseconds from the dial to the end of the probe. */
  readonly timeout: number;
  readonly signal: AbortSignal;
  /** Default: as in the object of the proxy. With `{ rejectUnauthorized: false }`, any certificate is accepted. */
  readonly tls?: ConnectionOptions | false | undefined;
  /** Called with the certificate of the proxy, trusted or not. */
  readonly onCertificate?: ((certificate: Certificate) => void) | undefined;
  /** Takes out of the words of the proxy what must not be printed. */
  readonly censor: (text: string) => string;
}

/** How many bytes a probe keeps. When it has more, it stops reading. */
const MOST = 16_384;
const NOTHING = new Uint8Array();
/** Milliseconds. A timer that fires later than this shows that the process was busy. */
const BUSY = 20;

export class ProbeConnection {
  readonly times: Partial<Record<SocksPhase, PhaseTime>> = {};
  readonly #proxy: SocksProxy;
  readonly #limit: number;
  #timer: NodeJS.Timeout;
  readonly #signal: AbortSignal;
  #phase: SocksPhase = 'dial';
  #socket: Socket | undefined;
  #input = Buffer.alloc(0);
  #received = 0;
  #ended = false;
  #failure: Error | undefined;
  #over = false;
  /** Resolves the present wait for bytes, the end or the failure. */
  #wake: () => void = () => {};

  private constructor(proxy: SocksProxy, { timeout, signal }: ProbeConnectionOptions) {
    this.#proxy = proxy;
    this.#signal = signal;
    this.#limit = timeout;
    this.#timer = this.#startTimer(timeout, timeout);
    signal.addEventListener('abort', this.#abort, { once: true });
    if (signal.aborted) this.#abort();
  }

  /** Dials the proxy, and speaks TLS to it if it has to. Rejects with a SocksError, or the reason of the signal. */
  static async open(proxy: SocksProxy, options: ProbeConnectionOptions): Promise<ProbeConnection> {
    const connection = new ProbeConnection(proxy, options);
    try {
      const { host, port, path } = proxy;
      await connection.#connect(
        () => dial({ noDelay: true, ...(path === undefined ? { host, port } : { path }) }),
        'dial',
      );
      const tls = options.tls ?? proxy.tls;
      if (tls) await connection.#secure(tls, options);
      connection.#socket?.on('data', connection.#onData);
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /**
   * Node runs timers before it looks at sockets. When the process was too busy to look at its sockets in time, the connection
   * gets back the time that it lost, once.
   *
   * @param spare milliseconds that it gets back at most
   */
  #startTimer(milliseconds: number, spare: number): NodeJS.Timeout {
    const due = performance.now() + milliseconds;
    return setTimeout(() => {
      const late = performance.now() - due;
      if (late > BUSY && spare > 0) this.#timer = this.#startTimer(Math.min(late, spare), 0);
      else setImmediate(() => this.#fail(this.#error('ERR_SOCKS_TIMEOUT', SILENT, `${this.#limit} ms`)));
    }, milliseconds);
  }

  async #secure(tls: ConnectionOptions, { onCertificate, censor }: ProbeConnectionOptions): Promise<void> {
    const { host } = this.#proxy;
    // The secret options of a checked proxy are getters, which a spread leaves out.
    const { key, passphrase, pfx } = tls;
    const secrets = Object.fromEntries(
      Object.entries({ key, passphrase, pfx }).filter(([, value]) => value !== undefined),
    );
    const below = this.#release();
    const options = {
      ...(isIP(host) === 0 && { servername: host.replace(/\.$/, '') }),
      host,
      ...tls,
      ...secrets,
    };
    // Any certificate is accepted here, so that it can be reported. It is checked below.
    const socket = await this.#connect(
      () => startTls({ ...options, rejectUnauthorized: false, socket: below }),
      'proxy-tls',
    );
    onCertificate?.(describeCertificate(socket, censor));
    if (tls.rejectUnauthorized === false || socket.authorized) return;
    const detail = printableCode(socket.authorizationError);
    throw this.error('ERR_SOCKS_PROXY_TLS', { hint: certificateHint(detail, socket, censor), detail });
  }

  async #connect<Layer extends Socket>(open: () => Layer, phase: 'dial' | 'proxy-tls'): Promise<Layer> {
    this.#phase = phase;
    if (this.#failure) throw this.#failure;
    const start = performance.now();
    const socket = open();
    this.#listen(socket);
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
      socket.once(phase === 'dial' ? 'connect' : 'secureConnect', resolve);
    });
    if (this.#failure) throw this.#failure;
    if (this.#ended) throw this.#error('ERR_SOCKS_PROXY_TLS', CLOSED);
    // A handshake of TLS 1.3 takes one round trip, an older one two.
    const old = socket instanceof TLSSocket && socket.getProtocol() !== 'TLSv1.3';
    this.times[phase] = { ms: performance.now() - start, roundTrips: old ? 2 : 1 };
    return socket;
  }

  #listen(socket: Socket): void {
    this.#socket = socket;
    socket.on('error', this.#onError).on('end', this.#onEnd).on('close', this.#onEnd);
  }

  /** The socket without the listeners of this class. An empty one stays, so that no error is uncaught. */
  #release(): Socket {
    const socket = this.#socket;
    if (!socket) throw new Error('the connection has not been dialled');
    socket
      .off('error', this.#onError)
      .off('data', this.#onData)
      .off('end', this.#onEnd)
      .off('close', this.#onEnd);
    return socket.on('error', () => {});
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#received += chunk.length;
    this.#input = Buffer.concat([this.#input, chunk]);
    if (this.#input.length > MOST) this.#socket?.pause();
    this.#wake();
  };

  readonly #onEnd = (): void => {
    this.#ended = true;
    this.#wake();
  };

  readonly #onError = (cause: Error): void => {
    const detail = printableCode(cause);
    if (this.#phase === 'dial') {
      const hint = BY_CODE[detail ?? ''] ?? 'check host and port of the proxy';
      return this.#fail(this.error('ERR_SOCKS_PROXY_UNREACHABLE', { cause, detail, hint }));
    }
    // In TLS 1.3, a proxy refuses the certificate of the client after the handshake of TLS has ended for the client.
    if (detail?.startsWith('ERR_SSL')) this.#phase = 'proxy-tls';
    if (this.#phase === 'proxy-tls') {
      const hint = BY_CODE[detail ?? ''] ?? CLOSED['proxy-tls'];
      return this.#fail(this.error('ERR_SOCKS_PROXY_TLS', { cause, detail, hint }));
    }
    this.#fail(this.error('ERR_SOCKS_PROXY_CLOSED', { cause, detail, hint: CLOSED[this.#phase] }));
  };

  readonly #abort = (): void => this.#fail(this.#signal.reason);

  #fail(error: Error): void {
    if (this.#over) return;
    this.#failure ??= error;
    this.#socket?.destroy();
    this.#wake();
  }

  error(
    code: SocksErrorCode,
    details: { hint?: string | undefined; detail?: string | undefined; cause?: unknown },
  ): SocksError {
    return new SocksError(code, { phase: this.#phase, proxy: printProxy(this.#proxy), ...details });
  }

  #error(code: SocksErrorCode, hints: typeof CLOSED, detail?: string): SocksError {
    return this.error(code, { hint: hints[this.#phase], detail });
  }

  enter(phase: SocksPhase): void {
    this.#phase = phase;
  }

  write(bytes: Uint8Array): void {
    this.#received = 0;
    if (!this.#ended) this.#socket?.write(bytes);
  }

  /** @throws SocksError `ERR_SOCKS_PROXY_CLOSED`, `ERR_SOCKS_TIMEOUT` */
  async read(count: number): Promise<Uint8Array> {
    await this.#until(() => this.#input.length >= count);
    if (this.#input.length < count) {
      if (this.#received > 0)
        throw this.error('ERR_SOCKS_PROXY_CLOSED', { detail: `${this.#received} bytes into an answer` });
      throw this.#error('ERR_SOCKS_PROXY_CLOSED', CLOSED);
    }
    return this.#take(count);
  }

  /** The bytes that come until the server closes, `count` bytes have come, or so many milliseconds have passed. */
  async rest(count: number, milliseconds: number): Promise<Uint8Array> {
    await this.react(milliseconds, count);
    return this.#take(count);
  }

  /** True if the server sends so many bytes or ends within this time; never rejects. */
  async react(milliseconds: number, count = 1): Promise<boolean> {
    const end = performance.now() + milliseconds;
    // A timer can fire a little early.
    const timer = setTimeout(() => this.#wake(), milliseconds + 1);
    const happened = (): boolean => this.#input.length >= count || this.closed;
    while (!happened() && performance.now() < end) await this.#change();
    clearTimeout(timer);
    return happened();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  /** True once the server has ended its side or the connection has failed. */
  get closed(): boolean {
    return this.#ended || this.#failure !== undefined;
  }

  get timedOut(): boolean {
    return this.#failure instanceof SocksError && this.#failure.code === 'ERR_SOCKS_TIMEOUT';
  }

  async #until(done: () => boolean): Promise<void> {
    while (!done() && !this.closed) await this.#change();
    if (this.#failure && !done()) throw this.#failure;
  }

  #take(count: number): Uint8Array {
    const bytes = this.#input.subarray(0, count);
    this.#input = this.#input.subarray(bytes.length);
    if (this.#input.length <= MOST && !this.#failure) this.#socket?.resume();
    return bytes;
  }

  /** Carries out the steps of a handshake, and notes how long each phase takes. */
  async perform<Result>(steps: Generator<Step, Result, Uint8Array>): Promise<Result> {
    let start = 0;
    let step = steps.next(NOTHING);
    while (!step.done) {
      const { value } = step;
      if ('write' in value) {
        start = performance.now();
        this.write(value.write);
        step = steps.next(NOTHING);
      } else if ('read' in value) {
        this.enter(value.phase);
        const bytes = await this.read(value.read);
        const { ms, roundTrips } = this.times[value.phase] ?? { ms: 0, roundTrips: 0 };
        const waited = start === 0 ? 0 : performance.now() - start;
        this.times[value.phase] = { ms: ms + waited, roundTrips: roundTrips + (start === 0 ? 0 : 1) };
        start = 0;
        step = steps.next(bytes);
      } else {
        await value.wait;
        step = steps.next(NOTHING);
      }
    }
    return step.value;
  }

  /** The tunnel as a stream for TLS to the destination. The connection can still close it, and counts its bytes. */
  stream(): Duplex {
    this.#received = 0;
    const early = this.#input;
    const socket = this.#release();
    const seen = (chunk: Buffer): void => {
      this.#received += chunk.length;
      if (!stream.push(chunk)) socket.pause();
    };
    const end = (): void => {
      this.#ended = true;
      stream.push(null);
    };
    const stream = new Duplex({
      read: () => void socket.resume(),
      write: (chunk: Buffer, _, done) => void socket.write(chunk, () => done()),
      destroy: (_, done) => {
        socket.destroy();
        done(null);
      },
    });
    if (early.length > 0) seen(early);
    socket.on('data', seen).once('end', end).once('close', end);
    return stream;
  }

  /** Bytes that came since the last write, or since {@link stream} was called. */
  get received(): number {
    return this.#received;
  }

  close(): void {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#signal.removeEventListener('abort', this.#abort);
    this.#socket?.destroy();
  }
}

/** The code of an error. Its message can repeat what a server sent. */
function printableCode(error: unknown): string | undefined {
  const code = error instanceof Error ? (codeOf(error) ?? error.message) : error;
  return typeof code === 'string' && /^[A-Z][A-Z_\d]{2,60}$/.test(code) ? code : undefined;
}
