// A destination as text becomes one that the wire can carry, or an error: here, once, before any byte is sent.

import { isIP, isIPv4, isIPv6 } from 'node:net';
import { domainToASCII } from 'node:url';
import { SocksError } from './errors.ts';

/** Where a tunnel leads. */
export interface Destination {
  /** A name, an IPv4 literal, or an IPv6 literal with or without brackets. */
  readonly host: string;
  /** 1 to 65535. */
  readonly port: number;
  /** Set by the agent and the dispatcher, so that a selector can tell the two apart. */
  readonly protocol?: 'http:' | 'https:';
}

// What no host can hold: control characters, space and DEL (several servers connect to the part before a NUL),
// and the delimiters that the URL Standard forbids in a domain.
// oxlint-disable-next-line no-control-regex -- refusing them is the point
const FORBIDDEN = /[\u0000-\u0020\u007f#%/:<>?@[\\\]^|]/;

/** A host as the wire carries it: no brackets, A-labels for an internationalised name. Undefined: not a host. */
export function parseHost(host: unknown): string | undefined {
  if (typeof host !== 'string') return undefined;
  const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
  if (isIPv6(bare)) return bare.includes('%') ? undefined : bare;
  // A trailing dot is kept. IDNA leaves ASCII names alone, so that nothing is rewritten that need not be.
  // oxlint-disable-next-line no-control-regex -- "all ASCII"
  const name = /^[\u0000-\u007f]*$/.test(host) ? host : domainToASCII(host);
  return name.length >= 1 && name.length <= 255 && !FORBIDDEN.test(name) ? name : undefined;
}

/** @throws SocksError `ERR_SOCKS_INVALID_DESTINATION` */
export function parseDestination(destination: Destination): Destination {
  const { host, port, protocol } = destination;
  const parsed = parseHost(host);
  if (parsed === undefined) {
    throw invalidDestination(
      `${JSON.stringify(host)?.slice(0, 80)} is not a host: 1 to 255 bytes without spaces, control characters, zone or port`,
    );
  }
  if (!isPort(port)) throw invalidDestination(`${String(port)} is not a port from 1 to 65535`);
  return protocol === undefined ? { host: parsed, port } : { host: parsed, port, protocol };
}

export function isPort(port: unknown): port is number {
  return Number.isInteger(port) && (port as number) >= 1 && (port as number) <= 65535;
}

export function isName(host: string): boolean {
  return isIP(host) === 0;
}

/** An onion name means something to tor alone (RFC 7686): it is never looked up, and never dialled directly. */
export function isOnion(host: string): boolean {
  return /(?:^|\.)onion\.?$/i.test(host);
}

/** `host:port`, with brackets around IPv6. */
export function printAddress({ host, port }: { readonly host: string; readonly port: number }): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** 0.0.0.x with x not 0: on the wire of SOCKS4 it is the mark of SOCKS4A (SOCKS4A memo). */
export function isSocks4aMarker(host: string): boolean {
  return isIPv4(host) && host.startsWith('0.0.0.') && host !== '0.0.0.0';
}

export function invalidDestination(detail: string, proxy = '', destination = ''): SocksError {
  return new SocksError('ERR_SOCKS_INVALID_DESTINATION', { phase: 'input', detail, proxy, destination });
}
