// The client side of the identification protocol of RFC 1413: the query, and the reader of its reply. No IO.

import type { Steps } from './negotiate.ts';

/** The connection of the query, as the queried machine sees it: its own port first. */
export interface PortPair {
  readonly theirs: number;
  readonly ours: number;
}

/** The answer names no user: it is an ERROR, about other ports, too long, or no ident at all. */
export class Unidentified extends Error {
  override readonly name: string = 'Unidentified';
}

/** RFC 1413 section 6, note 2: after so many characters without an end of line the client may give up. */
const REPLY_MAX = 1000;

/*
 *     C:  port-on-server , port-on-client CR LF                               RFC 1413 section 4
 *     S:  port-pair : USERID : opsys [, charset] : user-id CR LF
 *     S:  port-pair : ERROR : error-type CR LF
 */
/** The octets of the user id. @throws Unidentified */
export function* askIdent(ports: PortPair): Steps<Buffer> {
  yield { write: Buffer.from(`${ports.theirs},${ports.ours}\r\n`, 'latin1') };
  const line: number[] = [];
  for (;;) {
    const [octet = 0] = yield { read: 1 };
    if (octet === 0x0a) return parseIdent(Buffer.from(line), ports);
    if (line.push(octet) >= REPLY_MAX) throw new Unidentified(`no end of line in ${REPLY_MAX} octets`);
  }
}

// White space may stand anywhere between tokens, but all that follows the last colon is the user id: any octets but
// NUL, CR and LF (section 6, note 1).
const REPLY =
  /^[ \t]*(\d{1,5})[ \t]*,[ \t]*(\d{1,5})[ \t]*:[ \t]*(?:USERID[ \t]*:([^:\0\r]*):([^\0\r]+)|ERROR[ \t]*:([^:\0\r]+))\r$/i;

/** One line, without its LF. @throws Unidentified */
export function parseIdent(line: Buffer, { theirs, ours }: PortPair): Buffer {
  const [match, first, second, opsys = '', user, error] = REPLY.exec(line.toString('latin1')) ?? [];
  if (match === undefined) throw new Unidentified('not a reply of RFC 1413');
  if (Number(first) !== theirs || Number(second) !== ours) throw new Unidentified('about another connection');
  if (error !== undefined) throw new Unidentified(error.trim());
  if (opsys.trim() === '' || user === undefined) throw new Unidentified('not a reply of RFC 1413');
  return Buffer.from(user, 'latin1');
}

/**
 * True if the client claims to be this user, octet by octet. By the grammar of the RFC, the space before the user id of
 * its own example is a part of the user id. So the claim may be with that space or without it.
 */
export function isSameUser(identified: Buffer, claimed: string): boolean {
  // A claim that was not UTF-8 has lost its bytes.
  if (claimed.includes('\ufffd')) return false;
  const claim = Buffer.from(claimed, 'utf8').toString('latin1');
  const user = identified.toString('latin1');
  return user === claim || user.replace(/^[ \t]+/, '') === claim;
}
