// SOCKS4 and SOCKS4A, after the two memos. One message in each direction.

import { isIPv4 } from 'node:net';
import { CD } from '../errors.ts';
import { encodeIPv4 } from './address.ts';
import { hex, hopError, wrongVersion } from './step.ts';
import type { Bound, Hop, Steps } from './step.ts';

const VN = 0x04;
const CMD_CONNECT = 0x01;
const GRANTED = 90;
const MARKER_4A = Uint8Array.of(0, 0, 0, 1);
const NUL = Uint8Array.of(0);

/*
 *     +----+-----+---------+-------+----------+------+     SOCKS4A: IP is 0.0.0.x, x not 0,
 *     | VN | CMD | DSTPORT | DSTIP |  USERID  | NULL |     and the name with its own NULL follows.
 *     +----+-----+---------+-------+----------+------+
 *     | 1  |  1  |    2    |   4   | variable |  1   |
 *     +----+-----+---------+-------+----------+------+
 */
export function encodeRequest4({ proxy, destination }: Hop): Uint8Array {
  const literal = isIPv4(destination.host);
  return Buffer.concat([
    Uint8Array.of(VN, CMD_CONNECT, destination.port >> 8, destination.port & 0xff),
    literal ? Uint8Array.from(encodeIPv4(destination.host)) : MARKER_4A,
    Buffer.from(proxy.credentials?.username ?? '', 'utf8'),
    NUL,
    ...(literal ? [] : [Buffer.from(destination.host, 'latin1'), NUL]),
  ]);
}

/*
 *     +----+----+---------+-------+     VN is 0; some servers send 4. CD 90 grants. The memo ignores
 *     | VN | CD | DSTPORT | DSTIP |     the rest for CONNECT, but it belongs to the message.
 *     +----+----+---------+-------+
 *     | 1  | 1  |    2    |   4   |
 *     +----+----+---------+-------+
 */
export function* request4(hop: Hop): Steps<Bound> {
  yield { write: encodeRequest4(hop) };
  const [vn = 0, cd = 0] = yield { read: 2, phase: 'request' };
  if (vn !== 0x00 && vn !== 0x04) throw wrongVersion(hop, 'request', vn, cd, `VN ${hex(vn)} in the reply`);
  if (cd !== GRANTED) {
    const isUnknown4A = cd === 91 && !isIPv4(hop.destination.host);
    throw hopError(hop, CD[cd] ?? 'ERR_SOCKS_UNASSIGNED_REPLY', {
      phase: 'request',
      detail: `CD ${cd}`,
      reply: cd,
      hint: isUnknown4A ? 'a server without SOCKS4A rejects every name: try socks5://' : undefined,
    });
  }
  const [portHigh = 0, portLow = 0, ...ip] = yield { read: 6, phase: 'request' };
  return { host: ip.join('.'), port: (portHigh << 8) | portLow };
}
