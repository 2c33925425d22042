// Performs the handshakes with the proxies of a chain, first hop first: it negotiates with every proxy, and then sends
// the request for the next hop. Only the last request depends on the destination.

import type { Destination } from '../destination.ts';
import { request } from '../protocol/handshake.ts';
import { negotiate5 } from '../protocol/socks5.ts';
import type { Bound, Hop } from '../protocol/step.ts';
import type { SocksProxy } from '../proxy.ts';
import type { Attempt } from './attempt.ts';
import type { Connection } from './connection.ts';
import { connectToProxy } from './dial.ts';
import { drive } from './drive.ts';
import { EncapsulatedSocket } from './encapsulated.ts';

/** A connection whose last request was granted. */
export interface Opened {
  readonly connection: Connection;
  readonly bound: Bound;
}

/** Pairs each proxy with what is requested of it: the next proxy; for the last proxy, the destination. */
export function toHops(chain: readonly SocksProxy[], destination: Destination): readonly Hop[] {
  const hops: Hop[] = [];
  for (const proxy of chain) hops.push({ proxy, destination: chain[hops.length + 1] ?? destination });
  return hops;
}

interface NegotiateOptions {
  /** Default true. */
  readonly negotiateLast?: boolean;
  /** Called when the first proxy has been connected to. */
  readonly onDialled?: (() => void) | undefined;
  /** The credentials are sent only after this promise has resolved. */
  readonly before?: Promise<unknown> | undefined;
}

/** Connects to the last proxy of the chain, with negotiation done at every hop, or at every hop but the last. */
export async function negotiateHops(
  hops: readonly Hop[],
  attempt: Attempt,
  { negotiateLast = true, onDialled, before }: NegotiateOptions = {},
): Promise<Connection> {
  let connection = attempt.existing;
  for (const hop of hops) {
    const isLast = hop === hops.at(-1);
    attempt.progress.enter('dial', hop);
    connection = await connectToProxy(connection, hop.proxy, attempt);
    if (hop === hops[0]) onDialled?.();
    if (isLast && !negotiateLast) break;
    if (hop.proxy.version === 5) {
      const encapsulation = await drive(
        negotiate5(hop, attempt.options.auth ?? 'auto', before),
        connection,
        attempt,
      );
      if (encapsulation) connection.wrap(new EncapsulatedSocket(connection.stream, encapsulation));
    }
    if (!isLast) await drive(request(hop), connection, attempt);
  }
  return connection as Connection;
}
