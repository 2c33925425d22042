// The vocabulary in which a handshake asks for IO, and what all versions of it share. Knows no socket.

import { printAddress } from '../destination.ts';
import { SocksError } from '../errors.ts';
import type { SocksErrorCode, SocksErrorDetails, SocksPhase } from '../errors.ts';
import { printProxy } from '../proxy.ts';
import type { SocksProxy } from '../proxy.ts';

/**
 * What a handshake wants done next: bytes sent, in one piece; exactly `read` bytes received; or, by an authentication
 * method that computes its messages asynchronously, a promise waited for.
 */
export type Step =
  | { readonly write: Uint8Array }
  | { readonly read: number; readonly phase: SocksPhase }
  | { readonly wait: Promise<unknown> };

/**
 * Straight-line protocol: yields {@link Step}s, is resumed with the bytes of a `read` (with anything after the others),
 * returns its result, throws a {@link SocksError}. Never asks for a byte beyond the message at hand.
 */
export type Steps<Result> = Generator<Step, Result, Uint8Array>;

/** The address a proxy says it is connected from: BND.ADDR and BND.PORT. Information only; often zeros. */
export interface Bound {
  readonly host: string;
  readonly port: number;
}

/** What the proxy is asked for. The host has passed `parseHost`. */
export interface Target {
  readonly host: string;
  readonly port: number;
}

export interface Exchange {
  readonly proxy: SocksProxy;
  readonly target: Target;
}

export function failure(
  { proxy, target }: Exchange,
  code: SocksErrorCode,
  details: Omit<SocksErrorDetails, 'proxy' | 'destination'>,
): SocksError {
  return new SocksError(code, { ...details, proxy: printProxy(proxy), destination: printAddress(target) });
}

/**
 * Recognises, on the first two bytes of a server, the peers most often found on a wrong port.
 * SOCKS4 answers a greeting with its own reply; a SOCKS5 server answers a SOCKS4 request with `05 ff`.
 */
export function wrongProtocol(exchange: Exchange, first: number, second: number): SocksError | undefined {
  const { proxy } = exchange;
  const wrong = (detail: string, hint: string) =>
    failure(exchange, 'ERR_SOCKS_WRONG_PROTOCOL', {
      phase: proxy.version === 4 ? 'request' : 'greeting',
      detail,
      hint,
    });
  if (first === 0x48 && second === 0x54) return wrong('http', 'this is an HTTP server or HTTP proxy');
  if ((first === 0x15 || first === 0x16) && second === 0x03)
    return wrong('tls', 'the proxy wants TLS: use socks5s://');
  if (proxy.version === 4 && first === 0x05)
    return wrong('socks5', 'the proxy speaks SOCKS5 only: use socks5://');
  if (proxy.version === 5 && (first === 0x00 || first === 0x04) && second >= 90 && second <= 93) {
    return wrong('socks4', 'the proxy speaks SOCKS4 only: use socks4a:// or socks4://');
  }
  return undefined;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}

export function hex(byte: number): string {
  return `0x${byte.toString(16).padStart(2, '0')}`;
}
