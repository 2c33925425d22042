// What all probes of one check share: the proxy as each version of SOCKS sees it, the report, and what was seen so far.

import { SocksError } from '@socksify/core';
import type { AuthMethod, AuthPolicy, Bound, Destination, SocksProxy } from '@socksify/core';
import type { Draft } from './report.ts';
import type { ProbeConnection, ProbeConnectionOptions } from './probe-connection.ts';

export const NONE = 0x00;
export const GSSAPI = 0x01;
export const USERPASS = 0x02;

/** A name that no server knows (RFC 6761), and addresses that no host has (RFC 5737, RFC 3849). */
export const NAME = { host: 'socksify-check.invalid', port: 80 } as const;
export const IPV4 = { host: '192.0.2.1', port: 80 } as const;
export const IPV6 = { host: '2001:db8::1', port: 80 } as const;

/** How a request ended. `tail`: what followed the first two bytes of a refusal. */
export interface Outcome {
  readonly bound?: Bound;
  readonly error?: SocksError;
  readonly tail?: Uint8Array;
  readonly ms: number;
}

/** What the probes found out that no field of the report has. The conclusions need it. */
export interface Habits {
  name?: Outcome;
  ipv4?: Outcome;
  socks4?: Outcome;
  socks4a?: Outcome;
  destination?: Outcome;
  /** The errors of the greetings that offered one method. */
  greetings: SocksError[];
  /** When the server accepts no method, it closes and does not send `05 ff`. */
  closesOnNoMethod?: boolean;
  /** The server reads a request of SOCKS4 to its end before it refuses it. The same for SOCKS4A. */
  readsSocks4?: boolean | undefined;
  readsSocks4a?: boolean | undefined;
  http?: 'proxy' | 'server' | 'tor';
  tls?: 'socks5' | 'http' | 'other';
  /** The other protocols to which the server gave no answer. */
  silent: Set<string>;
}

export interface Context {
  /** The proxy that the caller gave. */
  readonly proxy: SocksProxy;
  /** What the caller wants to connect to through the proxy: the option `target`. */
  readonly destination: Destination | undefined;
  readonly timeout: number;
  readonly idle: number | undefined;
  readonly report: Draft;
  readonly habits: Habits;
  /** Opens a connection, which is closed after the stage at the latest. */
  readonly open: (
    options?: Partial<Omit<ProbeConnectionOptions, 'signal' | 'censor'>>,
  ) => Promise<ProbeConnection>;
}

const WITHOUT: AuthMethod = {
  id: NONE,
  // oxlint-disable-next-line no-empty-function, require-yield -- this method has no messages
  *authenticate() {},
};

/** The proxy of the caller as one of SOCKS5 that resolves names. */
export function as5({ proxy }: Context): SocksProxy {
  const { path, credentials } = proxy;
  const where = { host: proxy.host, port: proxy.port, ...(path !== undefined && { path }) };
  const login = proxy.version === 5 && credentials ? { credentials } : {};
  return { ...where, ...login, version: 5, dns: 'remote' };
}

export function as4({ proxy }: Context): SocksProxy {
  const { host, port, path, credentials } = proxy;
  const login = proxy.version === 4 && credentials ? { credentials } : {};
  return { host, port, ...(path !== undefined && { path }), ...login, version: 4, dns: 'remote' };
}

/** The authentication with which a request can be sent; undefined when there is none. */
export function authOf({ report, proxy }: Context): AuthPolicy | undefined {
  if (report.authentication === true) return 'required';
  const refused = proxy.version === 5 && report.authentication === false;
  return report.methods?.includes(NONE) && !refused ? [WITHOUT] : undefined;
}

/** The proxy closed or reset the connection in place of a reply, and sent no part of one. */
export function isPlainClose(error: SocksError | undefined): boolean {
  const cut = error?.detail?.endsWith('into an answer');
  return error?.code === 'ERR_SOCKS_PROXY_CLOSED' && error.phase === 'request' && !cut;
}

/** The error with a hint, unless it has one of its own. */
export function withHint(error: unknown, hint: string, replace = false): unknown {
  if (!(error instanceof SocksError) || hint === '' || (error.hint !== undefined && !replace)) return error;
  const { code, phase, proxy, destination, detail, reply } = error;
  return new SocksError(code, { phase, proxy, destination, detail, reply, hint });
}
