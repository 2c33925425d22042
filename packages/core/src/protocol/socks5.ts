// SOCKS5, RFC 1928: greeting and authentication (negotiate), then one CONNECT request.

import { isName } from '../destination.ts';
import { REP } from '../errors.ts';
import { encodeAddress, readAddress } from './address.ts';
import { authenticate, offeredMethods } from './method.ts';
import type { AuthPolicy, Encapsulation } from './method.ts';
import { broken, checkProtocol, hex, hopError } from './step.ts';
import type { Bound, Hop, Steps } from './step.ts';
import { checkStatus, encodeUserpass } from './userpass.ts';

const VER = 0x05;
const CMD_CONNECT = 0x01;
const RSV = 0x00;
const METHOD = { NONE: 0x00, USERPASS: 0x02, NONE_ACCEPTABLE: 0xff } as const;
/** What it usually means when a proxy accepts none of these methods. */
const METHOD_HINTS: Readonly<Record<string, string>> = {
  [METHOD.NONE]: 'the proxy wants credentials',
  [METHOD.USERPASS]: "the proxy may take no credentials: leave out auth: 'required'",
};

/** Greeting and authentication: all of the handshake that does not depend on the destination. */
export function* negotiate5(hop: Hop, auth: AuthPolicy): Steps<Encapsulation | undefined> {
  const methods = offeredMethods(hop, auth);
  const ids = methods.map(({ id }) => id);
  yield { write: encodeGreeting(ids) };
  const chosen = checkMethod(hop, ids, yield { read: 2, phase: 'greeting' });
  const method = methods.find(({ id }) => id === chosen);
  return method && (yield* authenticate(hop, method));
}

export function* request5(hop: Hop): Steps<Bound> {
  yield { write: encodeRequest5(hop) };
  return yield* readReply5(hop);
}

/**
 * All messages in one segment: one method is offered, and the authentication and the request follow before any reply.
 * Tor then leaves out the METHOD reply `05 02` and begins with the answer to the credentials.
 */
export function* pipelined5(hop: Hop): Steps<Bound> {
  const { credentials } = hop.proxy;
  const methods = [credentials ? METHOD.USERPASS : METHOD.NONE];
  const authentication = credentials ? [encodeUserpass(credentials)] : [];
  yield { write: Buffer.concat([encodeGreeting(methods), ...authentication, encodeRequest5(hop)]) };
  let answer = yield { read: 2, phase: 'greeting' };
  if (!credentials || answer[0] !== 0x01) {
    checkMethod(hop, methods, answer);
    if (credentials) answer = yield { read: 2, phase: 'authentication' };
  }
  if (credentials) checkStatus(hop, answer);
  return yield* readReply5(hop);
}

/*
 *     +-----+----------+----------+
 *     | VER | NMETHODS | METHODS  |       section 3
 *     +-----+----------+----------+
 *     |  1  |    1     | 1 to 255 |
 *     +-----+----------+----------+
 */
function encodeGreeting(methods: readonly number[]): Uint8Array {
  return Uint8Array.of(VER, methods.length, ...methods);
}

/*
 *     +-----+--------+     FF: none is acceptable. A method that was not offered is refused, so that a
 *     | VER | METHOD |     server cannot make the client send credentials or leave them out.
 *     +-----+--------+
 */
function checkMethod(hop: Hop, offered: readonly number[], [ver = 0, method = 0]: Uint8Array): number {
  checkProtocol(hop, ver, method);
  if (ver !== VER) throw broken(hop, 'greeting', `VER ${hex(ver)} in the METHOD reply`);
  if (method === METHOD.NONE_ACCEPTABLE) {
    throw hopError(hop, 'ERR_SOCKS_NO_ACCEPTABLE_METHOD', {
      phase: 'greeting',
      detail: `offered ${offered.map(hex).join(', ')}`,
      hint: METHOD_HINTS[offered.join(',')],
    });
  }
  if (!offered.includes(method)) throw broken(hop, 'greeting', `METHOD ${hex(method)} was not offered`);
  return method;
}

/*
 *     +-----+-----+-----+------+----------+----------+
 *     | VER | CMD | RSV | ATYP | DST.ADDR | DST.PORT |       section 4
 *     +-----+-----+-----+------+----------+----------+
 *     |  1  |  1  | X'00'|  1  | Variable |    2     |
 *     +-----+-----+-----+------+----------+----------+
 */
function encodeRequest5({ destination }: Hop): Uint8Array {
  return Buffer.concat([
    Uint8Array.of(VER, CMD_CONNECT, RSV),
    encodeAddress(destination.host, destination.port),
  ]);
}

/*
 *     +-----+-----+-----+------+----------+----------+     section 6. REP other than 00 is final after two bytes:
 *     | VER | REP | RSV | ATYP | BND.ADDR | BND.PORT |     servers send short errors, ATYP 00, or names behind it.
 *     +-----+-----+-----+------+----------+----------+     RSV is ignored.
 *     |  1  |  1  | X'00'|  1  | Variable |    2     |
 *     +-----+-----+-----+------+----------+----------+
 */
function* readReply5(hop: Hop): Steps<Bound> {
  const [ver = 0, rep = 0] = yield { read: 2, phase: 'request' };
  if (ver !== VER) throw broken(hop, 'request', `VER ${hex(ver)} in the reply`);
  if (rep !== 0x00) {
    const details = { detail: `REP ${hex(rep)}`, reply: rep, hint: usualReason(hop, rep) };
    throw hopError(hop, REP[rep] ?? 'ERR_SOCKS_UNASSIGNED_REPLY', { phase: 'request', ...details });
  }
  const [, atyp = 0] = yield { read: 2, phase: 'request' };
  const bound = yield* readAddress(atyp);
  if (bound === undefined) throw broken(hop, 'request', `ATYP ${hex(atyp)} in the reply`);
  return bound;
}

// What known servers usually mean by a REP.
function usualReason({ proxy, destination }: Hop, rep: number): string | undefined {
  if (rep === 0x01 && isName(destination.host))
    return 'microsocks sends this when it cannot resolve the name; tor sends it when the port is closed';
  if (rep === 0x02 && proxy.credentials) return 'some servers report refused credentials this way';
  if (rep === 0x06) return 'tor sends this when it found no circuit in time';
  return undefined;
}
