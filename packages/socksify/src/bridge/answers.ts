// What a client gets when the tunnel could not be opened: REP of SOCKS5, CD of SOCKS4, or a status of HTTP.

import { SocksError } from '@socksify/core';
import { codeOf as anyCodeOf } from '../unknown.ts';
import { CD } from './socks4.ts';
import { REP } from './socks5.ts';

/** The nearest REP, for errors without a REP. */
const NEAREST_REP: Readonly<Record<string, number>> = {
  // When no proxy of the route can resolve a name.
  ERR_SOCKS_COMMAND_NOT_SUPPORTED: REP.COMMAND_NOT_SUPPORTED,
  ERR_SOCKS_TIMEOUT: REP.TTL_EXPIRED,
  ERR_SOCKS_LOOKUP: REP.HOST_UNREACHABLE,
  ERR_SOCKS_IDENTD_UNREACHABLE: REP.NOT_ALLOWED,
  ERR_SOCKS_IDENTD_MISMATCH: REP.NOT_ALLOWED,
  // Errors of the system, for a destination that is connected to directly.
  ECONNREFUSED: REP.CONNECTION_REFUSED,
  ENETUNREACH: REP.NETWORK_UNREACHABLE,
  EHOSTUNREACH: REP.HOST_UNREACHABLE,
  ENOTFOUND: REP.HOST_UNREACHABLE,
  EAI_AGAIN: REP.HOST_UNREACHABLE,
  ETIMEDOUT: REP.TTL_EXPIRED,
};

/** @param destination as in `SocksError.destination` */
export function repOf(error: unknown, destination: string): number {
  const reply = replyOf(error, destination);
  if (reply !== undefined && reply >= REP.GENERAL_FAILURE && reply <= REP.ADDRESS_TYPE_NOT_SUPPORTED)
    return reply;
  const code = codeOf(error);
  // Only SOCKS5 can carry an IPv6 address.
  if (code === 'ERR_SOCKS_INVALID_DESTINATION' && destination.startsWith('['))
    return REP.ADDRESS_TYPE_NOT_SUPPORTED;
  return NEAREST_REP[code] ?? REP.GENERAL_FAILURE;
}

export function cdOf(error: unknown, destination: string): number {
  const reply = replyOf(error, destination);
  return reply !== undefined && reply >= CD.REJECTED && reply <= CD.IDENTD_MISMATCH ? reply : CD.REJECTED;
}

/** 504 for a time limit, of the bridge or of the proxy; 502 for everything else. */
export function statusOf(error: unknown): 502 | 504 {
  return /^(?:ERR_SOCKS_TIMEOUT|ERR_SOCKS_TTL_EXPIRED|ETIMEDOUT)$/.test(codeOf(error)) ? 504 : 502;
}

/** The text for an HTTP client. An error that is no SocksError can hold what clients must not see. */
export function messageOf(error: unknown): string {
  return error instanceof SocksError ? error.message : `the connection could not be opened: ${codeOf(error)}`;
}

/** The code for a client and the log. A code of another form could hold what a selector has thrown. */
export function codeOf(error: unknown): string {
  const code = anyCodeOf(error) ?? '';
  return /^[A-Z][\w-]{0,60}$/.test(code) ? code : 'ERR_SOCKS_GENERAL_FAILURE';
}

/** The reply of the last proxy of a chain. An earlier proxy replies about the next proxy, not about the destination. */
function replyOf(error: unknown, destination: string): number | undefined {
  return error instanceof SocksError && error.destination === destination ? error.reply : undefined;
}
