// All errors of a tunnel, as one class with a closed set of codes, and the codes that reply bytes stand for. An error
// never holds a credential.

import { blameFor } from './blame.ts';
import type { Blame } from './blame.ts';
import { withoutUndefined } from './given.ts';

/** Where in the life of a tunnel an error arose. `input`: before any IO. */
export type SocksPhase =
  | 'input'
  | 'lookup'
  | 'dial'
  | 'proxy-tls'
  | 'greeting'
  | 'authentication'
  | 'request'
  | 'destination-tls';

/** The codes, and what each one says. `docs/errors.md` says more. */
export const MEANING = {
  ERR_SOCKS_INVALID_PROXY: 'the proxy value is not valid',
  ERR_SOCKS_INVALID_DESTINATION: 'the destination is not valid',
  ERR_SOCKS_INVALID_CREDENTIALS: 'the credentials are not valid',
  ERR_SOCKS_LOOKUP: 'the destination could not be looked up locally',
  ERR_SOCKS_PROXY_UNREACHABLE: 'connecting to the proxy failed',
  ERR_SOCKS_PROXY_TLS: 'TLS to the proxy failed',
  ERR_SOCKS_PROXY_CLOSED: 'the proxy closed the connection during the handshake',
  ERR_SOCKS_TIMEOUT: 'the time limit passed',
  ERR_SOCKS_CLOSED: 'the client was closed',
  ERR_SOCKS_BYPASS: 'this would bypass the proxy',
  ERR_SOCKS_PROTOCOL: 'the proxy broke the protocol',
  ERR_SOCKS_WRONG_PROTOCOL: 'the proxy speaks another protocol',
  ERR_SOCKS_NO_ACCEPTABLE_METHOD: 'the proxy accepts none of the offered authentication methods',
  ERR_SOCKS_AUTH_FAILED: 'the proxy refused the credentials',
  ERR_SOCKS_GENERAL_FAILURE: 'the proxy reports a general failure',
  ERR_SOCKS_NOT_ALLOWED: 'the connection is not allowed by the ruleset of the proxy',
  ERR_SOCKS_NETWORK_UNREACHABLE: 'the network is unreachable from the proxy',
  ERR_SOCKS_HOST_UNREACHABLE: 'the host is unreachable from the proxy',
  ERR_SOCKS_CONNECTION_REFUSED: 'the destination refused the connection',
  ERR_SOCKS_TTL_EXPIRED: 'the TTL expired between the proxy and the destination',
  ERR_SOCKS_COMMAND_NOT_SUPPORTED: 'the proxy does not support the command',
  ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED: 'the proxy does not support the address type',
  ERR_SOCKS_UNASSIGNED_REPLY: 'the proxy answered with an unassigned reply code',
  ERR_SOCKS_REJECTED: 'the proxy rejected the request or failed',
  ERR_SOCKS_IDENTD_UNREACHABLE: 'the proxy could not connect to the ident service of the client',
  ERR_SOCKS_IDENTD_MISMATCH: 'the ident service of the client names another user',
} as const;

/** The closed set of codes of {@link SocksError}. Match on these, not on the message. */
export type SocksErrorCode = keyof typeof MEANING;

/** REP values of a SOCKS5 reply, in the order of RFC 1928 section 6. */
export const REP: Readonly<Partial<Record<number, SocksErrorCode>>> = {
  0x01: 'ERR_SOCKS_GENERAL_FAILURE',
  0x02: 'ERR_SOCKS_NOT_ALLOWED',
  0x03: 'ERR_SOCKS_NETWORK_UNREACHABLE',
  0x04: 'ERR_SOCKS_HOST_UNREACHABLE',
  0x05: 'ERR_SOCKS_CONNECTION_REFUSED',
  0x06: 'ERR_SOCKS_TTL_EXPIRED',
  0x07: 'ERR_SOCKS_COMMAND_NOT_SUPPORTED',
  0x08: 'ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED',
};

/** CD values of a SOCKS4 reply other than 90 (granted), in the order of the SOCKS4 memo. */
export const CD: Readonly<Partial<Record<number, SocksErrorCode>>> = {
  91: 'ERR_SOCKS_REJECTED',
  92: 'ERR_SOCKS_IDENTD_UNREACHABLE',
  93: 'ERR_SOCKS_IDENTD_MISMATCH',
};

/** What a {@link SocksError} is made of besides its code. `blame`: by default, what code, phase and cause say. */
export type SocksErrorDetails = Pick<SocksError, 'phase'> & {
  readonly [Field in 'proxy' | 'destination' | 'detail' | 'reply' | 'hint' | 'blame']?:
    | SocksError[Field]
    | undefined;
} & { readonly cause?: unknown };

/**
 * The one error of socksify. It names both ends and the phase, and carries no credential in any property.
 *
 * @example
 * try {
 *   await connect('socks5://127.0.0.1:1080', { host: 'example.com', port: 443 });
 * } catch (error) {
 *   if (error.code === 'ERR_SOCKS_CONNECTION_REFUSED') console.error(error.message);
 * }
 */
export class SocksError extends Error {
  declare readonly code: SocksErrorCode;
  declare readonly phase: SocksPhase;
  /** The hop that reported the failure, without credentials: `socks5://127.0.0.1:1080`; empty if there is none yet. */
  declare readonly proxy: string;
  /** What was requested of that hop, as `host:port`; empty if there is none yet. */
  declare readonly destination: string;
  /** What exactly was wrong, such as `REP 0x05`. */
  declare readonly detail?: string;
  /** The REP byte (RFC 1928 section 6) or the SOCKS4 CD byte; absent when the proxy sent no refusal. */
  declare readonly reply?: number;
  /** What this behaviour of a server usually means, or what to try. */
  declare readonly hint?: string;
  /**
   * After several attempts through a group: the error of each attempt that failed, in the order in which they failed.
   * The last one is this error. When the time limit ended them, those in progress are included.
   */
  declare readonly errors?: readonly SocksError[];

  constructor(code: SocksErrorCode, details: SocksErrorDetails) {
    const { phase, proxy = '', destination = '', detail, reply, hint, cause, blame } = details;
    const between = [destination, proxy].filter(Boolean).join(' through ');
    super(
      `${between && `${between}: `}${MEANING[code]}${detail ? ` (${detail})` : ''}${hint ? `; ${hint}` : ''}`,
      cause === undefined ? undefined : { cause },
    );
    Object.assign(this, withoutUndefined({ code, phase, proxy, destination, detail, reply, hint }));
    if (blame !== undefined) Object.defineProperty(this, 'blame', { value: blame });
  }

  /** Who is to blame, so that a caller can decide whether another proxy may succeed. `docs/errors.md` has the table. */
  get blame(): Blame {
    return blameFor(this.code, this.phase, this.cause);
  }

  static {
    Object.defineProperty(this.prototype, 'name', { value: 'SocksError', configurable: true });
  }
}

/** An error about input, before any IO. */
export function invalid(what: 'PROXY' | 'DESTINATION' | 'CREDENTIALS', detail: string): SocksError {
  return new SocksError(`ERR_SOCKS_INVALID_${what}`, { phase: 'input', detail });
}

/** @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_DESTINATION`, `ERR_SOCKS_INVALID_CREDENTIALS` */
export function check(condition: boolean, ...problem: Parameters<typeof invalid>): asserts condition {
  if (!condition) throw invalid(...problem);
}

export function invalidOption(message: string, cause?: unknown): TypeError {
  return Object.assign(new TypeError(message, { cause }), { code: 'ERR_INVALID_ARG_VALUE' });
}
