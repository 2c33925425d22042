// The server side of SOCKS4 and SOCKS4A, after the two memos.

import { Refusal } from './steps.ts';
import type { Request, Steps } from './steps.ts';

export const VN4 = 0x04;
const CMD_CONNECT = 0x01;
export const CD = { GRANTED: 90, REJECTED: 91, IDENTD_UNREACHABLE: 92, IDENTD_MISMATCH: 93 } as const;

const MAX_TEXT = 255;

/*
 *     +----+-----+---------+-------+----------+------+     SOCKS4 memo. SOCKS4A: DSTIP is 0.0.0.x, x not 0,
 *     | VN | CMD | DSTPORT | DSTIP |  USERID  | NULL |     and the name with its own NULL follows.
 *     +----+-----+---------+-------+----------+------+
 *     | 1  |  1  |    2    |   4   | variable |  1   |     VN has been read. The memos set no limit for USERID
 *     +----+-----+---------+-------+----------+------+     and name; here each has 255 bytes at most.
 */
export function* readRequest4(isOpen: boolean): Steps<Request> {
  const [cmd = 0, high = 0, low = 0, ...ip] = yield { read: 7 };
  yield* readText('USERID');
  const named = ip[0] === 0 && ip[1] === 0 && ip[2] === 0 && ip[3] !== 0;
  const host = named ? yield* readText('name') : ip.join('.');
  // The memos know no password, so a bridge that wants one serves no SOCKS4 client.
  if (!isOpen) throw new Refusal('SOCKS4 has no password', encodeReply4(CD.REJECTED));
  if (cmd !== CMD_CONNECT) throw new Refusal(`SOCKS4 command ${cmd}`, encodeReply4(CD.REJECTED));
  return { version: 4, command: 'connect', host, port: (high << 8) | low };
}

/** Byte by byte up to the NUL, since nothing says how long the text is. */
function* readText(what: string): Steps<Uint8Array> {
  const bytes: number[] = [];
  for (;;) {
    const [byte = 0] = yield { read: 1 };
    if (byte === 0) return Uint8Array.from(bytes);
    if (bytes.push(byte) > MAX_TEXT)
      throw new Refusal(`a SOCKS4 ${what} of more than 255 bytes`, encodeReply4(CD.REJECTED));
  }
}

/*
 *     +----+----+---------+-------+     SOCKS4 memo. VN is 0 in a reply. The client ignores the rest.
 *     | VN | CD | DSTPORT | DSTIP |
 *     +----+----+---------+-------+
 *     | 1  | 1  |    2    |   4   |
 *     +----+----+---------+-------+
 */
export function encodeReply4(cd: number): Uint8Array {
  return Uint8Array.of(0, cd, 0, 0, 0, 0, 0, 0);
}
