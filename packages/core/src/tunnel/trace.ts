// Reports tunnels to diagnostics channels and NODE_DEBUG=socksify, without credentials.

import { channel } from 'node:diagnostics_channel';
import type { DebugLogger } from 'node:util';
import { printAddress } from '../destination.ts';
import type { SocksPhase } from '../errors.ts';
import type { Destination } from '../destination.ts';
import type { Bound } from '../protocol/step.ts';
import { printProxy } from '../proxy.ts';
import type { Chain } from '../chain.ts';
import type { Trial } from './alternatives.ts';
import type { Progress } from './progress.ts';

/** A message of the channels `socksify:tunnel:start`, `socksify:tunnel:end` and `socksify:tunnel:error`. */
export interface TunnelMessage {
  /** The hops without credentials, first hop first; empty for a direct connection. */
  readonly proxies: readonly string[];
  /** `host:port` */
  readonly destination: string;
  /** What was being done when the message was sent. */
  readonly phase: SocksPhase;
  /** Milliseconds that each phase took so far. */
  readonly durations: Readonly<Partial<Record<SocksPhase, number>>>;
  /** On `end`. */
  readonly bound?: Bound;
  /** On `error`. */
  readonly error?: unknown;
  /** On `end` and `error`, if the route was a group: the members that were tried, in this order. */
  readonly attempts?: readonly AttemptMessage[];
}

/** One attempt through a member of a group. */
export interface AttemptMessage {
  /** The hops without credentials, first hop first. */
  readonly proxies: readonly string[];
  /** `unused`: another member gave the tunnel first, or the time was over. */
  readonly outcome: 'tunnel' | 'error' | 'unused';
  /** Milliseconds that each phase took. */
  readonly durations: Readonly<Partial<Record<SocksPhase, number>>>;
  readonly error?: unknown;
}

const channels = {
  start: channel('socksify:tunnel:start'),
  end: channel('socksify:tunnel:end'),
  error: channel('socksify:tunnel:error'),
};
let debug: DebugLogger | undefined;

export function trace(
  event: 'start' | 'end' | 'error',
  chain: Chain,
  destination: Destination,
  progress: Progress,
  result: Pick<TunnelMessage, 'bound' | 'error'> = {},
  trials: readonly Trial[] = [],
): void {
  // Loaded here, because node:util is slow to load.
  debug ??= process.getBuiltinModule('node:util').debuglog('socksify');
  if (!channels[event].hasSubscribers && !debug.enabled) return;
  progress.lap();
  const message: TunnelMessage = {
    proxies: chain === 'direct' ? [] : chain.map(printProxy),
    destination: printAddress(destination),
    phase: progress.phase,
    durations: { ...progress.durations },
    ...result,
    ...(trials.length > 0 && { attempts: trials.map(toMessage) }),
  };
  channels[event].publish(message);
  if (!debug.enabled) return;
  const { inspect } = process.getBuiltinModule('node:util');
  const hops = [...message.proxies, message.destination].join(' > ');
  const failed = result.error ? [inspect(result.error)] : [];
  debug('%s %s %s %j', event, hops, message.phase, message.durations, ...failed);
  for (const { proxies, outcome, durations, error } of message.attempts ?? []) {
    const reason = error instanceof Error ? [error.message] : [];
    debug('  tried %s: %s %j', proxies.join(' > '), outcome, durations, ...reason);
  }
}

function toMessage({ member, attempt, outcome, error, ...trial }: Trial): AttemptMessage {
  const durations = trial.durations ?? { ...attempt.progress.durations };
  const proxies = member.chain.map(printProxy);
  return { proxies, outcome, durations, ...(error !== undefined && { error }) };
}
