// What others may watch: diagnostics channels and NODE_DEBUG=socksify. No credential gets here.

import { channel } from 'node:diagnostics_channel';
import { debuglog, inspect } from 'node:util';
import { printAddress } from '../destination.ts';
import type { SocksPhase } from '../errors.ts';
import type { Bound, Target } from '../protocol/step.ts';
import { printProxy } from '../proxy.ts';
import type { Chain } from '../route.ts';
import type { Progress } from './deadline.ts';

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
const debug = debuglog('socksify');

export function trace(
  event: 'start' | 'end' | 'error',
  chain: Chain,
  destination: Target,
  progress: Progress,
  result: Pick<TunnelMessage, 'bound' | 'error'> = {},
): void {
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
  if (debug.enabled) {
    const way = [...message.proxies, message.destination].join(' > ');
    debug(
      '%s %s %s %j',
      event,
      way,
      message.phase,
      message.durations,
      ...(result.error ? [inspect(result.error)] : []),
    );
  }
}
