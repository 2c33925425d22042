// SOCKS5, RFC 1928: greeting and authentication (negotiate), then one CONNECT request.

import { isIPv4 } from 'node:net';
import { isName } from '../destination.ts';
import { REP, SocksError } from '../errors.ts';
import { encodeIPv4, encodeIPv6, printIPv6 } from './address.ts';
import { offeredMethods, refusalHint } from './method.ts';
import type { AuthPolicy, Encapsulation } from './method.ts';
import { broken, hex, hopError, wrongVersion } from './step.ts';
import type { Bound, Hop, Step, Steps } from './step.ts';

const VER = 0x05;
const NONE_ACCEPTABLE = 0xff;
const CMD_CONNECT = 0x01;
const RSV = 0x00;
const ATYP = { IPV4: 0x01, DOMAINNAME: 0x03, IPV6: 0x04 } as const;
const SUCCEEDED = 0x00;

/**
 * Greeting and authentication: all of the handshake that does not depend on the destination.
 *
 * @param before the authentication waits for this promise
 */
export function* negotiate5(
  hop: Hop,
  auth: AuthPolicy,
  before?: Promise<unknown>,
): Steps<Encapsulation | undefined> {
  /*
   *     +-----+----------+----------+
   *     | VER | NMETHODS | METHODS  |       section 3
   *     +-----+----------+----------+
   *     |  1  |    1     | 1 to 255 |
   *     +-----+----------+----------+
   */
  const methods = offeredMethods(hop, auth);
  const ids: number[] = [];
  for (const { id } of methods) ids.push(id);
  yield { write: Buffer.from([VER, ids.length, ...ids]) };
  /*
   *     +-----+--------+     FF: none is acceptable. A method that was not offered is refused, so that a
   *     | VER | METHOD |     server cannot make the client send credentials or leave them out.
   *     +-----+--------+
   */
  const { 0: ver = 0, 1: chosen = 0 } = yield { read: 2, phase: 'greeting' };
  if (ver !== VER) throw wrongVersion(hop, 'greeting', ver, chosen, `VER ${hex(ver)} in the METHOD reply`);
  if (chosen === NONE_ACCEPTABLE) {
    const details = { detail: `offered ${ids.map(hex).join(', ')}`, hint: refusalHint(methods) };
    throw hopError(hop, 'ERR_SOCKS_NO_ACCEPTABLE_METHOD', { phase: 'greeting', ...details });
  }
  const method = methods[ids.indexOf(chosen)];
  if (!method) throw broken(hop, 'greeting', `METHOD ${hex(chosen)} was not offered`);
  if (!method.authenticate) return undefined;
  if (before) yield { wait: before };
  try {
    return (yield* method.authenticate(hop)) ?? undefined;
  } catch (error) {
    if (error instanceof SocksError) throw error;
    throw hopError(hop, 'ERR_SOCKS_AUTH_FAILED', { phase: 'authentication', cause: error });
  }
}

export function* request5(hop: Hop): Steps<Bound> {
  /*
   *     +-----+-----+-----+------+----------+----------+     section 4. DST.ADDR is 4 octets (ATYP 01), 16 octets
   *     | VER | CMD | RSV | ATYP | DST.ADDR | DST.PORT |     (04), or one octet of length and the name (03).
   *     +-----+-----+-----+------+----------+----------+     DST.PORT is in network byte order.
   *     |  1  |  1  | X'00'|  1  | Variable |    2     |
   *     +-----+-----+-----+------+----------+----------+
   */
  const { host, port } = hop.destination;
  let address: readonly number[];
  if (isIPv4(host)) address = [ATYP.IPV4, ...encodeIPv4(host)];
  // No name has a colon.
  else if (host.includes(':')) address = [ATYP.IPV6, ...encodeIPv6(host)];
  else address = [ATYP.DOMAINNAME, host.length, ...Buffer.from(host, 'latin1')];
  yield { write: Buffer.from([VER, CMD_CONNECT, RSV, ...address, port >> 8, port & 0xff]) };
  /*
   *     +-----+-----+-----+------+----------+----------+     section 6. REP other than 00 is final after two bytes:
   *     | VER | REP | RSV | ATYP | BND.ADDR | BND.PORT |     servers send short errors, ATYP 00, or names behind it.
   *     +-----+-----+-----+------+----------+----------+     RSV is ignored.
   *     |  1  |  1  | X'00'|  1  | Variable |    2     |
   *     +-----+-----+-----+------+----------+----------+
   */
  const { 0: ver = 0, 1: rep = 0 } = yield { read: 2, phase: 'request' };
  if (ver !== VER) throw broken(hop, 'request', `VER ${hex(ver)} in the reply`);
  if (rep !== SUCCEEDED) {
    const details = { detail: `REP ${hex(rep)}`, reply: rep, hint: usualReason(hop, rep) };
    throw hopError(hop, REP[rep] ?? 'ERR_SOCKS_UNASSIGNED_REPLY', { phase: 'request', ...details });
  }
  const { 1: atyp = 0 } = yield { read: 2, phase: 'request' };
  let length = 16;
  if (atyp === ATYP.IPV4) length = 4;
  else if (atyp === ATYP.DOMAINNAME) length = (yield { read: 1, phase: 'request' })[0] ?? 0;
  else if (atyp !== ATYP.IPV6) throw broken(hop, 'request', `ATYP ${hex(atyp)} in the reply`);
  const bytes = yield { read: length + 2, phase: 'request' };
  const bound = bytes.subarray(0, length);
  const boundPort = ((bytes[length] ?? 0) << 8) | (bytes[length + 1] ?? 0);
  if (atyp === ATYP.IPV4) return { host: bound.join('.'), port: boundPort };
  if (atyp === ATYP.IPV6) return { host: printIPv6(bound), port: boundPort };
  // Latin-1, because a bound name need not be UTF-8 and no byte of it should be lost.
  return { host: Buffer.from(bound).toString('latin1'), port: boundPort };
}

const NOTHING: Uint8Array = new Uint8Array();

/** All messages in one segment: one method is offered, and its first message and the request follow before any reply. */
export function* pipelined5(hop: Hop): Steps<Bound> {
  const [method] = offeredMethods(hop, 'required');
  const negotiation = negotiate5(hop, 'required');
  const authentication = method?.authenticate?.(hop);
  const request = request5(hop);
  const parts = authentication ? [negotiation, authentication, request] : [negotiation, request];
  yield { write: Buffer.concat(parts.map(firstMessage)) };
  const first = yield { read: 2, phase: 'greeting' };
  // Tor leaves out the METHOD reply `05 02`, and begins with the answer to the credentials.
  const answers =
    authentication && first[0] === 0x01 ? [Uint8Array.of(VER, method?.id ?? 0), first] : [first];
  for (let step = negotiation.next(NOTHING); !step.done; ) {
    // What it writes was sent already.
    step = negotiation.next('write' in step.value ? NOTHING : (answers.shift() ?? (yield step.value)));
  }
  return yield* request;
}

function firstMessage(steps: Steps<unknown>): Uint8Array {
  const { value } = steps.next(NOTHING) as IteratorResult<Step, undefined>;
  return value && 'write' in value ? value.write : NOTHING;
}

// What known servers usually mean by a REP.
function usualReason({ proxy, destination }: Hop, rep: number): string | undefined {
  if (rep === 0x01 && isName(destination.host))
    return 'microsocks sends this when it cannot resolve the name; tor sends it when the port is closed';
  if (rep === 0x02 && proxy.credentials) return 'some servers send this when they refuse the credentials';
  if (rep === 0x06) return 'tor sends this when it found no circuit in time';
  return undefined;
}
