// The whole handshake of either version of SOCKS. Input is checked before the first byte. Used by the tunnel,
// and by callers who have a transport of their own.

import { isName, isOnion, isSocks4aMarker, parseDestination } from '../destination.ts';
import type { DestinationLike } from '../destination.ts';
import type { SocksError } from '../errors.ts';
import { toProxy } from '../proxy.ts';
import type { ProxyLike, SocksProxy } from '../proxy.ts';
import { checkAuth } from './method.ts';
import type { AuthPolicy } from './method.ts';
import { request4 } from './socks4.ts';
import { negotiate5, pipelined5, request5 } from './socks5.ts';
import { hopError } from './step.ts';
import type { Bound, Hop, Steps } from './step.ts';

/** The options of {@link handshake}. */
export interface HandshakeOptions {
  /** Default `auto`: with credentials offer 02 and 00. `required` offers 02 alone; a list offers just its methods. */
  readonly auth?: AuthPolicy | undefined;
  /** Send everything in one segment (SOCKS5). Default false: not every server supports it. */
  readonly pipeline?: boolean | undefined;
}

/**
 * A CONNECT handshake without IO, as steps to carry out in order.
 *
 * Returns what the proxy says it is bound to (BND.ADDR and BND.PORT of RFC 1928 section 6, DSTIP and DSTPORT of
 * SOCKS4). Bytes behind the last read belong to the application.
 *
 * @throws SocksError at once for bad input; the generator throws one when the proxy refuses or breaks the protocol
 */
export function handshake(
  proxy: ProxyLike,
  destination: DestinationLike,
  { auth = 'auto', pipeline = false }: HandshakeOptions = {},
): Steps<Bound> {
  const hop: Hop = { proxy: toProxy(proxy), destination: parseDestination(destination) };
  checkAuth(auth);
  checkHop(hop, auth);
  if (hop.proxy.dns === 'local' && isName(hop.destination.host)) {
    throw refuse(hop, "a name for dns: 'local': look it up first, or use socks4a:// or socks5://");
  }
  return pipeline && canPipeline(hop.proxy, auth) ? pipelined5(hop) : lockStep(hop, auth);
}

function* lockStep(hop: Hop, auth: AuthPolicy): Steps<Bound> {
  if (hop.proxy.version === 5 && (yield* negotiate5(hop, auth))) {
    const detail = 'this transport cannot carry the encapsulation of the method';
    throw hopError(hop, 'ERR_SOCKS_AUTH_FAILED', { phase: 'authentication', detail });
  }
  return yield* request(hop);
}

export function request(hop: Hop): Steps<Bound> {
  return hop.proxy.version === 5 ? request5(hop) : request4(hop);
}

/**
 * True if all messages can be sent in one segment. SOCKS4 has one message anyway, and a method of the caller may need
 * any number of messages.
 */
export function canPipeline({ version }: SocksProxy, auth: AuthPolicy): boolean {
  return version === 5 && typeof auth === 'string';
}

/**
 * Checks what can be checked of a hop before a byte is sent.
 *
 * @throws SocksError `ERR_SOCKS_INVALID_DESTINATION`, `ERR_SOCKS_INVALID_CREDENTIALS`
 */
export function checkHop(hop: Hop, auth: AuthPolicy): void {
  const { version, dns, credentials } = hop.proxy;
  const { host } = hop.destination;
  if (version === 4 && host.includes(':')) throw refuse(hop, 'SOCKS4 cannot carry IPv6: use socks5://');
  if (version === 4 && isSocks4aMarker(host)) throw refuse(hop, '0.0.0.x would mean SOCKS4A: use socks5://');
  if (dns === 'local' && isOnion(host))
    throw refuse(hop, 'an onion name is never looked up locally: use socks4a:// or socks5://');
  if (auth === 'required' && version === 5 && !credentials) {
    const detail = "auth: 'required' without any";
    throw hopError(hop, 'ERR_SOCKS_INVALID_CREDENTIALS', { phase: 'input', detail });
  }
}

function refuse(hop: Hop, detail: string): SocksError {
  return hopError(hop, 'ERR_SOCKS_INVALID_DESTINATION', { phase: 'input', detail });
}
