// Counts the clients that are connected, in all and for each address. Its caller closes those beyond the limits.

import type { Socket } from 'node:net';
import { canonical } from './address.ts';

export interface LimitOptions {
  /** Clients at once; more are closed as they come. No limit by default. */
  readonly maxConnections?: number;
  /** Clients of one address at once. Clients of a Unix socket have none. No limit by default. */
  readonly maxConnectionsPerHost?: number;
}

/** Counts a client in until its socket closes. Returns why it may not come in, and then does not count it. */
export type Admission = (client: Socket) => string | undefined;

export function createAdmission(options: LimitOptions): Admission {
  const { maxConnections = Infinity, maxConnectionsPerHost = Infinity } = options;
  const perHost = new Map<string, number>();
  let total = 0;
  return (client) => {
    const host = client.remoteAddress === undefined ? undefined : canonical(client.remoteAddress);
    const ofHost = host === undefined ? 0 : (perHost.get(host) ?? 0);
    if (total >= maxConnections) return 'too many connections';
    if (ofHost >= maxConnectionsPerHost) return `too many connections of ${host}`;
    total++;
    if (host !== undefined) perHost.set(host, ofHost + 1);
    client.once('close', () => {
      total--;
      if (host === undefined) return;
      const left = (perHost.get(host) ?? 1) - 1;
      if (left > 0) perHost.set(host, left);
      else perHost.delete(host);
    });
    return undefined;
  };
}
