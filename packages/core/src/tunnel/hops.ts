// Performs the handshakes with the proxies of a chain, first hop first: it negotiates with every proxy, and then sends
// the request for the next hop. Only the last request depends on the destination.

import type { Destination } from '../destination.ts';
import type { SocksPhase } from '../errors.ts';
import { negotiate, request } from '../protocol/handshake.ts';
import type { Bound, Hop, Steps } from '../protocol/step.ts';
import type { SocksProxy } from '../proxy.ts';
import type { Attempt } from './attempt.ts';
import { StreamClosed } from './connection.ts';
import type { Connection } from './connection.ts';
import { connectToProxy } from './dial.ts';
import { drive } from './drive.ts';
import { EncapsulatedSocket } from './encapsulated.ts';

/** A connection whose last request was granted. */
export interface Opened {
  readonly connection: Connection;
  readonly bound: Bound;
}

/** Each proxy with what is requested of it: the next proxy, or of the last one the destination. */
export function toHops(chain: readonly SocksProxy[], destination: Destination): readonly Hop[] {
  return chain.map((proxy, i) => ({ proxy, destination: chain[i + 1] ?? destination }));
}

export function lastOf(hops: readonly Hop[]): Hop {
  const last = hops.at(-1);
  if (!last) throw new RangeError('a chain has at least one hop');
  return last;
}

/** Connects to the last proxy of the chain, with negotiation done at every hop, or at every hop but the last. */
export async function negotiateHops(
  hops: readonly Hop[],
  attempt: Attempt,
  negotiateLast = true,
): Promise<Connection> {
  let connection = attempt.existing;
  for (const [i, hop] of hops.entries()) {
    const isLast = i === hops.length - 1;
    attempt.progress.enter('dial', hop);
    connection = await connectToProxy(connection, hop.proxy, attempt);
    if (isLast && !negotiateLast) break;
    const encapsulation = await perform(negotiate(hop, attempt.options.auth ?? 'auto'), connection, attempt);
    if (encapsulation) connection.wrap(new EncapsulatedSocket(connection.stream, encapsulation));
    if (!isLast) await perform(request(hop), connection, attempt);
  }
  return connection as Connection;
}

/** Sends the request to the last proxy of the chain. `toSteps` can replace the steps of the request. */
export async function requestLast(
  connection: Connection,
  hops: readonly Hop[],
  attempt: Attempt,
  toSteps: (hop: Hop) => Steps<Bound> = request,
): Promise<Opened> {
  const hop = lastOf(hops);
  attempt.progress.enter('request', hop);
  return { connection, bound: await perform(toSteps(hop), connection, attempt) };
}

/** @throws SocksError `ERR_SOCKS_PROXY_CLOSED` when the connection ends before the steps are done; what they throw */
export async function perform<T>(steps: Steps<T>, connection: Connection, attempt: Attempt): Promise<T> {
  const { progress } = attempt;
  try {
    return await drive(steps, connection, progress);
  } catch (error) {
    const { ended, received } = connection;
    if (error !== ended?.reason) throw error;
    // The attempt may have stopped after the connection failed, and before this catch.
    attempt.throwIfStopped();
    throw progress.error('ERR_SOCKS_PROXY_CLOSED', {
      ...(!(error instanceof StreamClosed) && { cause: error }),
      ...(received > 0
        ? { detail: `${received} bytes into an answer` }
        : { hint: CLOSED_HINTS[progress.phase] }),
    });
  }
}

const CLOSED_HINTS: Readonly<Partial<Record<SocksPhase, string>>> = {
  greeting: 'OpenSSH closes when it accepts none of the offered methods; a shadowsocks server closes too',
  request: 'OpenSSH closes without a reply when the destination refuses or its name is unknown',
};
