// Tells the protocols apart by the first byte of a client, and reads the request of a SOCKS client. No IO.

import { readRequest4, VN4 } from './socks4.ts';
import { readRequest5, VER5 } from './socks5.ts';
import type { CheckUser } from './socks5.ts';
import type { Request, Steps } from './steps.ts';

/**
 * Reads up to the request of a SOCKS client.
 *
 * @param first the first byte of the client, which has been read
 * @returns undefined for a client that does not speak SOCKS; nothing more has been read then
 */
export function negotiate(first: number, check?: CheckUser): Steps<Request> | undefined {
  if (first === VN4) return readRequest4(check === undefined);
  if (first === VER5) return readRequest5(check);
  return undefined;
}
