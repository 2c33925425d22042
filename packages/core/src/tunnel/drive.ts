// Carries out the steps of a handshake on a Duplex: one write for each message, exact reads, and no byte more, so
// that whatever follows stays in the stream for the application.

import type { Duplex } from 'node:stream';
import { SocksError } from '../errors.ts';
import type { SocksErrorDetails } from '../errors.ts';
import type { Steps } from '../protocol/step.ts';
import type { Deadline } from './deadline.ts';

const NOTHING: Uint8Array = new Uint8Array();

export function drive<Result>(stream: Duplex, steps: Steps<Result>, deadline: Deadline): Promise<Result> {
  return deadline.step<Result>((resolve, reject) => {
    let wanted = 0;
    let received = 0; // of the answer to what was last written
    let input = NOTHING;

    const advance = (): void => {
      try {
        for (;;) {
          if (wanted > 0) {
            const bytes = stream.read(wanted) as Buffer | null;
            // After the end of the stream, read() hands out what is left, however little.
            if (bytes === null) return;
            received += bytes.length;
            if (bytes.length < wanted) return closed();
            [input, wanted] = [bytes, 0];
          }
          const step = steps.next(input);
          if (step.done) return resolve(step.value);
          input = NOTHING;
          if ('write' in step.value) {
            stream.write(step.value.write);
            received = 0;
          } else {
            wanted = step.value.read;
            deadline.progress.phase = step.value.phase;
          }
        }
      } catch (error) {
        reject(error);
      }
    };
    const closed = (cause?: unknown): void => {
      const { progress } = deadline;
      const details = closedDetails(progress.phase, received + stream.readableLength);
      reject(new SocksError('ERR_SOCKS_PROXY_CLOSED', { ...progress, cause, ...details }));
    };
    const onEnd = (): void => closed();
    const onClose = (): void => closed();
    const onError = (error: Error): void => closed(error);

    stream.on('readable', advance).on('end', onEnd).on('close', onClose).on('error', onError);
    if (stream.destroyed || stream.readableEnded) closed(stream.errored ?? undefined);
    else advance();

    return () => {
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
