// Every reply of the server: the tables of codes, their bytes, and the code for each failure. No IO.

import { isIPv4 } from 'node:net';
import { encodeAddress, octets4 } from './address.ts';
import type { Bound } from './address.ts';

/** REP of RFC 1928 section 6. Also the server's own vocabulary for the outcome of a SOCKS4 request. */
export const REP = {
  SUCCEEDED: 0x00,
  GENERAL_FAILURE: 0x01,
  NOT_ALLOWED: 0x02,
  NETWORK_UNREACHABLE: 0x03,
  HOST_UNREACHABLE: 0x04,
  CONNECTION_REFUSED: 0x05,
  TTL_EXPIRED: 0x06,
  COMMAND_NOT_SUPPORTED: 0x07,
  ADDRESS_TYPE_NOT_SUPPORTED: 0x08,
} as const;

/** CD of the SOCKS4 memo; 92 and 93 are about ident. */
export const CD = { GRANTED: 90, REJECTED: 91, IDENTD_UNREACHABLE: 92, IDENTD_MISMATCH: 93 } as const;

/** Any number up to FF is a REP on the wire; the names are for those that this server sends. */
export type Rep = (typeof REP)[keyof typeof REP];

// A timeout is 06, which is what microsocks and tor make of it: RFC 1928 has nothing closer, and 04 would hide
// the difference from "no route" and "no such name".
const REP_OF_ERROR: ReadonlyMap<string, Rep> = new Map<string, Rep>([
  ['ENETUNREACH', REP.NETWORK_UNREACHABLE],
  ['EHOSTUNREACH', REP.HOST_UNREACHABLE],
  ['ENOTFOUND', REP.HOST_UNREACHABLE],
  ['ECONNREFUSED', REP.CONNECTION_REFUSED],
  ['ETIMEDOUT', REP.TTL_EXPIRED],
]);

/** The REP for an error of the connection to the destination. */
export function repOf(error: unknown): Rep {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return REP_OF_ERROR.get(code) ?? REP.GENERAL_FAILURE;
}

const NOWHERE: Bound = { host: '0.0.0.0', port: 0 };

/** The reply of either version. A failure has zeros for its address. */
export function encodeReply(version: 4 | 5, rep: Rep, bound: Bound = NOWHERE): Uint8Array {
  if (version === 5) return encodeReply5(rep, bound);
  return encodeReply4(rep === REP.SUCCEEDED ? CD.GRANTED : CD.REJECTED, bound);
}

/*
 *     +----+----+---------+-------+     SOCKS4 memo. VN is 0. An IPv6 address does not fit:
 *     | VN | CD | DSTPORT | DSTIP |     zeros, which stand for the server's own address.
 *     +----+----+---------+-------+
 *     | 1  | 1  |    2    |   4   |
 *     +----+----+---------+-------+
 */
export function encodeReply4(cd: (typeof CD)[keyof typeof CD], { host, port }: Bound = NOWHERE): Uint8Array {
  return Uint8Array.of(0x00, cd, port >> 8, port & 0xff, ...octets4(isIPv4(host) ? host : NOWHERE.host));
}

/*
 *     +-----+-----+-------+------+----------+----------+
 *     | VER | REP |  RSV  | ATYP | BND.ADDR | BND.PORT |     RFC 1928 section 6
 *     +-----+-----+-------+------+----------+----------+
 *     |  1  |  1  | X'00' |  1   | Variable |    2     |
 *     +-----+-----+-------+------+----------+----------+
 */
function encodeReply5(rep: Rep, bound: Bound): Uint8Array {
  return Uint8Array.of(0x05, rep, 0x00, ...encodeAddress(bound));
}
