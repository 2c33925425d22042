// The server side of SOCKS5: greeting and request of RFC 1928, user and password of RFC 1929.

import { isIPv4, isIPv6 } from 'node:net';
import { Refusal } from './steps.ts';
import type { Request, Steps } from './steps.ts';

export const VER5 = 0x05;
const VER_USERPASS = 0x01;
const RSV = 0x00;
const METHOD = { NONE: 0x00, USERPASS: 0x02, NONE_ACCEPTABLE: 0xff } as const;
const STATUS = { SUCCESS: 0x00, FAILURE: 0x01 } as const;
/** RESOLVE is Tor's (socks-extensions): the reply carries the address of the name. */
const CMD = { CONNECT: 0x01, RESOLVE: 0xf0 } as const;
const ATYP = { IPV4: 0x01, DOMAINNAME: 0x03, IPV6: 0x04 } as const;
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

/** Whether these are the user and the password that a client has to send. */
export type CheckUser = (name: Uint8Array, password: Uint8Array) => boolean;

/** All of a client's part, from the byte behind VER to the request. Without `check`, everybody is served. */
export function* readRequest5(check?: CheckUser): Steps<Request> {
  const methods = yield* readGreeting();
  const wanted = check ? METHOD.USERPASS : METHOD.NONE;
  if (!methods.includes(wanted)) {
    const problem = check ? 'the client offers no password' : 'the client insists on authentication';
    throw new Refusal(problem, encodeMethod(METHOD.NONE_ACCEPTABLE));
  }
  yield { write: encodeMethod(wanted) };
  if (check) {
    const [name, password] = yield* readUserpass();
    if (!check(name, password)) throw new Refusal('wrong user or password', encodeStatus(STATUS.FAILURE));
    yield { write: encodeStatus(STATUS.SUCCESS) };
  }
  return yield* readRequest();
}

/*
 *     +-----+----------+----------+
 *     | VER | NMETHODS | METHODS  |       RFC 1928 section 3. VER has been read.
 *     +-----+----------+----------+
 *     |  1  |    1     | 1 to 255 |
 *     +-----+----------+----------+
 */
function* readGreeting(): Steps<Uint8Array> {
  const [count = 0] = yield { read: 1 };
  return count === 0 ? new Uint8Array() : yield { read: count };
}

/*
 *     +-----+--------+
 *     | VER | METHOD |       RFC 1928 section 3. FF: none is acceptable, and the client has to close.
 *     +-----+--------+
 *     |  1  |   1    |
 *     +-----+--------+
 */
function encodeMethod(method: number): Uint8Array {
  return Uint8Array.of(VER5, method);
}

/*
 *     +-----+------+----------+------+----------+
 *     | VER | ULEN |  UNAME   | PLEN |  PASSWD  |       RFC 1929 section 2. VER is 01.
 *     +-----+------+----------+------+----------+
 *     |  1  |  1   | 1 to 255 |  1   | 1 to 255 |       A length of 0 is read too; it fits no user.
 *     +-----+------+----------+------+----------+
 */
function* readUserpass(): Steps<readonly [name: Uint8Array, password: Uint8Array]> {
  const [ver = 0, ulen = 0] = yield { read: 2 };
  if (ver !== VER_USERPASS)
    throw new Refusal(`VER ${ver} of the user and password`, encodeStatus(STATUS.FAILURE));
  const name = ulen === 0 ? new Uint8Array() : yield { read: ulen };
  const [plen = 0] = yield { read: 1 };
  const password = plen === 0 ? new Uint8Array() : yield { read: plen };
  return [name, password];
}

/*
 *     +-----+--------+
 *     | VER | STATUS |       RFC 1929 section 2. 00 is success; after anything else the server has to close.
 *     +-----+--------+
 *     |  1  |   1    |
 *     +-----+--------+
 */
function encodeStatus(status: number): Uint8Array {
  return Uint8Array.of(VER_USERPASS, status);
}

/*
 *     +-----+-----+-----+------+----------+----------+
 *     | VER | CMD | RSV | ATYP | DST.ADDR | DST.PORT |       RFC 1928 section 4. RSV is ignored.
 *     +-----+-----+-----+------+----------+----------+
 *     |  1  |  1  | X'00'|  1  | Variable |    2     |       Section 5: DST.ADDR has 4 octets (ATYP 01),
 *     +-----+-----+-----+------+----------+----------+       16 octets (04), or a length and a name (03).
 */
function* readRequest(): Steps<Request> {
  const [ver = 0, cmd = 0, , atyp = 0] = yield { read: 4 };
  if (ver !== VER5) throw new Refusal(`VER ${ver} of the request`, encodeReply5(REP.GENERAL_FAILURE));
  let host: string | Uint8Array;
  if (atyp === ATYP.IPV4) host = (yield { read: 4 }).join('.');
  else if (atyp === ATYP.IPV6) host = printIPv6(yield { read: 16 });
  else if (atyp === ATYP.DOMAINNAME) {
    const [length = 0] = yield { read: 1 };
    host = length === 0 ? new Uint8Array() : yield { read: length };
  } else throw new Refusal(`ATYP ${atyp}`, encodeReply5(REP.ADDRESS_TYPE_NOT_SUPPORTED));
  const [high = 0, low = 0] = yield { read: 2 };
  const port = (high << 8) | low;
  if (cmd === CMD.CONNECT) return { version: 5, command: 'connect', host, port };
  if (cmd === CMD.RESOLVE) return { version: 5, command: 'resolve', host, port };
  throw new Refusal(`SOCKS5 command ${cmd}`, encodeReply5(REP.COMMAND_NOT_SUPPORTED));
}

/*
 *     +-----+-----+-----+------+----------+----------+     RFC 1928 section 6. BND is what the upstream proxy says
 *     | VER | REP | RSV | ATYP | BND.ADDR | BND.PORT |     that it is connected from, if that is an address;
 *     +-----+-----+-----+------+----------+----------+     else zeros.
 *     |  1  |  1  | X'00'|  1  | Variable |    2     |
 *     +-----+-----+-----+------+----------+----------+
 */
export function encodeReply5(
  rep: number,
  bound?: { readonly host: string; readonly port: number },
): Uint8Array {
  const { host = '', port = 0 } = bound ?? {};
  const address = isIPv6(host) ? parseIPv6(host) : isIPv4(host) ? host.split('.').map(Number) : [0, 0, 0, 0];
  const atyp = address.length === 16 ? ATYP.IPV6 : ATYP.IPV4;
  return Uint8Array.of(VER5, rep, RSV, atyp, ...address, port >> 8, port & 0xff);
}

function printIPv6(bytes: Uint8Array): string {
  return Array.from({ length: 8 }, (_, i) =>
    (((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0)).toString(16),
  ).join(':');
}

// The URL parser writes any legal form as hexadecimal groups around one '::' at most. It refuses a zone, so the zone is
// removed first.
function parseIPv6(host: string): number[] {
  const [head = '', tail = ''] = new URL(`http://[${host.replace(/%.*/, '')}]`).hostname
    .slice(1, -1)
    .split('::');
  const [left, right] = [groups(head), groups(tail)];
  const zeros = Array.from<number>({ length: 8 - left.length - right.length }).fill(0);
  return [...left, ...zeros, ...right].flatMap((group) => [group >> 8, group & 0xff]);
}

function groups(part: string): number[] {
  return part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
}
