// The steps that the server side of a handshake yields, for IO that its caller does. This file does no IO.

/** What a handshake needs next: `write` sends these bytes in one piece; `read` receives exactly so many bytes. */
export type Step = { readonly write: Uint8Array } | { readonly read: number };

/** Yields {@link Step}s, is resumed with the bytes of a `read`, and throws a {@link Refusal}. */
export type Steps<Result> = Generator<Step, Result, Uint8Array>;

export type Version = 4 | 5;

/** The request of a client. The bytes of a name need not be UTF-8. */
export interface Request {
  readonly version: Version;
  readonly command: 'connect' | 'resolve';
  readonly host: Uint8Array | string;
  readonly port: number;
}

/** The client is refused before it has made a request that can be served. */
export class Refusal extends Error {
  /** The last bytes to the client; none when it does not speak SOCKS. */
  readonly answer: Uint8Array;

  constructor(message: string, answer: Uint8Array = new Uint8Array()) {
    super(message);
    this.answer = answer;
  }
}
