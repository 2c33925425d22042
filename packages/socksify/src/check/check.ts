// Runs the probes against one proxy, stage by stage, and makes the report of what they found out.

import { handshake, SocksClient, SocksError } from '@socksify/core';
import type { Destination, ProxyLike, SocksProxy } from '@socksify/core';
import { conclude } from './conclusions.ts';
import { createCensor, printProxy } from './printed.ts';
import { NAME } from './context.ts';
import type { Context } from './context.ts';
import { PROBES } from './probes.ts';
import type { Probe } from './probes.ts';
import { draft } from './report.ts';
import type { CheckReport, PhaseTime } from './report.ts';
import { ProbeConnection } from './probe-connection.ts';

/** The options of {@link checkProxy}. */
export interface CheckOptions {
  /** The destination to connect to through the proxy. Without it, nothing beyond the proxy is contacted. */
  readonly target?: Destination | undefined;
  /** Milliseconds for each probe. Default 5000. All of them together take at most ten times that. */
  readonly timeout?: number | undefined;
  /** Seconds for which to watch an idle, authenticated connection. Default: not at all. */
  readonly idle?: number | undefined;
  /** Ends the check: the promise rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
}

export async function check(given: ProxyLike, options: CheckOptions = {}): Promise<CheckReport> {
  const { target: destination, timeout = 5000, idle, signal: outer } = options;
  const proxy = toProxy(given);
  checkNumber('timeout', timeout, 3_600_000);
  if (idle !== undefined) checkNumber('idle', idle, 86_400);
  // Throws for a destination that this version of SOCKS cannot carry.
  if (destination) handshake(proxy, destination);
  outer?.throwIfAborted();
  const ended = new AbortController();
  const signal = outer ? AbortSignal.any([outer, ended.signal]) : ended.signal;
  const report = draft(printProxy(proxy));
  if (idle !== undefined) report.idle = null;
  const censor = createCensor(proxy.credentials);
  const connections: ProbeConnection[] = [];
  const context: Context = {
    proxy,
    destination,
    timeout,
    idle,
    report,
    habits: { greetings: [], silent: new Set() },
    open: async (others) => {
      const connection = await ProbeConnection.open(proxy, { timeout, ...others, signal, censor });
      connections.push(connection);
      return connection;
    },
  };
  try {
    for (const stage of new Set(PROBES.map((probe) => probe.stage))) {
      const probes = PROBES.filter((probe) => probe.stage === stage && (probe.when?.(context) ?? true));
      await Promise.all(probes.map((probe) => run(probe, context)));
      for (const connection of connections.splice(0)) connection.close();
      outer?.throwIfAborted();
    }
  } finally {
    ended.abort();
    for (const connection of connections) connection.close();
  }
  conclude(context);
  if (report.rtt !== null) report.rtt = round(report.rtt);
  const phases = Object.entries(report.phases).map(([phase, { ms, roundTrips }]): [string, PhaseTime] => [
    phase,
    { ms: round(ms), roundTrips },
  ]);
  report.phases = Object.fromEntries(phases);
  return report;
}

function round(ms: number): number {
  return Math.round(ms * 100) / 100;
}

async function run({ name, run: probe }: Probe, context: Context): Promise<void> {
  try {
    await probe(context);
  } catch (error) {
    if (!(error instanceof SocksError)) throw error;
    const { code, phase } = error;
    const hint = error.hint ?? (code === 'ERR_SOCKS_PROTOCOL' ? DEFECT : 'see the log of the proxy');
    context.report.errors.push({ probe: name, code, phase, hint });
  }
}

const DEFECT = 'the port is not that of a SOCKS proxy, or the proxy has a defect';

function toProxy(value: ProxyLike): SocksProxy {
  const chain =
    typeof value === 'function' || Array.isArray(value) ? [] : new SocksClient(value).select(NAME);
  const [proxy]: readonly SocksProxy[] = Array.isArray(chain) ? chain : [];
  if (proxy) return proxy;
  const detail = 'a check is about one proxy: check each proxy of a chain by itself';
  throw new SocksError('ERR_SOCKS_INVALID_PROXY', { phase: 'input', detail });
}

function checkNumber(name: string, value: number, most: number): void {
  if (Number.isFinite(value) && value > 0 && value <= most) return;
  const message = `${name} is a number above 0, and at most ${most}`;
  throw Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' });
}
