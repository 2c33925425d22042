// NO_PROXY, compiled once into a predicate: the union of what curl, Go, undici and Node document, erring to curl.

import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { domainToASCII } from 'node:url';
import type { Destination } from '@socksify/core';

type Rule = (host: string, port: number) => boolean;

/**
 * Entries are split on commas and white space:
 *
 *     *                         everything
 *     example.com .example.com  the name and its subdomains
 *     *.example.com             its subdomains only
 *     10.1.2.3 ::1 [::1]        that address, however written
 *     10.0.0.0/8 fd00::/8       the range
 *     10.0.0.1-10.0.0.9         the range, both ends included
 *     host:80 [::1]:80 *:80     any of the above without a slash or dash: that port only
 *
 * Addresses match IP literals only: no name is looked up. An entry that is none of these matches nothing.
 */
export function parseNoProxy(list: string): (destination: Destination) => boolean {
  const rules = list
    .split(/[\s,]+/)
    .filter(Boolean)
    .map(parseEntry);
  return ({ host, port }) => {
    const name = canonical(host);
    return rules.some((rule) => rule(name, port));
  };
}

function parseEntry(entry: string): Rule {
  const [host, port] = splitPort(entry);
  const rule = parseHostRule(host);
  return port === undefined ? rule : (name, actual) => actual === port && rule(name, actual);
}

/** `[v6]:port`, `host:port`; a bare IPv6 address has more colons and no port. */
function splitPort(entry: string): [host: string, port: number | undefined] {
  const match = /^(\[[^\]]*\]|[^:]*):(\d{1,5})$/.exec(entry);
  return match ? [match[1] ?? '', Number(match[2])] : [entry, undefined];
}

function parseHostRule(text: string): Rule {
  if (text === '*') return () => true;
  const addresses = parseAddresses(text);
  if (addresses) return (name) => isAddress(name) && addresses.check(name, isIPv4(name) ? 'ipv4' : 'ipv6');
  if (text.includes('/')) return () => false;
  if (text.startsWith('*.')) {
    const suffix = canonical(text.slice(1));
    return (name) => name.endsWith(suffix) && !isAddress(name);
  }
  const domain = canonical(text.replace(/^\./, ''));
  return (name) => domain !== '' && (name === domain || (name.endsWith(`.${domain}`) && !isAddress(name)));
}

/** One address, a CIDR block or a range. BlockList also matches IPv4-mapped IPv6 addresses against IPv4 rules. */
function parseAddresses(text: string): BlockList | undefined {
  const list = new BlockList();
  const one = canonical(text);
  if (isAddress(one)) {
    list.addAddress(one, family(one));
    return list;
  }
  const cidr = /^([^/]+)\/(\d{1,3})$/.exec(text);
  if (cidr) {
    const [net, bits] = [canonical(cidr[1] ?? ''), Number(cidr[2])];
    if (!isAddress(net) || bits > (isIPv4(net) ? 32 : 128)) return undefined;
    list.addSubnet(net, bits, family(net));
    return list;
  }
  const range = /^([^-]+)-([^-]+)$/.exec(text);
  if (range) {
    const [first, last] = [canonical(range[1] ?? ''), canonical(range[2] ?? '')];
    if (!isAddress(first) || family(first) !== family(last)) return undefined;
    try {
      list.addRange(first, last, family(first));
    } catch {
      return undefined; // the ends are the wrong way round
    }
    return list;
  }
  return undefined;
}

/** A zone has no place in a list of addresses, nor in a destination. */
function isAddress(text: string): boolean {
  return isIPv4(text) || (isIPv6(text) && !text.includes('%'));
}

function family(address: string): 'ipv4' | 'ipv6' {
  return isIPv4(address) ? 'ipv4' : 'ipv6';
}

/** Lower case, A-labels, no brackets, no trailing dot; IPv4-mapped IPv6 as the IPv4 address it means. */
function canonical(host: string): string {
  const bare = host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
  if (isIPv6(bare)) return unmapped(bare);
  const lower = bare.toLowerCase().replace(/\.$/, '');
  // oxlint-disable-next-line no-control-regex -- "all ASCII"
  return /^[\u0000-\u007f]*$/.test(lower) ? lower : domainToASCII(lower);
}

function unmapped(address: string): string {
  if (address.includes('%')) return address;
  const hex = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(
    new URL(`http://[${address}]`).hostname.slice(1, -1),
  );
  if (!hex) return address;
  const [high, low] = [Number.parseInt(hex[1] ?? '', 16), Number.parseInt(hex[2] ?? '', 16)];
  return [high >> 8, high & 0xff, low >> 8, low & 0xff].join('.');
}
