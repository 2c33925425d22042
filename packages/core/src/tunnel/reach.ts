// The way through the proxies, in two parts: up to the last request, which does not depend on the destination and can
// be walked in advance, and that request.

import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { negotiate, request } from '../protocol/handshake.ts';
import type { AuthPolicy } from '../protocol/method.ts';
import type { Bound, Exchange, Steps } from '../protocol/step.ts';
import type { Deadline } from './deadline.ts';
import { dialProxy, secureProxy } from './dial.ts';
import type { DialOptions } from './dial.ts';
import { drive } from './drive.ts';
import { EncapsulatedSocket } from './encapsulated.ts';
import { abandon } from './secure.ts';

export interface ReachOptions extends DialOptions {
  readonly auth?: AuthPolicy;
  /** A connection to the first proxy that exists already. */
  readonly socket?: Duplex;
}

export interface Tunnel {
  /** Open, with no listener of ours; bytes that came behind the proxy's reply are still to be read. */
  readonly socket: Socket;
  /** What the proxy says it is connected from (BND.ADDR, BND.PORT). Information only; often zeros. */
  readonly bound: Bound;
}

/** Greeting and authentication done at every hop, or at every hop but the last. */
export async function reach(
  hops: readonly Exchange[],
  options: ReachOptions,
  deadline: Deadline,
  { negotiateLast = true }: { readonly negotiateLast?: boolean } = {},
): Promise<Duplex> {
  let stream: Duplex | undefined = options.socket;
  try {
    for (const [i, hop] of hops.entries()) {
      const last = i === hops.length - 1;
      deadline.progress.enter('dial', hop);
      stream ??= await dialProxy(hop.proxy, options, deadline);
      if (hop.proxy.tls) stream = await secureProxy(stream, hop.proxy, deadline);
      if (last && !negotiateLast) break;
      const encapsulation = await drive(stream, negotiate(hop, options.auth ?? 'auto'), deadline);
      if (encapsulation) stream = new EncapsulatedSocket(stream, encapsulation);
      if (!last) await drive(stream, request(hop), deadline);
    }
    return stream as Duplex;
  } catch (error) {
    if (stream) abandon(stream);
    throw error;
  }
}

/** The steps that are left, on a stream that has been reached. A failure destroys it. */
export async function ask(
  stream: Duplex,
  hop: Exchange,
  steps: Steps<Bound>,
  deadline: Deadline,
): Promise<Tunnel> {
  deadline.progress.enter('request', hop);
  try {
    const bound = await drive(stream, steps, deadline);
    return { socket: stream as Socket, bound };
  } catch (error) {
    abandon(stream);
    throw error;
  }
}

/** All of it, message by message: what every server understands. */
export async function walk(
  hops: readonly Exchange[],
  options: ReachOptions,
  deadline: Deadline,
): Promise<Tunnel> {
  const stream = await reach(hops, options, deadline);
  const hop = lastOf(hops);
  return ask(stream, hop, request(hop), deadline);
}

export function lastOf(hops: readonly Exchange[]): Exchange {
  const hop = hops.at(-1);
  if (!hop) throw new TypeError('a way has at least one hop');
  return hop;
}
