// The whole handshake of either version, checked before its first byte. For the tunnel, and for people who bring
// their own transport.

import { isIPv6 } from 'node:net';
import {
  invalidDestination,
  isName,
  isSocks4aMarker,
  parseDestination,
  printAddress,
} from '../destination.ts';
import { printProxy, toProxy } from '../proxy.ts';
import type { ProxyLike } from '../proxy.ts';
import { request4 } from './socks4.ts';
import { negotiate5, pipelined5, request5 } from './socks5.ts';
import type { AuthPolicy } from './socks5.ts';
import { failure } from './step.ts';
import type { Bound, Exchange, Steps } from './step.ts';

export interface HandshakeOptions {
  /** Default `auto`: with credentials offer 02 and 00. `required` offers 02 alone. */
  readonly auth?: AuthPolicy;
  /** Send everything in one segment (SOCKS5). Default false: not every server survives it. */
  readonly pipeline?: boolean;
}

/**
 * A CONNECT handshake without IO, as steps to carry out in order.
 *
 * Returns what the proxy says it is bound to (BND.ADDR and BND.PORT of RFC 1928 section 6, DSTIP and DSTPORT of
 * SOCKS4). Bytes behind the last read belong to the application.
 *
 * @throws SocksError at once for bad input; the generator throws one when the proxy refuses or breaks the protocol
 * @example
 * const steps = handshake(parseProxy('socks5://proxy.example'), { host: 'example.com', port: 80 });
 * for (let step = steps.next(); !step.done; ) {
 *   if ('write' in step.value) { send(step.value.write); step = steps.next(new Uint8Array()); }
 *   else step = steps.next(await receiveExactly(step.value.read));
 * }
 */
export function handshake(
  proxy: ProxyLike,
  destination: { readonly host: string; readonly port: number },
  options: HandshakeOptions = {},
): Steps<Bound> {
  const exchange: Exchange = { proxy: toProxy(proxy), target: parseDestination(destination) };
  checkExchange(exchange, options.auth);
  if (exchange.proxy.version === 4 && exchange.proxy.dns === 'local' && isName(exchange.target.host)) {
    throw refuse(exchange, 'plain SOCKS4 carries no name: look it up first, or use socks4a:// or socks5://');
  }
  return exchangeSteps(exchange, options);
}

export function exchangeSteps(
  exchange: Exchange,
  { auth = 'auto', pipeline = false }: HandshakeOptions,
): Steps<Bound> {
  if (pipeline && exchange.proxy.version === 5) return pipelined5(exchange);
  return lockStep(exchange, auth);
}

function* lockStep(exchange: Exchange, auth: AuthPolicy): Steps<Bound> {
  yield* negotiate(exchange, auth);
  return yield* request(exchange);
}

/** Everything before the destination matters. SOCKS4 has no such part. */
export function* negotiate(exchange: Exchange, auth: AuthPolicy): Steps<void> {
  if (exchange.proxy.version === 5) yield* negotiate5(exchange, auth);
}

export function request(exchange: Exchange): Steps<Bound> {
  return exchange.proxy.version === 5 ? request5(exchange) : request4(exchange);
}

/**
 * Can this proxy be asked for this target, in this way, at all?
 * @throws SocksError `ERR_SOCKS_INVALID_DESTINATION`, `ERR_SOCKS_INVALID_CREDENTIALS`
 */
export function checkExchange(exchange: Exchange, auth: AuthPolicy = 'auto'): void {
  const { proxy, target } = exchange;
  if (proxy.version === 4 && isIPv6(target.host))
    throw refuse(exchange, 'SOCKS4 cannot carry IPv6: use socks5://');
  if (proxy.version === 4 && isSocks4aMarker(target.host)) {
    throw refuse(exchange, '0.0.0.x would mean SOCKS4A: use socks5://');
  }
  if (proxy.dns === 'local' && /\.onion\.?$/i.test(target.host)) {
    throw refuse(exchange, 'an onion name is never looked up locally: use socks4a:// or socks5://');
  }
  if (auth === 'required' && proxy.version === 5 && !proxy.credentials) {
    throw failure(exchange, 'ERR_SOCKS_INVALID_CREDENTIALS', {
      phase: 'input',
      detail: "auth: 'required' without any",
    });
  }
}

function refuse({ proxy, target }: Exchange, detail: string) {
  return invalidDestination(detail, printProxy(proxy), printAddress(target));
}
