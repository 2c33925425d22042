// Programs in a process of their own, run to their end.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';

export interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  /** `null` when a signal ended the program. */
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What {@link runProgram} returns for a program that ended by itself and printed nothing. */
export const IN_ORDER: Ended = { stdout: '', stderr: '', status: 0, signal: null };

export interface ProgramOptions {
  readonly cwd?: string;
  /** The whole environment of the program. By default it has that of the tests. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Written to its standard input, which is then closed. */
  readonly input?: string;
  /** Milliseconds after which the program is killed. */
  readonly timeout?: number;
  /** Called with the process when it has been started. */
  readonly onStart?: (child: ChildProcess) => void;
}

export async function runProgram(
  command: string,
  args: readonly string[],
  { input = '', onStart, env = process.env, ...options }: ProgramOptions = {},
): Promise<Ended> {
  const child = spawn(command, args, { ...options, env: { ...env }, stdio: 'pipe', killSignal: 'SIGKILL' });
  child.stdin.on('error', () => {}).end(input);
  onStart?.(child);
  const [stdout, stderr, [status, signal]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>,
  ]);
  return { stdout, stderr, status, signal };
}

/**
 * Runs a program and returns what it printed.
 * @throws Error with all of its output, unless it ends by itself with status 0
 */
export async function outputOf(
  command: string,
  args: readonly string[],
  options: ProgramOptions = {},
): Promise<string> {
  const { stdout, stderr, status, signal } = await runProgram(command, args, options);
  if (status === 0) return stdout;
  throw new Error(`${command} ${args.join(' ')} ended with ${signal ?? status}\n${stdout}\n${stderr}`);
}
