// Resolves names on this machine: destinations for proxies with dns: 'local', and names that are dialled.

import type { LookupOptions } from 'node:dns';
import { isIP, isIPv4 } from 'node:net';
import type { LookupFunction } from 'node:net';
import { isName, isSocks4aMarker } from '../destination.ts';
import { codeOf, isObject } from '../given.ts';
import type { Hop } from '../protocol/step.ts';
import type { Attempt } from './attempt.ts';
import type { Candidates } from './hops.ts';

/**
 * Replaces names by addresses in the hops with dns: 'local'. Each address of a name has to be tried on a new
 * connection. So the result has the hops once for each combination of addresses, in the order of the look-ups.
 */
export async function resolveHops(hops: readonly Hop[], attempt: Attempt): Promise<Candidates> {
  let resolved: Candidates = [[]];
  for (const hop of hops) {
    const { proxy, destination } = hop;
    const isLocalName = proxy.dns === 'local' && isName(destination.host);
    const addresses = isLocalName ? await lookUp(hop, attempt) : [destination.host];
    resolved = resolved.flatMap((before) =>
      addresses.map((host) => before.concat({ proxy, destination: { ...destination, host } })),
    );
  }
  return resolved;
}

/** @throws SocksError `ERR_SOCKS_LOOKUP` */
async function lookUp(hop: Hop, attempt: Attempt): Promise<readonly string[]> {
  const { lookup = process.getBuiltinModule('node:dns').lookup } = attempt.options;
  attempt.progress.enter('lookup', hop);
  const isSocks4 = hop.proxy.version === 4;
  let found: readonly string[];
  try {
    const options = { all: true, family: isSocks4 ? 4 : 0 };
    found = await attempt.race(addressesOf(lookup, hop.destination.host, options));
  } catch (cause) {
    attempt.throwIfStopped();
    const code = codeOf(cause) ?? 'failed';
    const detail = isSocks4 ? `${code}; SOCKS4 needs an A record: use socks4a://` : code;
    throw attempt.progress.error('ERR_SOCKS_LOOKUP', { cause, detail });
  }
  // An address is checked as a destination is: it has no zone, and is not the mark of SOCKS4A.
  const usable = found.filter((address) =>
    isSocks4 ? isIPv4(address) && !isSocks4aMarker(address) : !address.includes('%'),
  );
  if (usable.length > 0) return usable;
  const none = found.length === 0 ? 'the look-up gave no IP address' : 'no address that SOCKS can carry';
  throw attempt.progress.error('ERR_SOCKS_LOOKUP', {
    detail: isSocks4 ? 'no A record, and SOCKS4 carries IPv4 only: use socks4a:// or socks5://' : none,
  });
}

/**
 * A look-up function may answer with one address even when it is called with `all`. Answers that are not addresses are left
 * out.
 */
function addressesOf(
  lookup: LookupFunction,
  host: string,
  options: LookupOptions,
): Promise<readonly string[]> {
  return new Promise((resolve, reject) => {
    const returned: unknown = lookup(host, options, (error, found) => {
      if (error) return reject(error);
      const all: readonly unknown[] = Array.isArray(found) ? found : [{ address: found }];
      const texts = all.map((one) => String(isObject(one) && one['address']));
      resolve(texts.filter((text) => isIP(text) !== 0));
    });
    // An async function that throws does not call back, and its rejection would end the process.
    // oxlint-disable-next-line promise/prefer-await-to-then -- a promise is not expected, and nothing waits for it
    Promise.resolve(returned).catch(reject);
  });
}

/**
 * Wraps a look-up function for `net.connect`, which would throw inside its callback for an answer without an address.
 */
export function lookUpToDial(lookup: LookupFunction): LookupFunction {
  return async (host, options, done) => {
    let found: readonly string[] = [];
    let failure: unknown;
    try {
      found = await addressesOf(lookup, host, options);
    } catch (error) {
      failure = error;
    }
    const all = found.map((address) => ({ address, family: isIP(address) }));
    const [first] = all;
    // A look-up can also fail with `undefined`, which net.connect would take for an answer.
    const error = failure || Object.assign(new Error(`no address of ${host}`), { code: 'ENOTFOUND' });
    if (!first) done(error as Error, []);
    else if (options.all) done(null, all);
    else done(null, first.address, first.family);
  };
}
