// The steps that a handshake yields, for IO that its caller does, and what both versions of SOCKS share.

import { printAddress } from '../destination.ts';
import type { Destination } from '../destination.ts';
import { SocksError } from '../errors.ts';
import type { SocksErrorCode, SocksErrorDetails, SocksPhase } from '../errors.ts';
import { printProxy } from '../proxy.ts';
import type { SocksProxy } from '../proxy.ts';

/**
 * What a handshake needs next: `write` sends these bytes in one piece; `read` receives exactly so many bytes; `wait`
 * waits for a promise, whose rejection is thrown at the `yield`, as is the error of a step that is none of these. `wait`
 * is for authentication methods that compute their messages asynchronously.
 */
export type Step =
  | { readonly write: Uint8Array }
  | { readonly read: number; readonly phase: SocksPhase }
  | { readonly wait: Promise<unknown> };

/**
 * A conversation as a generator: it yields {@link Step}s, is resumed with the bytes of a `read` (after other steps the
 * value is ignored), returns its result, and throws a {@link SocksError}. It never reads beyond the present message.
 * When an attempt ends early, the generator is closed, so that its `finally` blocks run.
 */
export type Steps<Result> = Generator<Step, Result, Uint8Array>;

/** The address a proxy says it is connected from: BND.ADDR and BND.PORT. Information only; often zeros. */
export type Bound = Pick<Destination, 'host' | 'port'>;

/** One proxy of a chain, and the destination that is requested of it. The host has passed `parseHost`. */
export interface Hop {
  readonly proxy: SocksProxy;
  readonly destination: Destination;
}

/** An error that names both ends of a hop, as far as they are known. */
export function hopError(
  { proxy, destination }: Partial<Hop>,
  code: SocksErrorCode,
  details: Omit<SocksErrorDetails, 'proxy' | 'destination'>,
): SocksError {
  // Before the last hop of a chain, the destination of the request is the next proxy, so a proxy is to blame.
  const isNextProxy = destination !== undefined && 'version' in destination;
  return new SocksError(code, {
    ...(isNextProxy && details.phase === 'request' && { blame: 'proxy' }),
    ...details,
    proxy: proxy && printProxy(proxy),
    destination: destination && printAddress(destination),
  });
}

export function broken(hop: Hop, phase: SocksPhase, detail: string): SocksError {
  return hopError(hop, 'ERR_SOCKS_PROTOCOL', { phase, detail });
}

/** What to use instead of the peers most often found on a wrong port. */
const PEER_HINTS = {
  http: 'an HTTP server or HTTP proxy answers on this port: use the SOCKS port of the proxy',
  ssh: 'an SSH server answers on this port: run ssh -D 1080 and use socks5://127.0.0.1:1080',
  tls: 'a TLS server answers on this port: use socks5s:// if it is a SOCKS proxy behind TLS',
  socks5: 'the proxy speaks SOCKS5 only: use socks5://',
  socks4: 'the proxy speaks SOCKS4 only: use socks4a:// or socks4://',
} as const;

const OTHER_SERVER = 'the port may belong to another server: use the SOCKS port of the proxy';

/** The error for a first answer that begins with a wrong version: it names the protocol that its two bytes show. */
export function wrongVersion(
  hop: Hop,
  phase: SocksPhase,
  first: number,
  second: number,
  detail: string,
): SocksError {
  const peer = otherProtocol(hop.proxy.version, first, second);
  if (peer === undefined) return hopError(hop, 'ERR_SOCKS_PROTOCOL', { phase, detail, hint: OTHER_SERVER });
  const code = peer === 'ssh' ? 'ERR_SOCKS_PROTOCOL' : 'ERR_SOCKS_WRONG_PROTOCOL';
  return hopError(hop, code, { phase, detail: peer, hint: PEER_HINTS[peer] });
}

/** SOCKS4 answers a greeting with its own reply; a SOCKS5 server answers a SOCKS4 request with `05 ff`. */
function otherProtocol(version: 4 | 5, first: number, second: number): keyof typeof PEER_HINTS | undefined {
  if (first === 0x48 && second === 0x54) return 'http';
  if (first === 0x53 && second === 0x53) return 'ssh';
  if ((first === 0x15 || first === 0x16) && second === 0x03) return 'tls';
  if (version === 4) return first === 0x05 ? 'socks5' : undefined;
  const isReply4 = (first === 0x00 || first === 0x04) && second >= 90 && second <= 93;
  return isReply4 ? 'socks4' : undefined;
}

export function hex(byte: number): string {
  return `0x${byte.toString(16).padStart(2, '0')}`;
}
