// What the tests know of a real server: how to start it, what it speaks, how it refuses.

import type { ConnectionOptions } from 'node:tls';
import type { SocksErrorCode } from '@socksify/core';

/** How a request is made. `4` is SOCKS4 with an address, `4a` is SOCKS4 with a name. */
export type Dialect = 4 | '4a' | 5;

/**
 * How a server refuses, as the code of the client's error. `ended`: the server grants the request before it dials, so
 * that the tunnel opens and then ends without a byte.
 */
export type Outcome = SocksErrorCode | 'ended';

/** Several when a server reports the same cause with different replies. */
export type Outcomes = Outcome | readonly Outcome[];

/** Which dialects a server accepts, and whether it supports user and password over SOCKS5. */
export interface Supports {
  readonly 4: boolean;
  readonly '4a': boolean;
  readonly 5: boolean;
  readonly userpass: boolean;
}

/** Measured habits. A dialect that the server does not support is missing from `refused` and `unknownName`. */
export interface Traits {
  /** False for a server that has no network here and so refuses every destination. */
  readonly connects: boolean;
  /** The destination's port is closed. The request of SOCKS4 has an address. */
  readonly refused: { readonly [dialect in Dialect]?: Outcomes };
  /** The destination's name does not exist. */
  readonly unknownName: { readonly [dialect in Exclude<Dialect, 4>]?: Outcomes };
  /** Missing when there is no password to be wrong, or any is accepted. */
  readonly badPassword?: Outcome;
  /** None of the methods offered is acceptable. */
  readonly noAcceptableMethod: Outcome;
  /** The answer to a dialect that the server does not support. */
  readonly unsupported: { readonly [dialect in Dialect]?: Outcome };
  /** An address that the server's rules forbid. */
  readonly forbidden?: { readonly host: string; readonly outcome: Outcome };
}

/** A started server. Apart from `stop` and `log`, a proxy that a client can be given. */
export interface RunningServer {
  readonly host: string;
  readonly port: number;
  /** A Unix socket, in place of host and port. */
  readonly path?: string;
  /** Present when the server demands them. */
  readonly credentials?: { readonly username: string; readonly password: string };
  /** Present when the server speaks SOCKS inside TLS only. */
  readonly tls?: ConnectionOptions;
  readonly supports: Supports;
  /** Process groups, for tests that check that they have ended. */
  readonly pids: readonly number[];
  /** Ends all processes, waits until they are gone, removes the temporary folder. */
  readonly stop: () => Promise<void>;
  /** What the processes have written so far. */
  readonly log: () => string;
}

export interface InteropServer {
  readonly name: string;
  /** Programs that have to be installed. */
  readonly binaries: readonly string[];
  readonly supports: Supports;
  readonly traits: Traits;
  /** Rejects, with the log, when the server does not come up; and outside a namespace without a network. */
  readonly start: () => Promise<RunningServer>;
}
