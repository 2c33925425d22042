// Bytes as the tests write them.

/** The bytes of a hex text, which may have spaces in it. */
export function bytes(hex: string): Buffer {
  return Buffer.from(hex.replaceAll(' ', ''), 'hex');
}
