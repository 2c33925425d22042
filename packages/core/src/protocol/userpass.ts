// Username/password authentication, RFC 1929: method 02.

import type { SocksCredentials } from '../proxy.ts';
import { broken, hopError } from './step.ts';
import type { Hop, Steps } from './step.ts';

const VER = 0x01;
const SUCCESS = 0x00;

/*
 *     +-----+------+----------+------+----------+     Lengths count bytes. A zero-length PASSWD is
 *     | VER | ULEN |  UNAME   | PLEN |  PASSWD  |     outside the RFC, but usual (curl, Tor).
 *     +-----+------+----------+------+----------+
 *     |  1  |  1   | 0 to 255 |  1   | 0 to 255 |
 *     +-----+------+----------+------+----------+
 */
export function encodeUserpass({ username, password = '' }: SocksCredentials): Uint8Array {
  const [uname, passwd] = [Buffer.from(username, 'utf8'), Buffer.from(password, 'utf8')];
  return Buffer.concat([Uint8Array.of(VER, uname.length), uname, Uint8Array.of(passwd.length), passwd]);
}

export function* userpass(hop: Hop, credentials: SocksCredentials): Steps<void> {
  yield { write: encodeUserpass(credentials) };
  checkStatus(hop, yield { read: 2, phase: 'authentication' });
}

/*
 *     +-----+--------+     STATUS 00 succeeds, any other value fails. It is checked before VER, because tor
 *     | VER | STATUS |     refuses a username with a whole SOCKS5 reply. VER 05 with STATUS 00 is accepted.
 *     +-----+--------+
 */
export function checkStatus(hop: Hop, [ver = 0, status = 0]: Uint8Array): void {
  if (status !== SUCCESS) {
    throw hopError(hop, 'ERR_SOCKS_AUTH_FAILED', { phase: 'authentication', detail: `STATUS ${status}` });
  }
  if (ver !== VER && ver !== 0x05)
    throw broken(hop, 'authentication', `VER ${ver} in the answer to the credentials`);
}
