// Carries out steps in order: those of a handshake, or those that read one frame of an encapsulation.

import { codeOf } from '../given.ts';
import type { Steps } from '../protocol/step.ts';
import type { Attempt } from './attempt.ts';
import { READ_EVENTS, StreamClosed } from './connection.ts';
import type { Connection } from './connection.ts';
import { toProxyError } from './dial.ts';
import type { Progress } from './progress.ts';

const NOTHING: Uint8Array = new Uint8Array();

/**
 * @param attempt the attempt at a tunnel to which the handshake belongs; none for frames
 * @throws what the steps throw. When the connection ends before they are done: SocksError `ERR_SOCKS_PROXY_CLOSED` or
 * `ERR_SOCKS_PROXY_TLS`, or without an attempt the reason of the connection
 */
export async function drive<Result>(
  steps: Steps<Result>,
  connection: Connection,
  attempt?: Attempt,
): Promise<Result> {
  const generator: Steps<unknown> = steps;
  try {
    let step = steps.next(NOTHING);
    while (!step.done) {
      const { value } = step;
      let bytes = NOTHING;
      try {
        if ('write' in value) {
          connection.received = 0;
          connection.stream.write(value.write);
        } else if ('read' in value) {
          if (value.phase !== attempt?.progress.phase) attempt?.progress.enter(value.phase);
          const { read } = value;
          if (!Number.isInteger(read) || read < 0) throw new TypeError('read is a number of bytes');
          bytes = connection.read(read) ?? (await connection.until(READ_EVENTS, read));
        } else await connection.race(value.wait);
      } catch (reason) {
        if (hasEnded(connection, reason)) throw reason;
        // A step that cannot be carried out is an error of the steps, as the rejection of a `wait` is.
        step = steps.throw(reason);
        continue;
      }
      step = steps.next(bytes);
    }
    return step.value;
  } catch (error) {
    if (!attempt || !hasEnded(connection, error)) throw error;
    // The attempt may have stopped after the connection failed, and before this catch.
    attempt.throwIfStopped();
    const { received } = connection;
    // In TLS 1.3, a proxy refuses the certificate of the client after the handshake of TLS has ended for the client.
    if (attempt.progress.hop.proxy?.tls && codeOf(error)?.startsWith('ERR_SSL')) {
      attempt.progress.enter('proxy-tls');
      throw toProxyError(error, attempt);
    }
    throw attempt.progress.error('ERR_SOCKS_PROXY_CLOSED', {
      cause: error instanceof StreamClosed ? undefined : error,
      detail: received > 0 ? `${received} bytes into an answer` : undefined,
      // An error without a code is one of the encapsulation, not of the socket.
      hint: received === 0 && codeOf(error) ? closedHint(attempt.progress) : undefined,
    });
  } finally {
    try {
      // A generator that was left in the middle runs its `finally` blocks. One that has ended does nothing.
      generator.return(undefined);
    } catch {
      // The attempt ends with its first error; this later one is dropped.
    }
  }
}

/** True if this is why the connection has ended. A promise can reject with `undefined`. */
function hasEnded({ ended }: Connection, reason: unknown): boolean {
  return ended !== undefined && ended.reason === reason;
}

function closedHint({ phase, hop }: Progress): string | undefined {
  if (phase === 'greeting')
    return 'OpenSSH closes when it accepts none of the offered methods; a shadowsocks server closes too';
  if (phase !== 'request') return undefined;
  const no4 =
    hop.proxy?.version === 4 ? '; other servers close when they speak no SOCKS4: try socks5://' : '';
  return `OpenSSH closes without a reply when the destination refuses or its name is unknown${no4}`;
}
