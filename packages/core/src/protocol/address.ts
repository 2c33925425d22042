// IP addresses as octets in network byte order, and back.

export function encodeIPv4(host: string): number[] {
  return host.split('.').map(Number);
}

// The URL parser writes any legal form, also one with a dotted IPv4 tail, as hexadecimal groups around one '::'.
export function encodeIPv6(host: string): number[] {
  const [head = '', tail = ''] = new URL(`http://[${host}]`).hostname.slice(1, -1).split('::');
  const [left, right] = [groups(head), groups(tail)];
  const zeros = Array.from<number>({ length: 8 - left.length - right.length }).fill(0);
  return [...left, ...zeros, ...right].flatMap((group) => [group >> 8, group & 0xff]);
}

function groups(part: string): number[] {
  return part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
}

// The URL parser also compresses as RFC 5952 says.
export function printIPv6(bytes: Uint8Array): string {
  const words = Buffer.from(bytes).toString('hex').match(/.{4}/g) ?? [];
  return new URL(`http://[${words.join(':')}]`).hostname.slice(1, -1);
}
