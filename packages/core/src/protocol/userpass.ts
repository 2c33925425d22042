// Username/password authentication, RFC 1929: method 02.

import { broken, hopError } from './step.ts';
import type { Hop, Steps } from './step.ts';

const VER = 0x01;
const SUCCESS = 0x00;

export function* userpass(hop: Hop): Steps<void> {
  /*
   *     +-----+------+----------+------+----------+     Lengths count bytes. A zero-length PASSWD is
   *     | VER | ULEN |  UNAME   | PLEN |  PASSWD  |     outside the RFC, but usual (curl, Tor).
   *     +-----+------+----------+------+----------+
   *     |  1  |  1   | 0 to 255 |  1   | 0 to 255 |
   *     +-----+------+----------+------+----------+
   */
  const { username = '', password = '' } = hop.proxy.credentials ?? {};
  const [uname, passwd] = [Buffer.from(username, 'utf8'), Buffer.from(password, 'utf8')];
  yield { write: Buffer.from([VER, uname.length, ...uname, passwd.length, ...passwd]) };
  /*
   *     +-----+--------+     STATUS 00 succeeds, any other value fails. It is checked before VER, because tor
   *     | VER | STATUS |     refuses a username with a whole SOCKS5 reply. VER 05 with STATUS 00 is accepted.
   *     +-----+--------+
   */
  const { 0: ver = 0, 1: status = 0 } = yield { read: 2, phase: 'authentication' };
  if (status !== SUCCESS) {
    throw hopError(hop, 'ERR_SOCKS_AUTH_FAILED', {
      phase: 'authentication',
      detail: `STATUS ${status}`,
      hint: 'check user and password; percent-encode them in the URL',
    });
  }
  if (ver !== VER && ver !== 0x05)
    throw broken(hop, 'authentication', `VER ${ver} in the answer to the credentials`);
}
