// Opens a tunnel through one chain, in two halves. negotiateChain() is all that does not touch the destination: local
// look-ups, dialling, TLS to proxies, greeting and authentication. requestTunnel() is the request to the last proxy.

import type { Destination } from '../destination.ts';
import { SocksError } from '../errors.ts';
import { codeOf } from '../given.ts';
import { request } from '../protocol/handshake.ts';
import type { Hop } from '../protocol/step.ts';
import type { SocksProxy } from '../proxy.ts';
import type { Attempt } from './attempt.ts';
import type { Connection } from './connection.ts';
import { drive } from './drive.ts';
import { negotiateHops, toCandidates } from './hops.ts';
import type { Candidates, Opened } from './hops.ts';
import { isPipelined, requestPipelined } from './pipeline.ts';
import type { Standby } from './standby.ts';

/** A connection to the last proxy of a chain, on which the request is still to be sent. It belongs to the attempt. */
export interface Negotiated {
  readonly chain: readonly SocksProxy[];
  readonly destination: Destination;
  /** The connection is for the first of them. */
  readonly candidates: Candidates;
  readonly connection: Connection;
  readonly isStandby: boolean;
  /** How many milliseconds connecting took, if greeting and authentication are to be sent with the request. */
  readonly took: number | undefined;
}

/**
 * Connects to the last proxy of the chain, and negotiates with it. Nothing of this touches the destination, so that
 * several chains can be tried side by side, each with an attempt of its own.
 *
 * @param resolved the candidates that are left, if the names were looked up before
 */
export async function negotiateChain(
  chain: readonly SocksProxy[],
  destination: Destination,
  attempt: Attempt,
  standby?: Standby,
  resolved?: Candidates,
): Promise<Negotiated> {
  const planned = resolved ?? toCandidates(chain, destination, attempt);
  const candidates = planned instanceof Promise ? await planned : planned;
  const { 0: hops = [] } = candidates;
  const ready = standby && (await standby.take(chain, attempt));
  const pipelined = !ready && attempt.options.pipeline && isPipelined(chain.at(-1), attempt.options);
  const started = performance.now();
  let connection = ready;
  if (pipelined) connection = await negotiateHops(hops, attempt, { negotiateLast: false });
  else if (!connection) {
    // The next request may come soon, so its connection is opened as soon as the proxy is known to answer.
    const ahead = standby && { onDialled: () => standby.fill(chain, negotiation) };
    const negotiation: Promise<Connection> = negotiateHops(hops, attempt, ahead);
    connection = await negotiation;
  }
  const took = pipelined ? performance.now() - started : undefined;
  return { chain, destination, candidates, connection, isStandby: ready !== undefined, took };
}

/**
 * Sends the request. After a refusal that concerns the address alone, it tries the next address of the look-up on
 * another connection.
 */
export async function requestTunnel(
  { chain, destination, candidates, connection, isStandby, took }: Negotiated,
  attempt: Attempt,
  standby?: Standby,
): Promise<Opened> {
  const { 0: hops = [] } = candidates;
  const hop = hops.at(-1) as Hop;
  attempt.progress.hop = hop;
  try {
    const opened =
      took === undefined
        ? { connection, bound: await drive(request(hop), connection, attempt) }
        : await requestPipelined(connection, hops, attempt, took);
    standby?.fill(chain);
    return opened;
  } catch (error) {
    connection.destroy(error);
    if (attempt.stopped || !(error instanceof SocksError) || error.phase !== 'request') throw error;
    // A proxy that refused this destination is working, so standby connections to it are of use.
    standby?.fill(chain);
    const again = (left: Candidates, from?: Standby): Promise<Negotiated> =>
      negotiateChain(chain, destination, attempt, from, left);
    if (isStandby && wasNotReceived(error)) return requestTunnel(await again(candidates), attempt, standby);
    const others = candidates.slice(1);
    if (others.length === 0 || attempt.existing || NOT_THE_ADDRESS.test(error.code)) throw error;
    return requestTunnel(await again(others, standby), attempt, standby);
  }
}

/**
 * A reset means that the proxy had closed the connection before the request came. An orderly close, which has no cause, is
 * a refusal: OpenSSH refuses like that. Errors with a detail came after the proxy had begun to answer.
 */
function wasNotReceived({ cause, detail }: SocksError): boolean {
  return !detail && ['ECONNRESET', 'EPIPE'].includes(codeOf(cause) ?? '');
}

/** After these, another address cannot succeed: it was not this one that the proxy failed to connect to. */
const NOT_THE_ADDRESS = /_(?:PROTOCOL|COMMAND_NOT_SUPPORTED|IDENTD_UNREACHABLE|IDENTD_MISMATCH)/;
