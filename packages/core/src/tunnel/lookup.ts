// Resolves names on this side: destinations for proxies with dns: 'local', and names that are dialled.

import { isIP, isIPv4 } from 'node:net';
import type { LookupFunction } from 'node:net';
import { isName, isSocks4aMarker } from '../destination.ts';
import type { SocksError } from '../errors.ts';
import type { Hop } from '../protocol/step.ts';
import type { Attempt } from './attempt.ts';

/** True if a hop has a name that this side resolves. */
export function needsLookup(hops: readonly Hop[]): boolean {
  return hops.some(({ proxy, destination }) => proxy.dns === 'local' && isName(destination.host));
}

/**
 * Replaces names by addresses in the hops with dns: 'local'. Each address of a name has to be tried on a new
 * connection. So the result has the hops once for each combination of addresses, in the order of the look-ups.
 */
export async function resolveHops(
  hops: readonly Hop[],
  attempt: Attempt,
): Promise<readonly (readonly Hop[])[]> {
  let resolved: readonly (readonly Hop[])[] = [[]];
  for (const hop of hops) {
    const addresses = needsLookup([hop]) ? await lookUp(hop, attempt) : [hop.destination.host];
    resolved = resolved.flatMap((before) =>
      addresses.map((host) => before.concat({ proxy: hop.proxy, destination: { ...hop.destination, host } })),
    );
  }
  return resolved;
}

/** @throws SocksError `ERR_SOCKS_LOOKUP` */
async function lookUp(hop: Hop, attempt: Attempt): Promise<readonly string[]> {
  const { lookup = process.getBuiltinModule('node:dns').lookup } = attempt.options;
  attempt.progress.enter('lookup', hop);
  const onlyIPv4 = hop.proxy.version === 4;
  const failed = (details: { cause?: unknown; detail?: string }): SocksError =>
    attempt.progress.error('ERR_SOCKS_LOOKUP', details);

  const answer = new Promise<readonly string[]>((resolve, reject) => {
    lookup(hop.destination.host, { all: true, family: onlyIPv4 ? 4 : 0 }, (error, found) => {
      if (error) reject(error);
      else resolve(addressesIn(found));
    });
  });
  let found: readonly string[];
  try {
    found = await attempt.race(answer);
  } catch (cause) {
    attempt.throwIfStopped();
    const { code = 'failed' } = (cause ?? {}) as NodeJS.ErrnoException;
    throw failed({ cause, detail: onlyIPv4 ? `${code}; SOCKS4 needs an A record` : code });
  }
  const usable = found.filter((address) => isUsable(address, onlyIPv4));
  if (usable.length > 0) return usable;
  const none = found.length === 0 ? 'the look-up gave no IP address' : 'no address that SOCKS can carry';
  throw failed({
    detail: onlyIPv4 ? 'no A record, and SOCKS4 carries IPv4 only: use socks4a:// or socks5://' : none,
  });
}

/** Checks an address of a look-up as destinations are checked: it has no zone, and is not the mark of SOCKS4A. */
function isUsable(address: string, onlyIPv4: boolean): boolean {
  return onlyIPv4 ? isIPv4(address) && !isSocks4aMarker(address) : !address.includes('%');
}

/**
 * A look-up function may answer with one address even when it is asked for all. Answers that are not addresses are left
 * out.
 */
function addressesIn(found: unknown): readonly string[] {
  const all: readonly unknown[] = Array.isArray(found) ? found : [{ address: found }];
  return all
    .map((one) => String((one as { address?: unknown } | null)?.address))
    .filter((text) => isIP(text) !== 0);
}

/**
 * Wraps a look-up function for `net.connect`, which would throw inside its callback for an answer without an address.
 */
export function lookUpToDial(lookup: LookupFunction): LookupFunction {
  return (host, options, done) => {
    const answer: typeof done = (error, found) => {
      const all = addressesIn(found).map((address) => ({ address, family: isIP(address) }));
      const [first] = all;
      const none = first ? null : Object.assign(new Error(`no address of ${host}`), { code: 'ENOTFOUND' });
      if (options.all) done(error ?? none, all);
      else done(error ?? none, first?.address ?? '', first?.family);
    };
    try {
      lookup(host, options, answer);
    } catch (error) {
      done(error as Error, []);
    }
  };
}
