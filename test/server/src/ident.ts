// The identification protocol of RFC 1413, as the side that asks speaks it. No IO, and no opinion on the answer.

import type { Steps } from './negotiate.ts';

/** The connection that is asked about, as the machine sees it that is asked: its own port first. */
export interface PortPair {
  readonly theirs: number;
  readonly ours: number;
}

/** The answer names no user: it is an ERROR, about other ports, too long, or no ident at all. */
export class Unidentified extends Error {
  override readonly name: string = 'Unidentified';
}

/** RFC 1413 section 6, note 2: who got so many characters without an end of line may give up. */
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
 * Is it the user that the client claims to be? Octet by octet. The RFC's own example has a space before the user id,
 * which its grammar makes a part of it: with and without that space are both right.
 */
export function isSameUser(identified: Buffer, claimed: string): boolean {
  // A claim that was no UTF-8 has lost what it said.
  if (claimed.includes('\ufffd')) return false;
  const claim = Buffer.from(claimed, 'utf8').toString('latin1');
  const user = identified.toString('latin1');
  return user === claim || user.replace(/^[ \t]+/, '') === claim;
}
