// The probe that opens a tunnel to the destination of the caller.

import { isIPv4, isIPv6 } from 'node:net';
import { handshake, SocksError } from '@socksify/core';
import type { Destination } from '@socksify/core';
import { codeOf } from '../unknown.ts';
import { as4, withHint } from './context.ts';
import type { Context } from './context.ts';
import type { ProbeConnection } from './probe-connection.ts';
import { steps5 } from './requests.ts';

/** Opens a tunnel to the destination as the URL says, and begins TLS in it, which a server of any protocol answers. */
export async function tunnel(context: Context): Promise<void> {
  const { proxy, habits, report, destination } = context;
  if (!destination) return;
  const connection = await context.open();
  const start = performance.now();
  const steps =
    proxy.version === 4
      ? handshake({ ...as4(context), dns: proxy.dns }, destination)
      : steps5(context, destination);
  try {
    const bound = await connection.perform(steps);
    habits.destination = { bound, ms: performance.now() - start };
  } catch (error) {
    if (error instanceof SocksError) habits.destination = { error, ms: performance.now() - start };
    report.target = false;
    throw withHint(error, DESTINATION_HINTS[codeOf(error) ?? ''] ?? '');
  }
  if (connection.times.request) report.phases.request = connection.times.request;
  connection.enter('destination-tls');
  const secured = await secure(connection, destination);
  report.target = secured !== undefined || connection.received > 0;
  if (secured !== undefined) report.phases['destination-tls'] = secured;
  if (report.target) return;
  throw connection.error(connection.timedOut ? 'ERR_SOCKS_TIMEOUT' : 'ERR_SOCKS_PROXY_CLOSED', {
    hint: !connection.timedOut
      ? 'the proxy reported success, and closed: it connects later, and could not, or the destination closed at once'
      : 'the proxy reported success, and nothing came: it connects later, or the destination waits for its own protocol',
  });
}

const DESTINATION_HINTS: Readonly<Record<string, string>> = {
  ERR_SOCKS_NOT_ALLOWED: 'the rules of the proxy forbid this destination',
  ERR_SOCKS_CONNECTION_REFUSED: 'the proxy works; nothing listens on this port of the destination',
  ERR_SOCKS_HOST_UNREACHABLE: 'the proxy works; the destination does not exist or is down',
  ERR_SOCKS_NETWORK_UNREACHABLE: 'the proxy has no route to the destination: try its other address family',
};

/** The time of the TLS handshake, or undefined when there was none. The certificate does not matter. */
async function secure(
  connection: ProbeConnection,
  { host }: Destination,
): Promise<{ ms: number; roundTrips: number } | undefined> {
  const { connect } = process.getBuiltinModule('node:tls');
  const start = performance.now();
  const name = isIPv4(host) || isIPv6(host) ? {} : { servername: host.replace(/\.$/, '') };
  const socket = connect({ socket: connection.stream(), rejectUnauthorized: false, ...name });
  try {
    return await new Promise((resolve) => {
      socket.on('error', () => resolve(undefined)).once('close', () => resolve(undefined));
      socket.once('secureConnect', () => {
        resolve({ ms: performance.now() - start, roundTrips: socket.getProtocol() === 'TLSv1.3' ? 1 : 2 });
      });
    });
  } finally {
    socket.destroy();
  }
}
