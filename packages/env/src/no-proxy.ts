// Compiles NO_PROXY once into a predicate. It takes what curl, Go, undici and Node document; where they differ, curl
// decides.

import { BlockList, isIPv4 } from 'node:net';
import { URL as NodeURL } from 'node:url';
import { parseHost } from '@socksify/core';
import type { DestinationLike } from '@socksify/core';

type Rule = (host: string, port: number) => boolean;

const NOTHING: Rule = () => false;

/**
 * Entries are split on commas and white space:
 *
 *     *                         everything
 *     example.com .example.com  the name and its subdomains
 *     *.example.com             its subdomains only
 *     10.1.2.3 ::1 [::1]        that address, however written
 *     10.0.0.0/8 fd00::/8       the range
 *     10.0.0.1-10.0.0.9         the range, both ends included
 *     host:80 [::1]:80 *:80     any of the above: that port only
 *
 * Addresses match IP literals only: no name is looked up. An entry that is none of these matches nothing.
 */
export function parseNoProxy(list: string): (destination: DestinationLike) => boolean {
  const rules = list.split(/[\s,]/).map(parseEntry);
  return ({ host, port }) => {
    const name = canonical(host);
    return name !== undefined && rules.some((rule) => rule(name, Number(port)));
  };
}

function parseEntry(entry: string): Rule {
  const [host, port] = splitPort(entry);
  const rule = parseHostRule(host);
  return port === undefined ? rule : (name, actual) => actual === port && rule(name, actual);
}

/** `[v6]:port`, `host:port`; a bare IPv6 address has more colons and no port. */
function splitPort(entry: string): [host: string, port: number | undefined] {
  const match = /^(\[[^\]]*\](?:\/\d+)?|[^:]*):(\d{1,5})$/.exec(entry);
  return match ? [match[1] ?? '', Number(match[2])] : [entry, undefined];
}

function parseHostRule(text: string): Rule {
  if (text === '*') return () => true;
  const [net = '', bits] = text.split(/\/(.*)/);
  if (bits !== undefined) return inSubnet(net, bits);
  const [first = '', last] = text.split(/-(.*)/).map(literal);
  if (last !== undefined) return inRange(first, last);
  const subdomainsOnly = text.startsWith('*.');
  const domain = canonical(text.replace(/^\*?\./, ''));
  if (domain === undefined) return NOTHING;
  if (family(domain)) return /^[*.]/.test(text) ? NOTHING : inRange(domain, domain);
  return (name) => name.endsWith(`.${domain}`) || (!subdomainsOnly && name === domain);
}

/** CIDR. */
function inSubnet(net: string, bits: string): Rule {
  const address = literal(net);
  if (address === undefined || !/^\d{1,3}$/.test(bits)) return NOTHING;
  // An IPv4-mapped address has 96 bits before the IPv4 address.
  const length = Number(bits) - (isIPv4(address) && !isIPv4(net) ? 96 : 0);
  if (length < 0 || length > (isIPv4(address) ? 32 : 128)) return NOTHING;
  const list = new BlockList();
  list.addSubnet(address, length, family(address));
  return isIn(list, address);
}

function inRange(first: string, last: string): Rule {
  const list = new BlockList();
  try {
    list.addRange(first, last, family(first));
  } catch {
    return NOTHING; // the first end is no address or the larger one, or the ends are of two families
  }
  return isIn(list, first);
}

/** Compares addresses of one family alone, because BlockList finds every IPv4 address in ::/0. */
function isIn(list: BlockList, sample: string): Rule {
  return (name) => family(name) === family(sample) && list.check(name, family(name));
}

/** For hosts as `canonical` returns them: only IPv6 addresses among them have a colon. isIP() would compile a long pattern. */
function family(host: string): 'ipv4' | 'ipv6' | undefined {
  if (host.includes(':')) return 'ipv6';
  return isIPv4(host) ? 'ipv4' : undefined;
}

/** An address in its usual spelling, as CIDR blocks and ranges need it: 10/8 would mean 0.0.0.10/8. */
function literal(text: string): string | undefined {
  return isIPv4(text) || text.includes(':') ? canonical(text) : undefined;
}

/**
 * A host as `parseHost` reads it, in lower case and without a dot at the end. An IPv4-mapped IPv6 address becomes the
 * IPv4 address that it means. Undefined: the text is not a host.
 */
function canonical(text: string): string | undefined {
  const host = parseHost(text);
  if (host === undefined) return undefined;
  return host.includes(':') ? unmapped(host) : host.toLowerCase().replace(/\.$/, '') || undefined;
}

function unmapped(address: string): string {
  const hex = /\[::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})\]/.exec(new NodeURL(`http://[${address}]`).hostname);
  if (!hex) return address;
  const [high, low] = [Number.parseInt(hex[1] ?? '', 16), Number.parseInt(hex[2] ?? '', 16)];
  return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.');
}
