// IP addresses as octets in network byte order, and back.

import { usualIPv6 } from '../destination.ts';

export function encodeIPv4(host: string): number[] {
  return host.split('.').map(Number);
}

export function encodeIPv6(host: string): number[] {
  const [head = '', tail = ''] = usualIPv6(host).split('::');
  const [left, right] = [groups(head), groups(tail)];
  const zeros = Array.from<number>({ length: 8 - left.length - right.length }).fill(0);
  return [...left, ...zeros, ...right].flatMap((group) => [group >> 8, group & 0xff]);
}

function groups(part: string): number[] {
  return part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
}

export function printIPv6(bytes: Uint8Array): string {
  const words = Buffer.from(bytes).toString('hex').match(/.{4}/g) ?? [];
  return usualIPv6(words.join(':'));
}
