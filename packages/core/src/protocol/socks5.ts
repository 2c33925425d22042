// SOCKS5, RFC 1928: greeting and authentication (negotiate), then one CONNECT request.

import { isName } from '../destination.ts';
import { REP } from '../errors.ts';
import { encodeAddress, readAddress } from './address.ts';
import { authenticate, NONE, offeredMethods, USERPASS } from './method.ts';
import type { AuthMethod, AuthPolicy, Encapsulation } from './method.ts';
import { broken, hex, hopError, wrongVersion } from './step.ts';
import type { Bound, Hop, Steps } from './step.ts';
import { checkStatus, encodeUserpass } from './userpass.ts';

const VER = 0x05;
const CMD_CONNECT = 0x01;
const RSV = 0x00;
const NONE_ACCEPTABLE = 0xff;
/** What it usually means when a proxy accepts none of these methods. */
const METHOD_HINTS: Readonly<Record<string, string>> = {
  [NONE.id]: 'the proxy wants credentials',
  [USERPASS]: "the proxy may take no credentials: leave out auth: 'required'",
};

/** Greeting and authentication: all of the handshake that does not depend on the destination. */
export function* negotiate5(hop: Hop, auth: AuthPolicy): Steps<Encapsulation | undefined> {
  const methods = offeredMethods(hop, auth);
  yield { write: encodeGreeting(methods) };
  const method = checkMethod(hop, methods, yield { read: 2, phase: 'greeting' });
  return method === NONE ? undefined : yield* authenticate(hop, method);
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
  const methods = offeredMethods(hop, 'required');
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
function encodeGreeting(methods: readonly AuthMethod[]): Uint8Array {
  const greeting = [VER, methods.length];
  for (const { id } of methods) greeting.push(id);
  return Buffer.from(greeting);
}

/*
 *     +-----+--------+     FF: none is acceptable. A method that was not offered is refused, so that a
 *     | VER | METHOD |     server cannot make the client send credentials or leave them out.
 *     +-----+--------+
 */
function checkMethod(hop: Hop, offered: readonly AuthMethod[], reply: Uint8Array): AuthMethod {
  const { 0: ver = 0, 1: chosen = 0 } = reply;
  if (ver !== VER) throw wrongVersion(hop, 'greeting', ver, chosen, `VER ${hex(ver)} in the METHOD reply`);
  for (const method of offered) if (method.id === chosen) return method;
  if (chosen !== NONE_ACCEPTABLE) throw broken(hop, 'greeting', `METHOD ${hex(chosen)} was not offered`);
  const ids = offered.map(({ id }) => id);
  throw hopError(hop, 'ERR_SOCKS_NO_ACCEPTABLE_METHOD', {
    phase: 'greeting',
    detail: `offered ${ids.map(hex).join(', ')}`,
    hint: METHOD_HINTS[ids.join(',')],
  });
}

/*
 *     +-----+-----+-----+------+----------+----------+
 *     | VER | CMD | RSV | ATYP | DST.ADDR | DST.PORT |       section 4
 *     +-----+-----+-----+------+----------+----------+
 *     |  1  |  1  | X'00'|  1  | Variable |    2     |
 *     +-----+-----+-----+------+----------+----------+
 */
function encodeRequest5({ destination }: Hop): Uint8Array {
  return Buffer.from([VER, CMD_CONNECT, RSV, ...encodeAddress(destination.host, destination.port)]);
}

/*
 *     +-----+-----+-----+------+----------+----------+     section 6. REP other than 00 is final after two bytes:
 *     | VER | REP | RSV | ATYP | BND.ADDR | BND.PORT |     servers send short errors, ATYP 00, or names behind it.
 *     +-----+-----+-----+------+----------+----------+     RSV is ignored.
 *     |  1  |  1  | X'00'|  1  | Variable |    2     |
 *     +-----+-----+-----+------+----------+----------+
 */
function* readReply5(hop: Hop): Steps<Bound> {
  const { 0: ver = 0, 1: rep = 0 } = yield { read: 2, phase: 'request' };
  if (ver !== VER) throw broken(hop, 'request', `VER ${hex(ver)} in the reply`);
  if (rep !== 0x00) {
    const details = { detail: `REP ${hex(rep)}`, reply: rep, hint: usualReason(hop, rep) };
    throw hopError(hop, REP[rep] ?? 'ERR_SOCKS_UNASSIGNED_REPLY', { phase: 'request', ...details });
  }
  const { 1: atyp = 0 } = yield { read: 2, phase: 'request' };
  const bound = yield* readAddress(atyp);
  if (bound === undefined) throw broken(hop, 'request', `ATYP ${hex(atyp)} in the reply`);
  return bound;
}

// What known servers usually mean by a REP.
function usualReason({ proxy, destination }: Hop, rep: number): string | undefined {
  if (rep === 0x01 && isName(destination.host))
    return 'microsocks sends this when it cannot resolve the name; tor sends it when the port is closed';
  if (rep === 0x02 && proxy.credentials) return 'some servers send this when they refuse the credentials';
  if (rep === 0x06) return 'tor sends this when it found no circuit in time';
  return undefined;
}
