// Sends the handshake with the last proxy in one segment. Some servers drop what comes with the greeting, and the client
// cannot tell that from a slow destination. So a second attempt, message by message, begins beside the first when no
// answer comes.

import { clearTimeout, setTimeout } from 'node:timers';
import { SocksError } from '../errors.ts';
import { at } from '../given.ts';
import type { SocksOptions } from '../options.ts';
import { canPipeline, request } from '../protocol/handshake.ts';
import { offeredMethods } from '../protocol/method.ts';
import { pipelined5 } from '../protocol/socks5.ts';
import type { Bound, Hop, Steps } from '../protocol/step.ts';
import { printProxy } from '../proxy.ts';
import type { SocksProxy } from '../proxy.ts';
import type { Attempt } from './attempt.ts';
import type { Connection } from './connection.ts';
import { drive } from './drive.ts';
import { negotiateHops } from './hops.ts';
import type { Opened } from './hops.ts';

/**
 * How long the first attempt runs alone: at least `least` milliseconds, or `dials` times as long as connecting took.
 */
const ALONE = { least: 1000, dials: 4 };

/** Proxies that answered only message by message, in their printed form, the oldest first. */
const lockStepOnly = new Set<string>();
const REMEMBERED = 1000;

/** Errors that mean that the proxy never answered. Every other error is its answer. */
const UNANSWERED: ReadonlySet<string> = new Set([
  'ERR_SOCKS_PROXY_CLOSED',
  'ERR_SOCKS_PROXY_UNREACHABLE',
  'ERR_SOCKS_PROXY_TLS',
]);

interface Outcome {
  readonly kind: 'tunnel' | 'refused' | 'unanswered' | 'stopped';
  readonly by: Attempt;
  /** Settled. */
  readonly opening: Promise<Opened>;
}

/** True if the handshake with this proxy can be sent in one segment, as far as is known. */
export function isPipelined(proxy: SocksProxy | undefined, { auth = 'auto' }: SocksOptions): boolean {
  return !!proxy && canPipeline(proxy, auth) && !lockStepOnly.has(printProxy(proxy));
}

/** @param took how many milliseconds connecting took */
export async function requestPipelined(
  connection: Connection,
  hops: readonly Hop[],
  attempt: Attempt,
  took: number,
): Promise<Opened> {
  const [pipelined, lockStep] = [attempt.part(), attempt.part()];
  pipelined.own(connection);
  const hop = at(hops, -1);
  const opening = open(pipelined5(hop), connection, pipelined);
  // A socket that was handed in cannot be replaced by a second connection.
  if (attempt.existing) return opening;

  // In one segment, one method is offered. Message by message, `auto` may offer a second one.
  const otherMethods = offeredMethods(hop, attempt.options.auth ?? 'auto').length > 1;
  const first = outcomeOf(opening, pipelined, otherMethods);
  const early = await within(Math.max(ALONE.least, ALONE.dials * took), first);
  if (early && early.kind !== 'unanswered') return early.opening;

  const second = outcomeOf(openMessageByMessage(hops, lockStep), lockStep);
  let last = await (early ? second : Promise.race([first, second]));
  if (!early && last.kind === 'unanswered') last = await (last.by === pipelined ? second : first);
  if (last.by === lockStep && (last.kind === 'tunnel' || last.kind === 'refused'))
    remember(printProxy(hop.proxy));
  (last.by === lockStep ? pipelined : lockStep).stop(new Error('the other attempt was answered first'));
  return last.opening;
}

async function openMessageByMessage(hops: readonly Hop[], attempt: Attempt): Promise<Opened> {
  const connection = await negotiateHops(hops, attempt);
  const hop = at(hops, -1);
  attempt.progress.enter('request', hop);
  return open(request(hop), connection, attempt);
}

async function open(steps: Steps<Bound>, connection: Connection, attempt: Attempt): Promise<Opened> {
  return { connection, bound: await drive(steps, connection, attempt) };
}

async function outcomeOf(opening: Promise<Opened>, by: Attempt, otherMethods = false): Promise<Outcome> {
  try {
    await opening;
    return { kind: 'tunnel', by, opening };
  } catch (error) {
    if (by.stopped) return { kind: 'stopped', by, opening };
    by.stop(error);
    const code = error instanceof SocksError ? error.code : '';
    const unanswered = UNANSWERED.has(code) || (otherMethods && code === 'ERR_SOCKS_NO_ACCEPTABLE_METHOD');
    return { kind: unanswered ? 'unanswered' : 'refused', by, opening };
  }
}

/** The outcome, or undefined if it does not come within so many milliseconds. */
async function within(milliseconds: number, outcome: Promise<Outcome>): Promise<Outcome | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const later = new Promise<undefined>((resolve) => {
    timer = setTimeout(resolve, milliseconds, undefined);
  });
  try {
    return await Promise.race([outcome, later]);
  } finally {
    clearTimeout(timer);
  }
}

function remember(name: string): void {
  lockStepOnly.add(name);
  const [oldest] = lockStepOnly;
  if (lockStepOnly.size > REMEMBERED && oldest !== undefined) lockStepOnly.delete(oldest);
}
