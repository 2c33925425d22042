// A request while its socket is being opened. Node tells nobody that such a request was destroyed, and starts no timer
// for it; so its methods are watched for the while.

import type { ClientRequest } from 'node:http';
import type { Socket } from 'node:net';

/** The listener by which Node passes the timeout of a socket on to its request; there is one at most. */
interface Internals {
  readonly timeoutCb: (() => void) | null;
}

export class Opening {
  readonly #req: ClientRequest;
  readonly #abort = new AbortController();
  readonly #restore: (() => void)[] = [];
  #timer: NodeJS.Timeout | undefined;
  #begun = false;
  /** The request was destroyed at a time when Node would have given it a connecting socket. */
  late = false;

  /** @param timeout milliseconds until the request emits `timeout`, as it does when Node connects; 0 or none: never */
  constructor(req: ClientRequest, timeout: number | undefined) {
    this.#req = req;
    if (req.destroyed) this.#abort.abort();
    process.nextTick(() => (this.#begun = true));
    const destroy = req.destroy.bind(req);
    const setReqTimeout = req.setTimeout.bind(req);
    this.#replace('destroy', (error) => {
      this.late ||= this.#begun && !req.destroyed;
      destroy(error);
      this.#abort.abort();
      return req;
    });
    this.#replace('setTimeout', (milliseconds, callback) => {
      setReqTimeout(milliseconds, callback);
      this.#arm(milliseconds);
      return req;
    });
    this.#arm(timeout);
  }

  /** Aborted as soon as the request is destroyed. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  end(): void {
    clearTimeout(this.#timer);
    for (const restore of this.#restore) restore();
  }

  #replace<Name extends 'destroy' | 'setTimeout'>(name: Name, watched: ClientRequest[Name]): void {
    const req = this.#req;
    const own = Object.getOwnPropertyDescriptor(req, name);
    req[name] = watched;
    this.#restore.push(() => {
      // Whoever has wrapped it meanwhile keeps calling through.
      if (req[name] !== watched) return;
      if (own) Object.defineProperty(req, name, own);
      else Reflect.deleteProperty(req, name);
    });
  }

  #arm(milliseconds: number | undefined): void {
    clearTimeout(this.#timer);
    if (!milliseconds) return;
    this.#timer = setTimeout(() => {
      const req = this.#req;
      // A request hears of one timeout only: its socket is not to tell of a second.
      req.once('socket', (socket: Socket) => {
        const { timeoutCb } = req as unknown as Internals;
        if (timeoutCb) socket.off('timeout', timeoutCb);
      });
      req.emit('timeout');
    }, milliseconds);
    this.#timer.unref();
  }
}
