// Who is to blame for an error: the proxy, the destination, one of the two, or neither. It decides whether another
// proxy may succeed.

import type { SocksErrorCode, SocksPhase } from './errors.ts';
import { isObject } from './given.ts';

/**
 * - `proxy`: another proxy may succeed.
 * - `destination`: no proxy would succeed.
 * - `unclear`: the proxy or the destination. Also for a destination that SOCKS4 cannot carry.
 * - `none`: neither. Proxy or credentials are not valid, the client was closed, or this machine ran out of files or ports.
 */
export type Blame = 'proxy' | 'destination' | 'unclear' | 'none';

/** For an error that any phase can have: before the request, no proxy knows the destination. */
const BLAME_BY_PHASE: Readonly<Record<SocksPhase, Blame>> = {
  input: 'none',
  lookup: 'unclear',
  dial: 'proxy',
  'proxy-tls': 'proxy',
  greeting: 'proxy',
  authentication: 'proxy',
  request: 'unclear',
  'destination-tls': 'unclear',
};

/** This machine has no file descriptor or no port left. The next proxy would fail in the same manner. */
const LOCAL: ReadonlySet<unknown> = new Set(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL']);

export function blameFor(code: SocksErrorCode, phase: SocksPhase, cause: unknown): Blame {
  if (isLocal(cause)) return 'none';
  switch (code) {
    case 'ERR_SOCKS_PROXY_CLOSED':
    case 'ERR_SOCKS_TIMEOUT':
      return BLAME_BY_PHASE[phase];
    case 'ERR_SOCKS_PROXY_UNREACHABLE':
    case 'ERR_SOCKS_PROXY_TLS':
    case 'ERR_SOCKS_PROTOCOL':
    case 'ERR_SOCKS_WRONG_PROTOCOL':
    case 'ERR_SOCKS_NO_ACCEPTABLE_METHOD':
    case 'ERR_SOCKS_AUTH_FAILED':
    case 'ERR_SOCKS_COMMAND_NOT_SUPPORTED':
    case 'ERR_SOCKS_IDENTD_UNREACHABLE':
    case 'ERR_SOCKS_IDENTD_MISMATCH':
      return 'proxy';
    case 'ERR_SOCKS_HOST_UNREACHABLE':
    case 'ERR_SOCKS_CONNECTION_REFUSED':
      return 'destination';
    case 'ERR_SOCKS_INVALID_PROXY':
    case 'ERR_SOCKS_INVALID_CREDENTIALS':
    case 'ERR_SOCKS_CLOSED':
    case 'ERR_SOCKS_BYPASS':
      return 'none';
    default:
      return 'unclear';
  }
}

/** An AggregateError is the error of a dial to several addresses. */
function isLocal(cause: unknown): boolean {
  if (!isObject(cause)) return false;
  const { code, errors } = cause;
  return LOCAL.has(code) || (Array.isArray(errors) && errors.some(isLocal));
}

/** Who is to blame for any error of an attempt. Node's own errors are about TLS to the destination, or an option. */
export function blameOf(error: unknown): Blame {
  const { blame, code } = (error ?? {}) as { blame?: Blame; code?: unknown };
  if (blame !== undefined) return blame;
  if (code === 'ERR_INVALID_ARG_VALUE') return 'none';
  // A server that reports success before it connects closes the tunnel when it cannot connect.
  return code === 'ECONNRESET' || code === 'EPIPE' ? 'unclear' : 'destination';
}
