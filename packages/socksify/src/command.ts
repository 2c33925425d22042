#!/usr/bin/env node
// The command: reads its arguments, prepares the environment, and becomes the program.

import { spawn } from 'node:child_process';
import { readFileSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import { stopPassingOn } from './children.ts';
import { routeFromEnvironment } from './environment.ts';
import { checkProgram, locate, readHead, UsageError } from './program-file.ts';
import { preloaded, settingsOf } from './settings.ts';
import { fieldOf, isFunction, messageOf } from './unknown.ts';

const USAGE = `socksify [options] [--] COMMAND [ARGS...]
socksify check [URL] [options]                       (socksify check --help)
socksify bridge [options]                            (socksify bridge --help)

Runs a Node program, or a program that runs Node, with its http, https, fetch, WebSocket and EventSource through a SOCKS
proxy.

  --proxy URL      socks5://user:password@host:1080; - reads it from the first line of stdin
                   (default: SOCKS_PROXY, http_proxy and https_proxy, or ALL_PROXY)
  --no-proxy LIST  what to connect to directly, in place of NO_PROXY, which counts with --proxy too
  --allow LIST     as --no-proxy, and paths of Unix sockets; added to NO_PROXY
  --strict         refuse TCP, DNS and UDP that would bypass the proxy
  --strict=tcp     tunnel all of TCP, refuse DNS and UDP
  --verbose        print a line for each tunnel on stderr
  --help           print this
  --version        print the version

A password in --proxy can be read in the list of processes: set SOCKS_PROXY, or write --proxy -.
`;

type Run = (args: readonly string[], env: NodeJS.ProcessEnv, readLine: () => string) => Promise<void>;

/** The commands of socksify itself, as the first argument. Each is loaded when it is used. */
const OWN: ReadonlyMap<string, () => Promise<{ run: Run }>> = new Map([
  ['check', () => import('./check/check-command.ts')],
  [
    'bridge',
    async () => {
      const { runBridge } = await import('./bridge/bridge-command.ts');
      return { run: (args, env, read) => runBridge(args, () => routeFromEnvironment(env), read) };
    },
  ],
]);

main(process.argv.slice(2));

function main(args: readonly string[]): void {
  const own = OWN.get(args[0] ?? '');
  if (own) return void runOwn(own, args.slice(1));
  try {
    const { options, command } = parse(args);
    if ('help' in options) return void process.stdout.write(USAGE);
    if ('version' in options) return void process.stdout.write(`${version()}\n`);
    const [name, ...rest] = command;
    if (name === undefined) throw new UsageError('no command is given; --help says how');
    // The message must not repeat it: it can hold a password.
    if (/:\/\/|:.*@/s.test(name))
      throw new UsageError('a URL stands in the place of the command: write --proxy in front of a proxy');
    const env = environment(options);
    const path = locate(name, env['PATH'] ?? '');
    checkProgram(name, path);
    start(path, [name, ...rest], env);
  } catch (error) {
    process.stderr.write(`socksify: ${messageOf(error)}\n`);
    process.exitCode = error instanceof UsageError ? error.exitCode : 1;
  }
}

async function runOwn(load: () => Promise<{ run: Run }>, args: readonly string[]): Promise<void> {
  const { run } = await load();
  await run(args, process.env, readLine);
}

type Options = Record<string, string>;

/** Options end at the first argument that is not an option, or behind `--`. */
function parse(args: readonly string[]): { options: Options; command: readonly string[] } {
  const withValue = new Set(['proxy', 'no-proxy', 'allow']);
  const withoutValue = new Set(['verbose', 'help', 'version']);
  const options: Options = {};
  for (let at = 0; at < args.length; at++) {
    const argument = args[at] ?? '';
    if (argument === '--') return { options, command: args.slice(at + 1) };
    if (!argument.startsWith('-')) return { options, command: args.slice(at) };
    const [, name = '', value] = /^--([\w-]+)(?:=(.*))?$/s.exec(argument) ?? [];
    // The last one would replace the others in silence, and two proxies look like a chain.
    if (Object.hasOwn(options, name)) throw new UsageError(`--${name} is given twice: write it once`);
    if (withValue.has(name)) {
      const given = value ?? args[++at];
      if (given === undefined) throw new UsageError(`--${name} needs a value`);
      options[name] = given;
    } else if (name === 'strict' && (value === undefined || value === 'tcp')) options[name] = value ?? '1';
    else if (withoutValue.has(name) && value === undefined) options[name] = '';
    else if (name === 'strict' || withoutValue.has(name))
      throw new UsageError(`--${name} does not take this value; --help says which`);
    // The argument itself may hold a password.
    else {
      const option = name === '' ? argument.slice(0, 2) : `--${name.slice(0, 20)}`;
      throw new UsageError(`unknown option ${option}; --help says which there are`);
    }
  }
  return { options, command: [] };
}

/** @throws Error for a proxy that is missing or wrong; it names the option or the variable */
function environment(options: Options): Record<string, string> {
  const settings = settingsOf(process.env);
  const set = (name: string, value: string): void => {
    for (const key of Object.keys(settings)) if (key.toUpperCase() === name) delete settings[key];
    settings[name] = value;
  };
  const { proxy, allow, strict } = options;
  if (proxy !== undefined) {
    // The list of processes shows this in place of the arguments, which can hold a password.
    process.title = 'socksify';
    const url = proxy === '-' ? readLine() : proxy;
    // An empty variable counts as none, and another variable would be used in silence.
    if (url === '') throw new UsageError('--proxy is empty: write socks5://host:1080');
    set('SOCKS_PROXY', url);
  }
  if (options['no-proxy'] !== undefined) set('NO_PROXY', options['no-proxy']);
  if (allow !== undefined) set('SOCKSIFY_ALLOW', allow);
  if (strict !== undefined) set('SOCKSIFY_STRICT', strict);
  if ('verbose' in options) set('SOCKSIFY_VERBOSE', '1');
  try {
    routeFromEnvironment(settings);
  } catch (error) {
    if (proxy === undefined) throw error;
    // The program gets the option as a variable, which the user has not set.
    const message = messageOf(error).replace('environment variable SOCKS_PROXY', '--proxy');
    throw new Error(message, { cause: error });
  }
  return preloaded(process.env, settings);
}

/** Reads the first line of stdin, byte by byte, because the rest belongs to the program. */
function readLine(): string {
  const bytes: number[] = [];
  const buffer = Buffer.alloc(1);
  while (readSync(0, buffer) === 1) {
    const [byte = 0] = buffer;
    if (byte === 0x0a) break;
    bytes.push(byte);
  }
  return Buffer.from(bytes).toString().trim();
}

/** Signals that a terminal sends to every process in front of it. */
const OF_TERMINAL: ReadonlySet<NodeJS.Signals> = new Set(['SIGINT', 'SIGQUIT', 'SIGWINCH']);

function start(path: string, [name = '', ...args]: readonly string[], env: Record<string, string>): void {
  stopPassingOn();
  const execve = fieldOf(process, 'execve');
  // The system runs binaries and scripts with an interpreter line; shells run others.
  if (
    isFunction(execve) &&
    /^(?:#!|\u007fELF|[\u00ca-\u00fe])/.test(readHead(path)) &&
    process.platform !== 'win32'
  ) {
    process.removeAllListeners('warning'); // that execve is experimental does not concern the program
    Reflect.apply(execve, process, [path, [name, ...args], env]);
  }
  const shell = process.platform === 'win32' && /\.(?:cmd|bat)$/i.test(path);
  const child = spawn(shell ? `"${path}"` : path, shell ? args.map(quote) : args, {
    stdio: 'inherit',
    env,
    argv0: name,
    shell,
  });
  // The keys of a terminal, and its new size, reach the child without help. Two of them would be one too many: the second
  // Ctrl-C ends many programs at once.
  const hasTerminal = [0, 1, 2].some((stream) => isatty(stream));
  const forward = (signal: NodeJS.Signals): void => {
    if (!hasTerminal || !OF_TERMINAL.has(signal)) child.kill(signal);
  };
  const signals = (
    ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2', 'SIGWINCH'] as const
  ).filter((signal) => signal in constants.signals);
  for (const signal of signals) process.on(signal, forward);
  child.on('error', (error) => {
    process.stderr.write(`socksify: ${error.message}\n`);
    process.exitCode = 126;
  });
  child.on('exit', (status, signal) => {
    for (const each of signals) process.off(each, forward);
    if (signal) process.kill(process.pid, signal);
    else process.exitCode = status ?? 1;
  });
}

/** For cmd.exe. */
function quote(argument: string): string {
  return `"${argument.replaceAll('"', '""')}"`;
}

function version(): string {
  const manifest = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  const { version: number }: { version: string } = JSON.parse(manifest);
  return number;
}
