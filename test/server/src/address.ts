// Reads and encodes ATYP, address and port, and prints each address in one spelling. No IO and no look-up.

import { isIP, isIPv4, isIPv6 } from 'node:net';
import type { Reader } from './request.ts';

/** The destination of a request. */
export interface Destination {
  /** The ATYP, or the form of SOCKS4. */
  readonly atyp: 'ipv4' | 'ipv6' | 'name';
  /** As sent: a name keeps its case and its trailing dot; bytes outside ASCII are read as Latin-1. */
  readonly host: string;
  readonly port: number;
}

/** One end of a connection. */
export interface Bound {
  readonly host: string;
  readonly port: number;
}

const ATYP = { IPV4: 0x01, NAME: 0x03, IPV6: 0x04 } as const;

/*
 *     +------+----------+----------+
 *     | ATYP | DST.ADDR | DST.PORT |      RFC 1928 section 5. ATYP has been read. ADDR is 4 octets (01),
 *     +------+----------+----------+      16 octets (04), or one octet of length and the name (03).
 *     |  1   | Variable |    2     |
 *     +------+----------+----------+
 */
/** Undefined: no such ATYP. */
export function* readAddress(atyp: number): Reader<Destination | undefined> {
  if (atyp === ATYP.IPV4) {
    const bytes = yield { read: 6 };
    return { atyp: 'ipv4', host: bytes.subarray(0, 4).join('.'), port: uint16(bytes.subarray(4)) };
  }
  if (atyp === ATYP.NAME) {
    const [length = 0] = yield { read: 1 };
    const bytes = Buffer.from(yield { read: length + 2 });
    return { atyp: 'name', host: bytes.toString('latin1', 0, length), port: uint16(bytes.subarray(length)) };
  }
  if (atyp === ATYP.IPV6) {
    const bytes = yield { read: 18 };
    return { atyp: 'ipv6', host: printIPv6(bytes.subarray(0, 16)), port: uint16(bytes.subarray(16)) };
  }
  return undefined;
}

/** ATYP, ADDR and PORT. A host that is no address is sent as a name. */
export function encodeAddress({ host, port }: Bound): number[] {
  const address = isIPv4(host)
    ? [ATYP.IPV4, ...octets4(host)]
    : isIPv6(host)
      ? [ATYP.IPV6, ...octets6(host)]
      : [ATYP.NAME, host.length, ...Buffer.from(host, 'latin1')];
  return [...address, port >> 8, port & 0xff];
}

/** The one spelling of an address: an IPv4-mapped address becomes the IPv4 address, and a zone is left out. */
export function canonical(address: string): string {
  if (!isIPv6(address)) return address;
  const octets = Uint8Array.from(octets6(address));
  const mapped = octets.subarray(0, 12).join('.') === '0.0.0.0.0.0.0.0.0.0.255.255';
  return mapped ? octets.subarray(12).join('.') : printIPv6(octets);
}

/** All zeros: no address in particular. */
export function isUnspecified(host: string): boolean {
  return isIP(host) !== 0 && /^(?:0\.0\.0\.0|::)$/.test(canonical(host));
}

export function octets4(host: string): number[] {
  return host.split('.').map(Number);
}

export function uint16([high = 0, low = 0]: Iterable<number>): number {
  return (high << 8) | low;
}

// A SOCKS message cannot carry a zone id. The URL parser turns a dotted tail into groups of sixteen bits.
function octets6(host: string): number[] {
  const plain = new URL(`http://[${host.replace(/%.*/, '')}]`).hostname.slice(1, -1);
  const [left = [], right] = plain.split('::').map((half) => (half === '' ? [] : half.split(':')));
  const middle = right ? Array.from<string>({ length: 8 - left.length - right.length }).fill('0') : [];
  return [...left, ...middle, ...(right ?? [])]
    .map((group) => Number.parseInt(group, 16))
    .flatMap((group) => [group >> 8, group & 0xff]);
}

// The URL parser writes an address in the form of RFC 5952.
function printIPv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => uint16(bytes.subarray(2 * i)).toString(16));
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}
