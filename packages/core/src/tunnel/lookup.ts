// Names that this side resolves because a proxy is asked for addresses only (dns: 'local').

import { lookup as systemLookup } from 'node:dns';
import type { LookupFunction } from 'node:net';
import { isName } from '../destination.ts';
import type { Exchange } from '../protocol/step.ts';
import type { Deadline } from './deadline.ts';

/**
 * The targets of the hops become addresses where they have to. A refused address needs a connection of its own, so
 * this gives the whole way once for each combination of addresses, in the order of the look-ups.
 */
export async function resolveTargets(
  hops: readonly Exchange[],
  lookup: LookupFunction | undefined,
  deadline: Deadline,
): Promise<readonly (readonly Exchange[])[]> {
  let ways: readonly (readonly Exchange[])[] = [[]];
  for (const hop of hops) {
    const { proxy, target } = hop;
    const resolved = proxy.dns === 'local' && isName(target.host);
    const hosts = resolved ? await resolveTarget(hop, lookup ?? systemLookup, deadline) : [target.host];
    ways = ways.flatMap((way) =>
      hosts.map((host) => way.concat({ proxy, target: { host, port: target.port } })),
    );
  }
  return ways;
}

async function resolveTarget(hop: Exchange, lookup: LookupFunction, deadline: Deadline): Promise<string[]> {
  deadline.progress.enter('lookup', hop);
  const onlyIPv4 = hop.proxy.version === 4;
  const failed = (details: { cause?: unknown; detail?: string }) =>
    deadline.progress.failure('ERR_SOCKS_LOOKUP', details);

  const addresses = await deadline.step<string[]>((resolve, reject) => {
    const answer: Parameters<LookupFunction>[2] = (error, found, family) => {
      if (error)
        return reject(failed({ cause: error, ...(onlyIPv4 && { detail: 'SOCKS4 needs an A record' }) }));
      // A look-up function may answer with one address even when it is asked for all.
      const all = Array.isArray(found) ? found : [{ address: found, family }];
      resolve(all.map(({ address }) => address).filter((address) => !onlyIPv4 || !address.includes(':')));
    };
    try {
      lookup(hop.target.host, { all: true, family: onlyIPv4 ? 4 : 0 }, answer);
    } catch (error) {
      reject(failed({ cause: error }));
    }
    return () => {};
  });
  if (addresses.length > 0) return addresses;
  throw failed({ detail: onlyIPv4 ? 'no A record, and SOCKS4 carries IPv4 only' : 'no address' });
}
