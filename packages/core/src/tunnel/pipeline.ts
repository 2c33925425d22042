// The last handshake in one segment, and message by message beside it when that does not work: some servers drop what
// comes with the greeting, which from here looks like a destination that takes its time.

import type { Duplex } from 'node:stream';
import { setTimeout as startTimer } from 'node:timers';
import { SocksError } from '../errors.ts';
import { pipelined5 } from '../protocol/socks5.ts';
import type { Exchange } from '../protocol/step.ts';
import { printProxy } from '../proxy.ts';
import type { Deadline } from './deadline.ts';
import { ask, lastOf, reach, walk } from './reach.ts';
import type { ReachOptions, Tunnel } from './reach.ts';
import { abandon } from './secure.ts';

/** Milliseconds, at the least, and in times of what the way to the proxy took, until the second attempt begins. */
const PATIENCE = { least: 1000, dials: 4 };

/** Proxies seen to need lock-step, in their printed form, the oldest first. */
const lockStepOnly = new Set<string>();
const REMEMBERED = 1000;

/** A proxy that did not answer is no answer; anything that it said is. */
const NO_ANSWER: ReadonlySet<string> = new Set([
  'ERR_SOCKS_PROXY_CLOSED',
  'ERR_SOCKS_PROXY_UNREACHABLE',
  'ERR_SOCKS_PROXY_TLS',
]);

export async function pipelined(
  hops: readonly Exchange[],
  options: ReachOptions,
  deadline: Deadline,
): Promise<Tunnel> {
  const hop = lastOf(hops);
  const name = printProxy(hop.proxy);
  if (lockStepOnly.has(name)) return walk(hops, options, deadline);
  const started = performance.now();
  const stream = await reach(hops, options, deadline, { negotiateLast: false });
  const patience = Math.max(PATIENCE.least, PATIENCE.dials * (performance.now() - started));
  if (options.socket) return ask(stream, hop, pipelined5(hop), deadline); // there is no second connection to be had
  return race(stream, hops, options, deadline, { patience, remember: () => remember(name) });
}

/** Two attempts at the most; the first whole reply wins, be it a tunnel or a refusal, and ends the other. */
function race(
  stream: Duplex,
  hops: readonly Exchange[],
  options: ReachOptions,
  deadline: Deadline,
  { patience, remember: lockStepWon }: { patience: number; remember: () => void },
): Promise<Tunnel> {
  const hop = lastOf(hops);
  const [first, second] = [deadline.attempt(), deadline.attempt()];
  return new Promise((resolve, reject) => {
    let begun = false;
    let running = 1;
    let over = false;
    const settle = (finish: () => void): void => {
      over = true;
      clearTimeout(timer);
      finish();
      for (const attempt of [first, second]) attempt.stop(new Error('another attempt was faster'));
    };
    const enter = (attempt: Promise<Tunnel>, onAnswer: () => void, onSilence: () => void): void => {
      const answered = (finish: () => void): void => {
        onAnswer();
        settle(finish);
      };
      const succeed = (tunnel: Tunnel): void => {
        if (over) abandon(tunnel.socket);
        else answered(() => resolve(tunnel));
      };
      const fail = (error: unknown): void => {
        running -= 1;
        if (over) return;
        if (deadline.stopped || !isSilence(error)) answered(() => reject(error));
        else {
          onSilence();
          if (running === 0) settle(() => reject(error));
        }
      };
      attempt.then(succeed, fail);
    };
    const lockStep = (): void => {
      if (begun) return;
      begun = true;
      running += 1;
      enter(walk(hops, options, second), lockStepWon, () => {});
    };
    const timer = startTimer(lockStep, patience);
    if (deadline.background) timer.unref();
    enter(ask(stream, hop, pipelined5(hop), first), () => {}, lockStep);
  });
}

function isSilence(error: unknown): boolean {
  return error instanceof SocksError && NO_ANSWER.has(error.code);
}

function remember(name: string): void {
  lockStepOnly.add(name);
  const [oldest] = lockStepOnly;
  if (lockStepOnly.size > REMEMBERED && oldest !== undefined) lockStepOnly.delete(oldest);
}
