// The header that SOCKS5 puts in front of the data of each datagram, in both directions. No IO, no fragments.

import { encodeAddress, readAddress } from './address.ts';
import type { Bound, Destination } from './address.ts';

/** The data that a client sends, and their destination. */
export interface Datagram extends Destination {
  readonly data: Uint8Array;
}

const NOTHING: Uint8Array = new Uint8Array();

/*
 *     +-----+------+------+----------+----------+----------+
 *     | RSV | FRAG | ATYP | DST.ADDR | DST.PORT |   DATA   |      RFC 1928 section 7. FRAG is 0: this datagram
 *     +-----+------+------+----------+----------+----------+      stands alone. Who does not put fragments
 *     |  2  |  1   |  1   | Variable |    2     | Variable |      together MUST drop all others.
 *     +-----+------+------+----------+----------+----------+
 */
/** Undefined: to be dropped, for a FRAG or RSV other than 0, an unknown ATYP, an empty name, or an end too early. */
export function parseDatagram(bytes: Uint8Array): Datagram | undefined {
  if (bytes.length < 4) return undefined;
  const [rsv1, rsv2, frag, atyp = 0] = bytes;
  if (rsv1 !== 0x00 || rsv2 !== 0x00 || frag !== 0x00) return undefined;
  let data = bytes.subarray(4);
  const reader = readAddress(atyp);
  let step = reader.next(NOTHING);
  while (step.done !== true) {
    const { read } = step.value;
    if (data.length < read) return undefined;
    step = reader.next(data.subarray(0, read));
    data = data.subarray(read);
  }
  return step.value && step.value.host !== '' ? { ...step.value, data } : undefined;
}

/** The datagram for the client, with the address from which the data came. */
export function encodeDatagram(source: Bound, data: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(0x00, 0x00, 0x00, ...encodeAddress(source)), data]);
}
