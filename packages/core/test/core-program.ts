// Programs that use core, in a process of their own.

import { runProgram } from '@socksify/support';
import type { Ended } from '@socksify/support';

export const CORE: string = new URL('../dist/index.js', import.meta.url).href;

/** Runs a module with all of core imported as `core`, and with `args` in `process.argv.slice(1)`. */
export function runCore(
  source: string,
  args: readonly (string | number)[] = [],
  flags: readonly string[] = [],
): Promise<Ended> {
  const code = `import * as core from ${JSON.stringify(CORE)};\n${source}`;
  const options = [...flags, '--unhandled-rejections=strict', '--input-type=module', '-e', code, '--'];
  return runProgram(process.execPath, [...options, ...args.map(String)], { timeout: 10_000 });
}
