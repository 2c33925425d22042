// SOCKS4 and SOCKS4A, after the two memos. One message in each direction.

import { isIPv4 } from 'node:net';
import { CD } from '../errors.ts';
import { encodeIPv4 } from './address.ts';
import { hex, hopError, wrongVersion } from './step.ts';
import type { Bound, Hop, Steps } from './step.ts';

const VN = 0x04;
const CMD_CONNECT = 0x01;
const GRANTED = 90;
const MARKER_4A = [0, 0, 0, 1];
const NUL = 0;

export function* request4(hop: Hop): Steps<Bound> {
  /*
   *     +----+-----+---------+-------+----------+------+     SOCKS4A: IP is 0.0.0.x, x not 0,
   *     | VN | CMD | DSTPORT | DSTIP |  USERID  | NULL |     and the name with its own NULL follows.
   *     +----+-----+---------+-------+----------+------+
   *     | 1  |  1  |    2    |   4   | variable |  1   |
   *     +----+-----+---------+-------+----------+------+
   */
  const { host, port } = hop.destination;
  const isLiteral = isIPv4(host);
  const ip = isLiteral ? encodeIPv4(host) : MARKER_4A;
  const userid = Buffer.from(hop.proxy.credentials?.username ?? '', 'utf8');
  const name = isLiteral ? [] : [...Buffer.from(host, 'latin1'), NUL];
  yield { write: Buffer.from([VN, CMD_CONNECT, port >> 8, port & 0xff, ...ip, ...userid, NUL, ...name]) };
  /*
   *     +----+----+---------+-------+     VN is 0; some servers send 4. CD 90 grants. The memo ignores
   *     | VN | CD | DSTPORT | DSTIP |     the rest for CONNECT, but it belongs to the message.
   *     +----+----+---------+-------+
   *     | 1  | 1  |    2    |   4   |
   *     +----+----+---------+-------+
   */
  const { 0: vn = 0, 1: cd = 0 } = yield { read: 2, phase: 'request' };
  if (vn !== 0x00 && vn !== 0x04) throw wrongVersion(hop, 'request', vn, cd, `VN ${hex(vn)} in the reply`);
  if (cd !== GRANTED) {
    throw hopError(hop, CD[cd] ?? 'ERR_SOCKS_UNASSIGNED_REPLY', {
      phase: 'request',
      detail: `CD ${cd}`,
      reply: cd,
      hint:
        cd === 91 && !isLiteral ? 'a server without SOCKS4A rejects every name: try socks5://' : undefined,
    });
  }
  const [portHigh = 0, portLow = 0, ...boundIp] = yield { read: 6, phase: 'request' };
  return { host: boundIp.join('.'), port: (portHigh << 8) | portLow };
}
