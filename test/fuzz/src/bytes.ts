// Bytes in transit: messages that something has happened to, and pieces in which they arrive. No protocol is
// parsed here.

import fc from 'fast-check';

export function unhex(digits: string): Buffer {
  return Buffer.from(digits.replaceAll(' ', ''), 'hex');
}

/** Something that happens to a conversation: to a byte of it, or to a message. Positions are taken modulo its size. */
export type Mutation =
  | { readonly kind: 'flip'; readonly at: number; readonly bit: number }
  | { readonly kind: 'set'; readonly at: number; readonly value: number }
  | { readonly kind: 'cut'; readonly at: number }
  | { readonly kind: 'repeat'; readonly message: number }
  | { readonly kind: 'drop'; readonly message: number }
  | { readonly kind: 'insert'; readonly message: number; readonly bytes: Buffer }
  | { readonly kind: 'swap'; readonly message: number; readonly other: number };

const position = fc.nat(300);
const message = fc.nat(5);

/** Few at a time: what is nearly right goes furthest. */
export function mutationsWith(noise: fc.Arbitrary<Buffer>): fc.Arbitrary<Mutation[]> {
  const mutation: fc.Arbitrary<Mutation> = fc.oneof(
    fc.record({ kind: fc.constant('flip' as const), at: position, bit: fc.nat(7) }),
    fc.record({ kind: fc.constant('set' as const), at: fc.nat(24), value: fc.nat(255) }),
    fc.record({ kind: fc.constant('cut' as const), at: position }),
    fc.record({ kind: fc.constant('repeat' as const), message }),
    fc.record({ kind: fc.constant('drop' as const), message }),
    fc.record({ kind: fc.constant('insert' as const), message, bytes: noise }),
    fc.record({ kind: fc.constant('swap' as const), message, other: message }),
  );
  return fc.oneof(
    { weight: 2, arbitrary: fc.constant<Mutation[]>([]) },
    { weight: 3, arbitrary: fc.array(mutation, { minLength: 1, maxLength: 3 }) },
  );
}

export function mutate(messages: readonly Buffer[], mutations: readonly Mutation[]): Buffer {
  let parts: Buffer[] = messages.map((part) => Buffer.from(part));
  for (const mutation of mutations) {
    if (parts.length === 0) break;
    const index = 'message' in mutation ? mutation.message % parts.length : 0;
    const part = parts[index] ?? Buffer.alloc(0);
    if (mutation.kind === 'repeat') parts.splice(index, 0, part);
    else if (mutation.kind === 'drop') parts.splice(index, 1);
    else if (mutation.kind === 'insert') parts.splice(index, 0, mutation.bytes);
    else if (mutation.kind === 'swap') {
      const other = mutation.other % parts.length;
      [parts[index], parts[other]] = [parts[other] ?? part, part];
    } else {
      const whole = Buffer.concat(parts);
      if (whole.length === 0) break;
      const at = mutation.at % whole.length;
      if (mutation.kind === 'flip') whole[at] = (whole[at] ?? 0) ^ (1 << mutation.bit);
      else if (mutation.kind === 'set') whole[at] = mutation.value;
      // The messages are one from here on.
      parts = [mutation.kind === 'cut' ? whole.subarray(0, at) : whole];
    }
  }
  return Buffer.concat(parts);
}

/** Where a stream of bytes is cut into pieces. */
export const cuts: fc.Arbitrary<number[]> = fc.oneof(
  fc.array(fc.nat(60), { maxLength: 8 }),
  fc.array(fc.nat(600), { maxLength: 8 }),
  // Byte by byte.
  fc.constant(Array.from({ length: 40 }, (_, i) => i)),
);

export function piecesOf(bytes: Buffer, at: readonly number[]): Buffer[] {
  const edges = [0, ...at.filter((cut) => cut < bytes.length).toSorted((a, b) => a - b), bytes.length];
  return edges
    .map((edge, i) => bytes.subarray(edge, edges[i + 1] ?? edge))
    .filter((piece) => piece.length > 0);
}
