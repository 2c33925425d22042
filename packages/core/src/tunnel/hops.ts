// Performs the handshakes with the proxies of a chain, first hop first: it negotiates with every proxy, and then sends
// the request for the next hop. Only the last request depends on the destination.

import { isOnion } from '../destination.ts';
import type { Destination } from '../destination.ts';
import { invalid } from '../errors.ts';
import { reveal } from '../hidden.ts';
import { checkHop, request } from '../protocol/handshake.ts';
import { negotiate5 } from '../protocol/socks5.ts';
import type { Bound, Hop } from '../protocol/step.ts';
import type { SocksProxy } from '../proxy.ts';
import type { Attempt } from './attempt.ts';
import type { Connection } from './connection.ts';
import { dial, toProxyError } from './dial.ts';
import { drive } from './drive.ts';
import { EncapsulatedSocket } from './encapsulated.ts';
import { resolveHops } from './lookup.ts';
import { secure, withSecureContext } from './secure.ts';

/** A connection whose last request was granted. */
export interface Opened {
  readonly connection: Connection;
  readonly bound: Bound;
}

/** The hops of a chain, once for each address that a local look-up gave. */
export type Candidates = readonly (readonly Hop[])[];

/**
 * Pairs each proxy with what is requested of it: the next proxy; for the last proxy, the destination. Checks all that can
 * be checked before a byte is sent.
 *
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_DESTINATION`, `ERR_SOCKS_INVALID_CREDENTIALS`,
 * `ERR_SOCKS_LOOKUP`
 */
export function toCandidates(
  chain: readonly SocksProxy[],
  destination: Destination,
  attempt: Attempt,
): Candidates | Promise<Candidates> {
  const hops: Hop[] = [];
  let isLocal = false;
  for (const proxy of chain) {
    const hop = { proxy, destination: chain[hops.length + 1] ?? destination };
    checkHop(hop, attempt.options.auth ?? 'auto');
    hops.push(hop);
    if (proxy.dns === 'local') isLocal = true;
  }
  const { host = '', path } = chain[0] ?? {};
  if (path === undefined && !attempt.existing && isOnion(host)) {
    const problem = 'an onion name is never looked up: use this proxy as a later hop of a chain through tor';
    throw invalid('PROXY', problem);
  }
  return isLocal ? resolveHops(hops, attempt) : [hops];
}

interface NegotiateOptions {
  /** Default true. */
  readonly negotiateLast?: boolean;
  /** Called when the first proxy has been connected to. */
  readonly onDialled?: (() => void) | undefined;
  /** The credentials are sent only after this promise has resolved. */
  readonly before?: Promise<unknown> | undefined;
}

/**
 * Connects to the last proxy of the chain, with negotiation done at every hop, or at every hop but the last.
 *
 * @throws SocksError; the reason of the attempt, if it has stopped
 */
export async function negotiateHops(
  hops: readonly Hop[],
  attempt: Attempt,
  { negotiateLast = true, onDialled, before }: NegotiateOptions = {},
): Promise<Connection> {
  const { existing, options, progress } = attempt;
  let connection = existing;
  for (const hop of hops) {
    const { proxy } = hop;
    const isLast = hop === hops.at(-1);
    progress.enter('dial', hop);
    try {
      if (!connection) {
        connection = dial(proxy, attempt);
        await connection.until(['connect']);
      }
      if (proxy.tls) {
        progress.enter('proxy-tls');
        await secure(connection, proxy, withSecureContext(reveal(proxy.tls)));
      }
    } catch (error) {
      throw toProxyError(error, attempt);
    }
    if (hop === hops[0]) onDialled?.();
    if (isLast && !negotiateLast) break;
    if (proxy.version === 5) {
      const encapsulation = await drive(negotiate5(hop, options.auth ?? 'auto', before), connection, attempt);
      if (encapsulation) connection.wrap(new EncapsulatedSocket(connection.stream, encapsulation));
    }
    if (!isLast) await drive(request(hop), connection, attempt);
  }
  return connection as Connection;
}
