// Carries out the steps of a handshake on a Duplex: one write for each message, exact reads, and no byte more, so
// that whatever follows stays in the stream for the application.

import type { Duplex } from 'node:stream';
import type { SocksErrorDetails } from '../errors.ts';
import type { Steps } from '../protocol/step.ts';
import type { Deadline } from './deadline.ts';

const NOTHING: Uint8Array = new Uint8Array();

export function drive<Result>(stream: Duplex, steps: Steps<Result>, deadline: Deadline): Promise<Result> {
  return deadline.step<Result>((resolve, reject) => {
    const { progress } = deadline;
    let wanted = 0;
    let received = 0; // of the answer to what was last written
    let waiting = false;
    let failure: { readonly reason: unknown } | undefined; // of what was waited for
    let over = false;
    let input = NOTHING;

    const advance = (): void => {
      try {
        // oxlint-disable-next-line no-unmodified-loop-condition -- a step settles the promise, and that ends it
        while (!waiting && !over) {
          if (wanted > 0) {
            const bytes = stream.read(wanted) as Buffer | null;
            // After the end of the stream, read() hands out what is left, however little.
            if (bytes === null) return;
            received += bytes.length;
            if (bytes.length < wanted) return closed();
            [input, wanted] = [bytes, 0];
          }
          const step = failure ? steps.throw(failure.reason) : steps.next(input);
          failure = undefined;
          if (step.done) return resolve(step.value);
          input = NOTHING;
          if ('write' in step.value) {
            stream.write(step.value.write);
            received = 0;
          } else if ('read' in step.value) {
            wanted = step.value.read;
            if (step.value.phase !== progress.phase) progress.enter(step.value.phase);
          } else {
            waiting = true;
            step.value.wait.then(
              () => resume(),
              (reason: unknown) => resume({ reason }),
            );
          }
        }
      } catch (error) {
        reject(error);
      }
    };
    const resume = (failed?: { readonly reason: unknown }): void => {
      waiting = false;
      failure = failed;
      advance();
    };
    const closed = (cause?: unknown): void => {
      const details = closedDetails(progress.phase, received + stream.readableLength);
      reject(progress.failure('ERR_SOCKS_PROXY_CLOSED', { cause, ...details }));
    };
    const onEnd = (): void => closed();
    const onClose = (): void => closed();
    const onError = (error: Error): void => closed(error);

    stream.on('readable', advance).on('end', onEnd).on('close', onClose).on('error', onError);
    if (stream.destroyed || stream.readableEnded) closed(stream.errored ?? undefined);
    else advance();

    return () => {
      over = true;
      stream.off('readable', advance).off('end', onEnd).off('close', onClose).off('error', onError);
    };
  });
}

function closedDetails(phase: string, received: number): Pick<SocksErrorDetails, 'detail' | 'hint'> {
  if (received > 0) return { detail: `${received} bytes into an answer` };
  if (phase === 'greeting') return { hint: 'OpenSSH closes when it accepts none of the offered methods' };
  if (phase === 'request') {
    return { hint: 'OpenSSH closes without a reply when the destination refuses or its name is unknown' };
  }
  return {};
}
