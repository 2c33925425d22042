// Turns a destination that a caller wrote into one that SOCKS can carry, or throws. Only this file does it, before any
// byte is sent.

import { isIPv4, isIPv6 } from 'node:net';
import { domainToASCII, URL as NodeURL } from 'node:url';
import { check, invalid } from './errors.ts';
import { describe } from './given.ts';

/** Where a tunnel leads. */
export interface Destination {
  /** A name, an IPv4 literal, or an IPv6 literal with or without brackets. */
  readonly host: string;
  /** 1 to 65535. */
  readonly port: number;
  /** Set by the agent and the dispatcher, so that a selector can tell the two apart. */
  readonly protocol?: 'http:' | 'https:';
}

/** A {@link Destination} as a caller writes it: the port may also be a string of digits. */
export interface DestinationLike {
  readonly host: string;
  readonly port: number | string;
  readonly protocol?: 'http:' | 'https:' | undefined;
}

// What no host can hold: control characters, space and DEL (several servers connect to the part before a NUL),
// and the delimiters that the URL Standard forbids in a domain.
// oxlint-disable-next-line no-control-regex -- refusing them is the point
const FORBIDDEN = /[\u0000-\u0020\u007f#%/:<>?@[\\\]^|]/;

// Hosts that the URL Standard rewrites: names that are not ASCII, and numbers at the end of a host, which
// make it an IPv4 address.
// oxlint-disable-next-line no-control-regex -- "not ASCII"
const REWRITTEN = /[^\u0000-\u007f]|(?:^|\.)(?:\d+|0x[\da-f]*)\.?$/i;

const MAX_LENGTH = 255;

/**
 * A host as the wire carries it: an IP literal without brackets, or a name of 1 to 255 bytes, made ASCII by IDNA. A host
 * that ends in a number, such as `127.1` or `0x7f.1`, is the IPv4 address that the URL Standard reads in it. Other ASCII
 * names are returned unchanged, a trailing dot included.
 *
 * @returns undefined when the value is not a host
 */
export function parseHost(host: unknown): string | undefined {
  // A longer host cannot become short enough, and punycode takes quadratic time.
  if (typeof host !== 'string' || host.length > MAX_LENGTH) return undefined;
  const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
  if (bare.includes(':') && isIPv6(bare)) return bare.includes('%') ? undefined : bare;
  // Before IDNA: domainToASCII() is a URL parser. It ends at a slash, drops tabs and decodes percent signs.
  if (FORBIDDEN.test(host)) return undefined;
  const name = REWRITTEN.test(host) && !isIPv4(host) ? domainToASCII(host) : host;
  return name.length >= 1 && name.length <= MAX_LENGTH ? name : undefined;
}

/** @throws SocksError that says what is wrong. It does not repeat the value, which may be a URL with a password. */
export function refuseHost(host: unknown, what: 'PROXY' | 'DESTINATION'): never {
  check(typeof host === 'string', what, `the host must be a string, not ${describe(host)}`);
  const [character] = FORBIDDEN.exec(host) ?? [];
  throw invalid(
    what,
    character === undefined
      ? 'the host must be an IP address, or a name of 1 to 255 bytes that does not end in a number'
      : `the host contains ${JSON.stringify(character)}: write a name or IP address alone, without scheme, port, user or zone`,
  );
}

/**
 * A port from 1 to 65535, from a number or a string of digits.
 *
 * @throws SocksError that does not repeat text, which may be a secret
 */
export function checkPort(port: unknown, what: 'PROXY' | 'DESTINATION'): number {
  const number = typeof port === 'string' && /^\d+$/.test(port) ? Number(port) : port;
  if (typeof number === 'number' && Number.isInteger(number) && number >= 1 && number <= 65535) return number;
  const given = typeof port === 'string' ? 'this string' : describe(port);
  throw invalid(what, `the port must be a number or a string of digits, from 1 to 65535, not ${given}`);
}

/** @throws SocksError `ERR_SOCKS_INVALID_DESTINATION` */
export function parseDestination(destination: DestinationLike): Destination {
  if (typeof destination !== 'object' || destination === null) {
    throw invalid('DESTINATION', `a destination is an object { host, port }, not ${describe(destination)}`);
  }
  const host = parseHost(destination.host) ?? refuseHost(destination.host, 'DESTINATION');
  const port = checkPort(destination.port, 'DESTINATION');
  const { protocol } = destination;
  // Frozen, because a selector gets it and must not change what has been checked.
  return Object.freeze(protocol === undefined ? { host, port } : { host, port, protocol });
}

/**
 * For checked hosts: only IPv6 literals among them have a colon. isIP() would compile Node's pattern for IPv6, which costs
 * a millisecond and 260 KB.
 */
export function isName(host: string): boolean {
  return !host.includes(':') && !isIPv4(host);
}

/** Any legal form, also one with a dotted IPv4 tail, as hexadecimal groups, compressed as RFC 5952 says. */
export function usualIPv6(host: string): string {
  return new NodeURL(`http://[${host}]`).hostname.slice(1, -1);
}

/** An onion name means something to tor alone (RFC 7686): it is never looked up, and never dialled directly. */
export function isOnion(host: string): boolean {
  return /(?:^|\.)onion\.*$/i.test(host);
}

/** `host:port`, with brackets around IPv6. */
export function printAddress({ host, port }: Pick<Destination, 'host' | 'port'>): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** True for 0.0.0.x with x not 0: a SOCKS4 request with such an address is one of SOCKS4A (SOCKS4A memo). */
export function isSocks4aMarker(host: string): boolean {
  return isIPv4(host) && host.startsWith('0.0.0.') && host !== '0.0.0.0';
}
