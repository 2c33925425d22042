// Programs that run in processes of their own: under strict, a proxy could not run in the same process.

import { fileURLToPath } from 'node:url';
import { CERTIFICATE_FILE, runProgram } from '@socksify/support';
import type { Ended, ProgramOptions } from '@socksify/support';
import type { Folder } from './folder.ts';
import type { Network } from './network.ts';

export const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
export const REGISTER: string = here('../dist/preload.cjs');
export const COMMAND: string = here('../dist/command.js');

/** Runs a program to its end. Its environment is what is given, and a PATH. */
export function execute(
  command: string,
  args: readonly string[],
  env: ProgramOptions['env'] = {},
  options: Omit<ProgramOptions, 'env'> = {},
): Promise<Ended> {
  const given = { PATH: process.env['PATH'], NODE_NO_WARNINGS: '1', ...env };
  return runProgram(command, args, { ...options, env: given });
}

/** Stands before each program: the addresses of the network, and a function that prints the result of an attempt. */
const PRELUDE = `
  const { HTTP, HTTPS, H2 } = process.env;
  const http1 = 'http://origin.test:' + HTTP + '/', https1 = 'https://origin.test:' + HTTPS + '/';
  const HEAD = 'GET / HTTP/1.0\\r\\n\\r\\n';
  const read = async (stream) => {
    let all = '';
    for await (const chunk of stream) all += chunk;
    return all.split('\\r\\n').at(-1);
  };
  const attempt = async (name, run) => {
    try {
      console.log(name + ': ' + (await run()));
    } catch (error) {
      let at = error;
      while (at.cause && !at.code) at = at.cause;
      console.log(name + ': ' + (at.code ?? at.message));
    }
  };
`;

/** Runs the source of an ES module, preloaded with socksify. */
export function run(
  network: Network,
  source: string,
  env: ProgramOptions['env'] = {},
  args: readonly string[] = ['--require', REGISTER],
): Promise<Ended> {
  return start(network, [...args, '--input-type=module', '--eval', PRELUDE + source], env);
}

/** The same for a program in a file: beside --input-type, Node runs no worker from a file. */
export function runFile(
  network: Network,
  write: Folder['write'],
  source: string,
  env: ProgramOptions['env'],
  args: readonly string[],
): Promise<Ended> {
  return start(network, [...args, write('program.mjs', PRELUDE + source)], env);
}

function start(
  { web, h2, url }: Network,
  args: readonly string[],
  env: ProgramOptions['env'],
): Promise<Ended> {
  const ports = { HTTP: `${web.http}`, HTTPS: `${web.https}`, H2: `${h2}` };
  const given = { SOCKS_PROXY: url, NODE_EXTRA_CA_CERTS: CERTIFICATE_FILE, ...ports, ...env };
  return execute(process.execPath, args, given, { cwd: here('../../../test/programs') });
}

/** The lines `name: result` of a program. */
export function results({ stdout, stderr }: Ended): Record<string, string> {
  const lines = stdout.trim().split('\n');
  const entries = lines.map((line) => {
    const at = line.lastIndexOf(': ');
    return [line.slice(0, at), line.slice(at + 2)];
  });
  return { ...(Object.fromEntries(entries) as Record<string, string>), ...(stderr && { stderr }) };
}
