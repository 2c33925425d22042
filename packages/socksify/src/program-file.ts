// The file of the program that the command runs: found as a shell finds it, and checked for whether the preload covers it.

import { accessSync, closeSync, constants, openSync, readSync, realpathSync, statSync } from 'node:fs';
import { basename, delimiter, join, sep } from 'node:path';

/** What is wrong with the arguments or the environment. */
export class UsageError extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** The file that a shell would run. */
export function locate(name: string, path: string): string {
  const candidates =
    name.includes('/') || name.includes(sep) ? [name] : path.split(delimiter).map((each) => join(each, name));
  const extensions = process.platform === 'win32' ? ['', '.exe', '.cmd', '.bat'] : [''];
  const found = candidates
    .flatMap((each) => extensions.map((extension) => each + extension))
    .filter((each) => statSync(each, { throwIfNoEntry: false })?.isFile());
  const executable = found.find(isExecutable);
  if (executable !== undefined) return executable;
  const hint = isScript(name) ? `: write socksify node ${name}` : '';
  if (found.length === 0) throw new UsageError(`${name}: command not found${hint}`, 127);
  throw new UsageError(`${name}: not executable${hint}`, 126);
}

/** True for a file that is a program for Node, and no command. */
function isScript(name: string): boolean {
  return /\.[cm]?[jt]s$/.test(name) && statSync(name, { throwIfNoEntry: false })?.isFile() === true;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Bun and Deno ignore the preload. A program that is not Node is not covered, but what it starts can be. */
export function checkProgram(name: string, path: string): void {
  const real = realpathSync(path);
  const head = readHead(real);
  const interpreter = head.startsWith('#!') ? (head.split('\n', 1)[0] ?? '') : '';
  const names = [name, real].map((each) => basename(each).replace(/\.(?:exe|cmd|bat)$/i, ''));
  const other =
    names.find((each) => /^(?:bun|bunx|deno)$/i.test(each)) ?? /\b(?:bunx?|deno)\b/.exec(interpreter)?.[0];
  if (other !== undefined) {
    throw new UsageError(
      `${other} ignores what socksify sets, and would bypass the proxy: run the program with Node`,
    );
  }
  // A shim of a package manager is a shell script that runs node.
  const isNode = names.some((each) => /^node(?:js)?\d*$/.test(each)) || /\bnode\b/.test(interpreter || '');
  const isShim = interpreter !== '' && /\bnode\b/.test(head);
  if (!isNode && !isShim) {
    process.stderr.write(
      `socksify: warning: ${name} is not Node: it is not covered, only the Node programs that it starts\n`,
    );
  }
}

export function readHead(path: string): string {
  const buffer = Buffer.alloc(4096);
  const file = openSync(path, 'r');
  try {
    return buffer.toString('latin1', 0, readSync(file, buffer));
  } finally {
    closeSync(file);
  }
}
