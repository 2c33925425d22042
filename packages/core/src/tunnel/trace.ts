// Reports tunnels to diagnostics channels and NODE_DEBUG=socksify, without credentials.

import { channel } from 'node:diagnostics_channel';
import type { DebugLogger } from 'node:util';
import { printAddress } from '../destination.ts';
import type { SocksPhase } from '../errors.ts';
import type { Destination } from '../destination.ts';
import type { Bound } from '../protocol/step.ts';
import { printProxy } from '../proxy.ts';
import type { Chain } from '../route.ts';
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
  };
  channels[event].publish(message);
  if (!debug.enabled) return;
  const { inspect } = process.getBuiltinModule('node:util');
  const hops = [...message.proxies, message.destination].join(' > ');
  const failed = result.error ? [inspect(result.error)] : [];
  debug('%s %s %s %j', event, hops, message.phase, message.durations, ...failed);
}
