// What the fields of a golden vector mean.

export interface Vector {
  /** Identifies the vector, and means nothing else: all that a test has to know stands in the other fields. */
  readonly name: string;
  /**
   * `c2s`: a message that a client sends; `c2s-parse`: bytes that a server reads; `s2c`: bytes that a client reads, from
   * one message; `s2c-stream`: all that a client reads in one conversation; `udp`: a datagram.
   */
  readonly direction: 'c2s' | 'c2s-parse' | 's2c' | 's2c-stream' | 'udp';
  /** `5-rfc1929` and `5-rfc1961` are the messages of the methods 02 and 01. */
  readonly version: '4' | '4a' | '5' | '5-rfc1929' | '5-rfc1961';
  readonly description: string;
  readonly source: string;
  /** The rules of docs/protocol.md that it shows, as the name of a test cites them: `rules 9 and 10`. */
  readonly shows: string;
  readonly inputs: {
    readonly cmd?: string;
    readonly host?: string;
    readonly port?: number;
    readonly userId?: string;
    readonly username?: string;
    readonly password?: string;
    /** The methods of a greeting. */
    readonly methods?: readonly number[];
    readonly mtyp?: number;
    readonly token?: string;
    readonly data?: string;
  };
  /**
   * What the client of the conversation has: no credentials, credentials with which it offers 02 and 00 (`offered`) or 02
   * alone (`required`), or GSSAPI.
   */
  readonly auth: 'none' | 'offered' | 'required' | 'gssapi';
  /** All that the server sends in the conversation before the message, in hex. */
  readonly before: string;
  /** The message in hex; null when a client must refuse to send it. */
  readonly hex: string | null;
  /** What the server sends after the message, in hex, to end the handshake. */
  readonly after: string;
  readonly expect: {
    readonly result: string;
    readonly code?: string | number;
    readonly consumed?: number;
    /** The bytes behind the message, in hex. */
    readonly rest?: string;
    /** The bytes behind the whole handshake, in hex, where these are not `rest`. */
    readonly left?: string;
    readonly rep?: number;
    readonly onEof?: string;
    readonly received?: number;
    readonly detected?: string;
    readonly token?: string;
    readonly headerLength?: number;
    readonly bnd?: { readonly host?: string; readonly hostHex?: string; readonly port: number };
  };
}

declare const vectors: readonly Vector[];
export default vectors;
