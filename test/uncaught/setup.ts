// Fails the test during which an exception or a rejection was caught by nobody. Vitest alone fails only the run.

import { setImmediate as turn } from 'node:timers/promises';
import { inspect } from 'node:util';
import { afterAll, afterEach } from 'vitest';

let uncaught: string[] = [];
const note = (error: unknown, origin: string): void => void uncaught.push(`${origin}: ${inspect(error)}`);
// The monitor sees everything before a handler can take it away, with --unhandled-rejections=strict rejections too.
process.on('uncaughtExceptionMonitor', note);

async function check(): Promise<void> {
  // Errors that this turn has left behind are reported in the next turn.
  await turn();
  const seen = uncaught;
  uncaught = [];
  if (seen.length > 0) throw new Error(`nobody caught ${seen.join('\n')}`);
}

afterEach(check);
afterAll(async () => {
  try {
    await check();
  } finally {
    process.off('uncaughtExceptionMonitor', note);
  }
});
