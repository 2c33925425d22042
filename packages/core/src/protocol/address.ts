// ATYP, ADDR and PORT of RFC 1928 section 5: a host and a port on the wire, and back.

import { isIPv4 } from 'node:net';
import type { Bound, Steps } from './step.ts';

export const ATYP = { IPV4: 0x01, DOMAINNAME: 0x03, IPV6: 0x04 } as const;
const OCTETS: Readonly<Partial<Record<number, number>>> = { [ATYP.IPV4]: 4, [ATYP.IPV6]: 16 };

/*
 *     +------+----------+----------+
 *     | ATYP |   ADDR   |   PORT   |      ADDR is 4 octets (01), 16 octets (04),
 *     +------+----------+----------+      or one octet of length and the name (03).
 *     |  1   | Variable |    2     |      PORT in network byte order.
 *     +------+----------+----------+
 */
export function encodeAddress(host: string, port: number): number[] {
  if (isIPv4(host)) return [ATYP.IPV4, ...encodeIPv4(host), port >> 8, port & 0xff];
  // No name has a colon.
  if (host.includes(':')) return [ATYP.IPV6, ...encodeIPv6(host), port >> 8, port & 0xff];
  return [ATYP.DOMAINNAME, host.length, ...Buffer.from(host, 'latin1'), port >> 8, port & 0xff];
}

/** Reads ADDR and PORT, after the ATYP has been read. Undefined: the ATYP is unknown, and so is the length of ADDR. */
export function* readAddress(atyp: number): Steps<Bound | undefined> {
  const length = atyp === ATYP.DOMAINNAME ? (yield { read: 1, phase: 'request' })[0] : OCTETS[atyp];
  if (length === undefined) return undefined;
  const bytes = yield { read: length + 2, phase: 'request' };
  const host = bytes.subarray(0, length);
  const port = ((bytes[length] ?? 0) << 8) | (bytes[length + 1] ?? 0);
  if (atyp === ATYP.IPV4) return { host: host.join('.'), port };
  if (atyp === ATYP.IPV6) return { host: printIPv6(host), port };
  // Latin-1, because a bound name need not be UTF-8 and no byte of it should be lost.
  return { host: Buffer.from(host).toString('latin1'), port };
}

export function encodeIPv4(host: string): number[] {
  return host.split('.').map(Number);
}

// The URL parser writes any legal form, also one with a dotted IPv4 tail, as hexadecimal groups around one '::'.
function encodeIPv6(host: string): number[] {
  const [head = '', tail = ''] = new URL(`http://[${host}]`).hostname.slice(1, -1).split('::');
  const [left, right] = [groups(head), groups(tail)];
  const zeros = Array.from<number>({ length: 8 - left.length - right.length }).fill(0);
  return [...left, ...zeros, ...right].flatMap((group) => [group >> 8, group & 0xff]);
}

function groups(part: string): number[] {
  return part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
}

// The URL parser also compresses as RFC 5952 says.
function printIPv6(bytes: Uint8Array): string {
  const words = Array.from({ length: 8 }, (_, i) =>
    (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16),
  );
  return new URL(`http://[${words.join(':')}]`).hostname.slice(1, -1);
}
