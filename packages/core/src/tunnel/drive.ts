// Carries out steps in order: those of a handshake, or those that read one frame of an encapsulation.

import type { Steps } from '../protocol/step.ts';
import type { Connection } from './connection.ts';
import type { Progress } from './progress.ts';

const NOTHING: Uint8Array = new Uint8Array();

export async function drive<Result>(
  steps: Steps<Result>,
  connection: Connection,
  progress?: Progress,
): Promise<Result> {
  try {
    let step = steps.next(NOTHING);
    while (!step.done) {
      const { value } = step;
      if ('write' in value) {
        connection.write(value.write);
        step = steps.next(NOTHING);
      } else if ('read' in value) {
        if (progress && value.phase !== progress.phase) progress.enter(value.phase);
        const bytes = connection.readExactly(value.read);
        step = steps.next(bytes instanceof Promise ? await bytes : bytes);
      } else {
        const failed = await connection.wait<{ readonly reason: unknown } | undefined>((resolve) => {
          value.wait.then(
            () => resolve(undefined),
            (reason: unknown) => resolve({ reason }),
          );
        });
        step = failed ? steps.throw(failed.reason) : steps.next(NOTHING);
      }
    }
    return step.value;
  } finally {
    closeGenerator(steps);
  }
}

/** A generator that was left in the middle runs its `finally` blocks. A generator that has ended does nothing. */
function closeGenerator(steps: Steps<unknown>): void {
  try {
    steps.return(undefined);
  } catch {
    // The attempt ends with its first error; this later one is dropped.
  }
}
