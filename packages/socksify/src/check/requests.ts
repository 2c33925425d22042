// Probes that send a request over SOCKS5, for a name or an address that does not exist, and read how it is refused.

import { handshake, SocksError } from '@socksify/core';
import type { Bound, Destination, Steps } from '@socksify/core';
import { as5, authOf, IPV4, IPV6, isPlainClose, NAME, withHint } from './context.ts';
import type { Context, Outcome } from './context.ts';
import { negotiation, withCredentials } from './handshake-steps.ts';

/** Performs a handshake, and notes how it ended. */
export async function request(
  context: Context,
  steps: Steps<Bound>,
  options?: { tail: boolean },
): Promise<Outcome> {
  const connection = await context.open();
  const start = performance.now();
  try {
    const bound = await connection.perform(steps);
    if (connection.times.request) context.report.phases.request ??= connection.times.request;
    return { bound, ms: performance.now() - start };
  } catch (error) {
    if (!(error instanceof SocksError)) throw error;
    const ms = performance.now() - start;
    if (error.reply === undefined || !options?.tail) return { error, ms };
    if (connection.times.request) context.report.phases.request ??= connection.times.request;
    return { error, ms, tail: await connection.rest(300, TAIL) };
  } finally {
    connection.close();
  }
}

/** Milliseconds to wait for the rest of a refusal. Most servers close behind it. */
const TAIL = 200;

/** The handshake of SOCKS5, as the URL and the methods of the proxy allow it. */
export function steps5(context: Context, destination: Destination): Steps<Bound> {
  return handshake(as5(context), destination, { auth: authOf(context) ?? 'auto' });
}

/** Requests a name that does not exist. */
export async function names(context: Context): Promise<void> {
  const { habits, report } = context;
  const outcome = await request(context, steps5(context, NAME), { tail: true });
  habits.name = outcome;
  if (outcome.bound) report.early = true;
  else if (outcome.error?.reply !== undefined || isPlainClose(outcome.error)) report.early = false;
  const { error } = outcome;
  if (error && error.reply === undefined && !isPlainClose(error)) throw error;
}

export async function ipv4(context: Context): Promise<void> {
  context.habits.ipv4 = await request(context, steps5(context, IPV4));
}

export async function ipv6(context: Context): Promise<void> {
  const { error } = await request(context, steps5(context, IPV6));
  if (error?.code === 'ERR_SOCKS_ADDRESS_TYPE_NOT_SUPPORTED') context.report.ipv6 = false;
}

/** How long the proxy keeps a connection on which only the request is missing. */
export async function idle(context: Context): Promise<void> {
  const wait = (context.idle ?? 0) * 1000;
  const connection = await context.open({ timeout: wait + context.timeout });
  await connection.perform(negotiation(steps5(context, NAME), authOf(context) === 'required' ? 2 : 1));
  const start = performance.now();
  const closed = await connection.react(wait);
  context.report.idle = { ms: Math.round(performance.now() - start), closed };
}

/** Sends the request in one segment with the message before it. The result has to be the same as message by message. */
export async function pipelining(context: Context): Promise<void> {
  const { report, habits, timeout } = context;
  if (!habits.name) return;
  const { ms, error: expected } = habits.name;
  const { credentials: _, ...anonymous } = as5(context);
  const steps =
    authOf(context) === 'required'
      ? withCredentials(steps5(context, NAME))
      : handshake(anonymous, NAME, { pipeline: true });
  const limit = Math.min(timeout, Math.max(1000, 4 * ms));
  const connection = await context.open({ timeout: limit });
  try {
    await connection.perform(steps);
    report.pipelining = true;
  } catch (error) {
    if (!(error instanceof SocksError)) throw error;
    const same = error.phase === 'request' && (error.reply !== undefined || error.code === expected?.code);
    report.pipelining = same;
    if (!same)
      throw withHint(
        error,
        'this proxy loses a message that comes in one segment with another: leave pipeline off',
        true,
      );
  }
}
