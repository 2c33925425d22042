// Probes that send a request over SOCKS4 and SOCKS4A.

import { isIPv4, isIPv6 } from 'node:net';
import { handshake } from '@socksify/core';
import type { Bound, Destination, SocksError, Steps } from '@socksify/core';
import { as4, IPV4, isPlainClose, NAME } from './context.ts';
import type { Context, Outcome } from './context.ts';
import { NOTHING, resumed } from './handshake-steps.ts';
import { request } from './requests.ts';

/** SOCKS4 carries addresses: the destination if it is one, else an address that no host has. */
export async function socks4(context: Context): Promise<void> {
  const { habits, destination: given } = context;
  const destination = given && isIPv4(given.host) ? given : IPV4;
  const outcome = await request(context, handshake(as4(context), destination));
  habits.socks4 = outcome;
  if (isRefused4(outcome.error)) habits.readsSocks4 = await waitsForEnd(context, IPV4, outcome.ms);
  if (context.proxy.version === 4 && context.proxy.dns === 'local') throwUnlessRefused(outcome);
}

export async function socks4a(context: Context): Promise<void> {
  const { habits, destination: given } = context;
  const destination = !given || isIPv4(given.host) || isIPv6(given.host) ? NAME : given;
  const steps = handshake(as4(context), destination);
  const outcome = await request(context, given && isIPv4(given.host) ? asName(steps, given, context) : steps);
  habits.socks4a = outcome;
  if (isRefused4(outcome.error)) habits.readsSocks4a = await waitsForEnd(context, NAME, outcome.ms);
  if (context.proxy.version === 4 && context.proxy.dns === 'remote') throwUnlessRefused(outcome);
}

/** The conclusions say what a refusal means: most destinations of a check do not exist. */
function throwUnlessRefused({ error }: Outcome): void {
  if (error && !isRefused4(error)) throw error;
}

/*
 *     +----+----+---------+-------+--------+----+------+----+     SOCKS4A memo. Core sends an address as
 *     | 04 | 01 | DSTPORT | 0.0.0.1 | USERID | 00 | NAME | 00 |     DSTIP. Here its text is sent in place of
 *     +----+----+---------+-------+--------+----+------+----+     the name.
 */
function* asName(steps: Steps<Bound>, { host, port }: Destination, context: Context): Steps<Bound> {
  steps.next(NOTHING);
  const user = Buffer.from(as4(context).credentials?.username ?? '');
  const name = Buffer.from(host, 'latin1');
  yield { write: Uint8Array.of(0x04, 0x01, port >> 8, port & 0xff, 0, 0, 0, 1, ...user, 0, ...name, 0) };
  return yield* resumed(steps);
}

function isRefused4(error: SocksError | undefined): boolean {
  return isPlainClose(error) || error?.code === 'ERR_SOCKS_REJECTED';
}

/** True if the server answers or closes only at the end of a SOCKS4 request, which shows that it reads the request. */
async function waitsForEnd(
  context: Context,
  destination: Destination,
  refusedAfter: number,
): Promise<boolean | undefined> {
  const { timeout } = context;
  const step = handshake(as4(context), destination).next();
  if (step.done || !('write' in step.value)) return undefined;
  const connection = await context.open();
  connection.enter('request');
  connection.write(step.value.write.subarray(0, -1));
  // Long enough for a slow server, and shorter than any server waits for the rest of a request.
  const early = await connection.react(Math.min(timeout / 4, 600, Math.max(250, 4 * refusedAfter)));
  if (early) return connection.timedOut ? undefined : false;
  connection.write(step.value.write.subarray(-1));
  await connection.react(timeout);
  return connection.timedOut ? undefined : true;
}
