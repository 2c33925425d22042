// What a caller may pass: text, hosts, ports, credentials, near the limits and far beyond them.

import fc from 'fast-check';
import type { SocksCredentials, SocksProxy } from '@socksify/core';

// Text of a given number of bytes, near the limits; any UTF-16 at all, with halves of surrogate pairs.
const sized = fc
  .tuple(
    fc.constantFrom('a', 'é', '€', '😀', '\0', ':', '%'),
    fc.oneof(fc.nat(3), fc.integer({ min: 252, max: 258 })),
  )
  .map(([unit, length]) => {
    const text = unit.repeat(length / Buffer.byteLength(unit));
    return text + 'x'.repeat(length - Buffer.byteLength(text));
  });
const utf16 = fc
  .array(fc.integer({ min: 0, max: 0xffff }), { maxLength: 6 })
  .map((units) => String.fromCharCode(...units));
export const text: fc.Arbitrary<string> = fc.oneof(fc.string({ unit: 'binary' }), sized, utf16);
export const wellFormed: fc.Arbitrary<string> = text.filter(
  (value) => value.isWellFormed() && Buffer.byteLength(value) <= 255,
);

const group = fc.oneof(
  fc.constant('0'),
  fc.integer({ min: 0, max: 0xffff }).map((n) => n.toString(16)),
);
const groups = fc.array(group, { minLength: 8, maxLength: 8 });
const ipv6 = fc.oneof(
  fc.ipV6(),
  groups.map((eight) => eight.join(':').toUpperCase()),
  groups.map((eight) => eight.map((g) => g.padStart(4, '0')).join(':')),
  fc.ipV4().map((tail) => `::ffff:${tail}`),
  fc.ipV4().map((tail) => `64:ff9b::${tail}`),
);
/** By the URL Standard, section 3.5: such a host is an IPv4 address, or none. */
export function endsInNumber(host: string): boolean {
  const labels = host.split('.');
  if (labels.at(-1) === '' && labels.length > 1) labels.pop();
  const last = labels.at(-1) ?? '';
  return /^[0-9]+$/.test(last) || /^0[xX][0-9a-fA-F]*$/.test(last);
}

const label = fc.stringMatching(/^[A-Za-z0-9_-]{1,20}$/);
export const name: fc.Arbitrary<string> = fc
  .tuple(fc.array(label, { minLength: 1, maxLength: 12 }), fc.constantFrom('', '.'))
  .map(([labels, dot]) => `x${labels.join('.')}${dot}`)
  .filter((value) => !endsInNumber(value));
export const literal: fc.Arbitrary<string> = fc.oneof(
  fc.ipV4(),
  ipv6,
  ipv6.map((host) => `[${host}]`),
);
export const host: fc.Arbitrary<string> = fc.oneof(
  literal,
  name,
  fc.domain(),
  fc.string({ unit: 'grapheme' }),
  fc.integer({ min: 250, max: 260 }).map((length) => 'n'.repeat(length)),
  ipv6.map((address) => `${address}%1`),
  text,
);
// Pieces that the URL parser cuts, decodes, drops, maps or counts, in any order.
const hostPiece = fc.constantFrom(
  ...'aéüß-_*1１②٣...。．｡/\\?#@:%[]^|／＠：％℀'.split(''),
  ...'Test xn--a onion 127 0x7f 08 256 %2f %2E %C3%BC'.split(' '),
  ...'\t\n\r \0\u007f\u00a0\u00ad\u200b\u200d\ufe0f'.split(''),
);
const digits = fc.constantFrom('0', '1', '9', '255', '256', '0x7f', '08', '４', '.', '.', '。');
export const hostLike: fc.Arbitrary<string> = fc.oneof(
  fc.array(hostPiece, { maxLength: 8 }).map((pieces) => pieces.join('')),
  fc.array(digits, { maxLength: 8 }).map((pieces) => pieces.join('')),
  host,
);
export const goodPort: fc.Arbitrary<number> = fc.integer({ min: 1, max: 65_535 });
export const port: fc.Arbitrary<number> = fc.oneof(
  { weight: 4, arbitrary: goodPort },
  fc.constantFrom(0, -1, 65_536, 1.5, Number.NaN),
);

export function given<T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  return fc.option(value, { nil: undefined });
}

export const credentials: fc.Arbitrary<SocksCredentials> = fc
  .record({ username: text, password: given(text) })
  .map(({ username, password }) => (password === undefined ? { username } : { username, password }));

export function proxyOf(version: 4 | 5, login?: SocksCredentials): SocksProxy {
  return { version, host: 'proxy.test', port: 1080, dns: 'remote', ...(login && { credentials: login }) };
}
