// Handshakes of core that a probe ends early, continues, or sends in other segments.

import { SocksError } from '@socksify/core';
import type { Bound, Step, Steps } from '@socksify/core';

export const NOTHING: Uint8Array = new Uint8Array();

/** The first so many messages of a handshake, with their answers. */
export function* negotiation(steps: Steps<unknown>, messages: number): Steps<void> {
  let step = steps.next(NOTHING);
  for (let left = messages; !step.done; ) {
    if ('write' in step.value && left-- === 0) return;
    step = steps.next(yield step.value);
  }
}

/** The rest of a handshake. */
export function* resumed<Result>(steps: Steps<Result>): Steps<Result> {
  let step = steps.next(NOTHING);
  while (!step.done) step = steps.next(yield step.value);
  return step.value;
}

/**
 * Credentials and request in one segment. The greeting is sent alone, because credentials are for a server that has chosen
 * method 02.
 */
export function* withCredentials(steps: Steps<Bound>): Steps<Bound> {
  yield { write: written(steps.next(NOTHING)) };
  steps.next(NOTHING);
  const credentials = written(steps.next(yield { read: 2, phase: 'greeting' }));
  steps.next(NOTHING);
  // The handshake gets the STATUS of success before the proxy has sent it.
  const message = written(steps.next(Uint8Array.of(0x01, 0x00)));
  yield { write: Buffer.concat([credentials, message]) };
  const [, status] = yield { read: 2, phase: 'authentication' };
  if (status !== 0x00) throw new SocksError('ERR_SOCKS_AUTH_FAILED', { phase: 'authentication' });
  return yield* resumed(steps);
}

/** The bytes of a step. */
function written(step: IteratorResult<Step, unknown>): Uint8Array {
  if (!step.done && 'write' in step.value) return step.value.write;
  throw new Error('the handshake of core has no message here');
}
