// The user that clients of a bridge have to name, with the password.

import { createHash, timingSafeEqual } from 'node:crypto';
import { invalid } from './invalid.ts';

export class User {
  readonly #name: Buffer;
  readonly #password: Buffer;

  /**
   * @param text `name:password`; the name ends at the first colon
   * @throws TypeError `ERR_INVALID_ARG_VALUE`, which does not repeat the text
   */
  constructor(text: string) {
    const colon = typeof text === 'string' ? text.indexOf(':') : -1;
    if (colon < 0) throw invalid('user is text such as name:password');
    this.#name = bytesOf('name', text.slice(0, colon));
    this.#password = bytesOf('password', text.slice(colon + 1));
  }

  /** Takes the same time whether the name, the password, both or none are right. */
  readonly check = (name: Uint8Array, password: Uint8Array): boolean =>
    (Number(isSame(name, this.#name)) & Number(isSame(password, this.#password))) === 1;

  /** Looks at the value of a Proxy-Authorization header, RFC 7617. */
  checkHeader(header: string | undefined): boolean {
    const [, encoded = ''] = /^basic +([\w+/]+=*) *$/i.exec(header ?? '') ?? [];
    const decoded = Buffer.from(encoded, 'base64');
    const colon = decoded.indexOf(0x3a);
    return this.check(decoded.subarray(0, Math.max(colon, 0)), decoded.subarray(colon + 1)) && colon > 0;
  }
}

function bytesOf(part: string, text: string): Buffer {
  const bytes = Buffer.from(text);
  if (bytes.length < 1 || bytes.length > 255)
    throw invalid(
      `the ${part} of the user has ${bytes.length} bytes: write name:password with 1 to 255 bytes each`,
    );
  return bytes;
}

// Digests have one length, as timingSafeEqual() needs.
function isSame(given: Uint8Array, expected: Uint8Array): boolean {
  return timingSafeEqual(digest(given), digest(expected));
}

function digest(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}
