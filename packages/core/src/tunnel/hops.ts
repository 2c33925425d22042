// The handshakes with the proxies of a chain, one after the other: negotiation at every hop, the request to every hop
// but the last, and the last request, which alone depends on the destination.

import type { Destination } from '../destination.ts';
import type { SocksErrorDetails, SocksPhase } from '../errors.ts';
import { negotiate, request } from '../protocol/handshake.ts';
import type { Bound, Hop, Steps } from '../protocol/step.ts';
import type { SocksProxy } from '../proxy.ts';
import type { Attempt } from './attempt.ts';
import { StreamClosed } from './connection.ts';
import type { Connection } from './connection.ts';
import { dialProxy, secureProxy } from './dial.ts';
import { drive } from './drive.ts';
import { EncapsulatedSocket } from './encapsulated.ts';

/** A connection whose last request was granted. */
export interface Opened {
  readonly connection: Connection;
  readonly bound: Bound;
}

/** Each proxy with what it is asked for: the next proxy, the last one the destination. */
export function toHops(chain: readonly SocksProxy[], destination: Destination): readonly Hop[] {
  return chain.map((proxy, i) => ({ proxy, destination: chain[i + 1] ?? destination }));
}

export function lastOf(hops: readonly Hop[]): Hop {
  return hops.at(-1) as Hop;
}

/** Connects to the last proxy of the chain, with negotiation done at every hop, or at every hop but the last. */
export async function negotiateHops(
  hops: readonly Hop[],
  attempt: Attempt,
  { existing, negotiateLast = true }: { existing?: Connection | undefined; negotiateLast?: boolean } = {},
): Promise<Connection> {
  let connection = existing;
  for (const [i, hop] of hops.entries()) {
    const isLast = i === hops.length - 1;
    attempt.progress.enter('dial', hop);
    connection ??= await dialProxy(hop.proxy, attempt);
    if (hop.proxy.tls) await secureProxy(connection, hop.proxy, attempt);
    if (isLast && !negotiateLast) break;
    const encapsulation = await perform(negotiate(hop, attempt.options.auth ?? 'auto'), connection, attempt);
    if (encapsulation) connection.wrap(new EncapsulatedSocket(connection.stream, encapsulation));
    if (!isLast) await perform(request(hop), connection, attempt);
  }
  return connection as Connection;
}

/** The last request on a connection that has been negotiated, or these steps in its place. */
export async function requestTunnel(
  connection: Connection,
  hop: Hop,
  attempt: Attempt,
  steps: Steps<Bound> = request(hop),
): Promise<Opened> {
  attempt.progress.enter('request', hop);
  return { connection, bound: await perform(steps, connection, attempt) };
}

/** The whole handshake, message by message, which every server understands. */
export async function openHops(
  hops: readonly Hop[],
  attempt: Attempt,
  existing?: Connection,
): Promise<Opened> {
  const connection = await negotiateHops(hops, attempt, { existing });
  return requestTunnel(connection, lastOf(hops), attempt);
}

/** @throws SocksError `ERR_SOCKS_PROXY_CLOSED` when the connection ends before the steps are done; what they throw */
export async function perform<T>(steps: Steps<T>, connection: Connection, attempt: Attempt): Promise<T> {
  try {
    return await drive(steps, connection, attempt.progress);
  } catch (error) {
    throw error === connection.ended?.reason && !attempt.stopped
      ? proxyClosed(error, connection, attempt)
      : error;
  }
}

export function proxyClosed(cause: unknown, { received }: Connection, { progress }: Attempt): unknown {
  return progress.failure('ERR_SOCKS_PROXY_CLOSED', {
    ...(!(cause instanceof StreamClosed) && { cause }),
    ...closedDetails(progress.phase, received),
  });
}

function closedDetails(phase: SocksPhase, received: number): Pick<SocksErrorDetails, 'detail' | 'hint'> {
  if (received > 0) return { detail: `${received} bytes into an answer` };
  if (phase === 'greeting') {
    return {
      hint: 'OpenSSH closes when it accepts none of the offered methods; a shadowsocks server closes too',
    };
  }
  if (phase !== 'request') return {};
  return { hint: 'OpenSSH closes without a reply when the destination refuses or its name is unknown' };
}
