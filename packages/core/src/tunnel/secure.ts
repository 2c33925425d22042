// TLS to the destination over a tunnel. Errors pass through as Node gives them.

import { isIP } from 'node:net';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { Target } from '../protocol/step.ts';
import type { Deadline } from './deadline.ts';

/** Resolves once the handshake is done and the certificate has been checked. */
export async function secure(
  socket: Socket | Duplex,
  { host, port }: Target,
  options: ConnectionOptions,
  deadline: Deadline,
): Promise<TLSSocket> {
  const secured = connect({
    host,
    port,
    // An IP address is no SNI name (RFC 6066 section 3).
    ...(isIP(host) === 0 && { servername: host.replace(/\.$/, '') }),
    ...options,
    socket,
  });
  try {
    return await deadline.step<TLSSocket>((resolve, reject) => {
      const onSecure = (): void => resolve(secured);
      const onClose = (): void => reject(new Error('the connection closed during the TLS handshake'));
      secured.on('secureConnect', onSecure).on('error', reject).on('close', onClose);
      return () => secured.off('secureConnect', onSecure).off('error', reject).off('close', onClose);
    });
  } catch (error) {
    abandon(secured);
    throw error;
  }
}

/** Destroys a stream whose errors interest nobody any more. */
export function abandon(stream: Duplex): void {
  stream.on('error', () => {}).destroy();
}
