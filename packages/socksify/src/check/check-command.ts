// socksify check: reads its arguments, checks the proxy, and prints a table or JSON.

import { parseHost } from '@socksify/core';
import type { Destination } from '@socksify/core';
import { messageOf } from '../unknown.ts';
import { check } from './check.ts';
import { printAddress } from './printed.ts';
import { printTable } from './table.ts';

const USAGE = `socksify check [URL] [options]

Says what a proxy is, what it can do, and what is wrong with it. Status 0: usable; 1: not usable; 2: wrong arguments; 3: unknown.

  URL                 socks5://user:password@host:1080; - reads it from the first line of stdin
                      (default: SOCKS_PROXY)
  --target HOST:PORT  the destination to connect to through the proxy; without it, nothing beyond the proxy is contacted
  --timeout MS        for each probe (default 5000)
  --idle SECONDS      also watch for how long the proxy keeps an idle connection
  --json              print JSON
  --help              print this

A password in URL can be read in the list of processes: set SOCKS_PROXY, or write - for URL.
`;

const OPTIONS: ReadonlySet<string> = new Set(['target', 'timeout', 'idle']);
const ONE = 'a check is about one proxy: give one URL, and check each proxy of a chain or list by itself';

const FLAGS: ReadonlySet<string> = new Set(['json', 'help']);

interface Arguments {
  readonly url?: string;
  readonly options: Readonly<Record<string, string>>;
}

/** @param readLine reads the first line of stdin */
export async function run(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  readLine: () => string,
): Promise<void> {
  // A reader such as head may close the pipe early. This does not change the exit status.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  try {
    const { url, options } = parse(args);
    if ('help' in options) return void process.stdout.write(USAGE);
    const given = url === '-' ? readLine() : (url ?? (env['socks_proxy'] || env['SOCKS_PROXY']));
    if (!given) throw new Error('no proxy is given: write its URL, or set SOCKS_PROXY=socks5://host:1080');
    // A variable can hold a list of proxies with commas between them.
    if (/[,\s]\s*[a-z][a-z\d+.-]*:\/\//i.test(given.trim())) throw new Error(ONE);
    if (url !== undefined) process.title = 'socksify';
    const { target, timeout, idle } = options;
    const destination = target === undefined ? undefined : parseDestination(target);
    const report = await check(given, {
      target: destination,
      timeout: timeout === undefined ? undefined : toNumber('timeout', timeout, '5000 for five seconds'),
      idle: idle === undefined ? undefined : toNumber('idle', idle, '60 for a minute'),
    });
    process.exitCode = report.usable === null ? 3 : report.usable ? 0 : 1;
    const colours = process.stdout.isTTY && !env['NO_COLOR'];
    const table = (): string => printTable(report, destination && printAddress(destination), colours);
    process.stdout.write('json' in options ? `${JSON.stringify(report)}\n` : table());
  } catch (error) {
    process.stderr.write(`socksify check: ${messageOf(error)}\n`);
    process.exitCode = 2;
  }
}

/** Messages never repeat an argument: it may hold a password. */
function parse(args: readonly string[]): Arguments {
  const options: Record<string, string> = {};
  const urls: string[] = [];
  for (let at = 0; at < args.length; at++) {
    const argument = args[at] ?? '';
    const [, name = '', value] = /^--([\w-]+)(?:=(.*))?$/s.exec(argument) ?? [];
    if (Object.hasOwn(options, name)) throw new Error(`--${name} is given twice: write it once`);
    if (argument === '-' || !argument.startsWith('-')) urls.push(argument);
    else if (FLAGS.has(name) && value === undefined) options[name] = '';
    else if (OPTIONS.has(name)) {
      const given = value ?? args[++at];
      if (given === undefined) throw new Error(`--${name} needs a value; socksify check --help says which`);
      options[name] = given;
    } else
      throw new Error(`unknown option --${name.slice(0, 20)}; socksify check --help says which there are`);
  }
  const [url] = urls;
  if (urls.length > 1) throw new Error(ONE);
  return url === undefined ? { options } : { url, options };
}

function parseDestination(text: string): Destination {
  const [, bracketed, plain, port = ''] = /^(?:\[([^\]]*)\]|([^:]*)):(\d+)$/.exec(text) ?? [];
  const host = parseHost(bracketed ?? plain);
  const number = Number(port);
  if (host === undefined || !(number >= 1 && number <= 65_535)) {
    throw new Error('write --target as host:port, such as example.com:443 or [2001:db8::1]:443');
  }
  return { host, port: number };
}

function toNumber(name: string, text: string, example: string): number {
  const number = Number(text);
  if (/^\d+(?:\.\d+)?$/.test(text) && number > 0) return number;
  throw new Error(`write --${name} as a number above 0, such as ${example}`);
}
