// Runs a program under strace. For each section of the program, reads the addresses that its sockets connected to, and
// how often a name was looked up.

import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** What the system calls of one section did. */
export interface Section {
  /**
   * Destinations of connect(), sendto(), sendmsg() and sendmmsg(), each once, sorted: `127.0.0.1:80`, `[::1]:80`,
   * `unix:/path`.
   */
  readonly destinations: readonly string[];
  /** How often the system's resolver read its table of names, as it does first for every name. */
  readonly lookups: number;
}

/** A connect() to this folder, where nothing is, begins the section that is named behind it. */
export const MARKER = '/socksify-section/';

const TRACED = 'connect,sendto,sendmsg,sendmmsg,open,openat';

export function isTraceable(): boolean {
  return spawnSync('strace', ['-f', '-qq', '-o', '/dev/null', 'true']).status === 0;
}

/** Runs Node with these arguments; its standard output, and its sections in order. */
export async function traceNode(
  args: readonly string[],
): Promise<{ stdout: string; sections: ReadonlyMap<string, Section> }> {
  const dir = await mkdtemp(join(tmpdir(), 'socksify-trace-'));
  const output = join(dir, 'trace');
  try {
    const strace = ['-f', '-qq', '-s', '256', '-e', `trace=${TRACED}`, '-e', 'signal=none', '-o', output];
    const { stdout } = await promisify(execFile)('strace', [...strace, process.execPath, ...args], {
      timeout: 60_000,
    });
    return { stdout, sections: readTrace(await readFile(output, 'latin1')) };
  } finally {
    await rm(dir, { recursive: true });
  }
}

/**
 * Reads what `strace -f -o` wrote. Calls are counted where they begin: strace prints the arguments of a call before
 * another thread interrupts the line. So an `<unfinished ...>` line has the address, and a `<... resumed>` line adds
 * nothing.
 */
export function readTrace(text: string): ReadonlyMap<string, Section> {
  const sections = new Map<string, { destinations: Set<string>; lookups: number }>();
  let current = { destinations: new Set<string>(), lookups: 0 };
  sections.set('', current);
  for (const line of text.split('\n')) {
    const [, name = '', args = ''] = /^(?:\d+ +)?(?:[\d.:]+ +)?(\w+)\((.*)$/.exec(line) ?? [];
    if (name === 'open' || name === 'openat') {
      if (args.includes('"/etc/hosts"')) current.lookups++;
      continue;
    }
    if (!/^(?:connect|sendto|sendmsg|sendmmsg)$/.test(name)) continue;
    for (const destination of destinationsOf(args)) {
      if (destination.startsWith(`unix:${MARKER}`)) {
        current = { destinations: new Set(), lookups: 0 };
        sections.set(destination.slice(`unix:${MARKER}`.length), current);
      } else current.destinations.add(destination);
    }
  }
  const toSection = ({ destinations, lookups }: typeof current): Section => ({
    destinations: [...destinations].toSorted(),
    lookups,
  });
  return new Map([...sections].map(([name, section]) => [name, toSection(section)]));
}

/** The addresses in the arguments of a call; none if it uses a socket that is connected. */
function destinationsOf(args: string): string[] {
  // What was sent may look like an address.
  const bare = args.replaceAll(/"(?:[^"\\]|\\.)*"(?:\.\.\.)?(?=, \d|\}|, iov_len)/g, (text, at: number) =>
    /(?:sun_path=@?|inet_addr\(|inet_pton\(AF_INET6, )$/.test(args.slice(0, at)) ? text : '""',
  );
  return [...bare.matchAll(/\{sa_family=(AF_\w+)((?:[^{}"]|"(?:[^"\\]|\\.)*")*)/g)].flatMap(
    ([, family = '', rest = '']) => {
      // A netlink socket leads to the kernel alone; AF_UNSPEC dissolves a connection.
      if (family === 'AF_NETLINK' || family === 'AF_UNSPEC') return [];
      if (family === 'AF_UNIX') return [`unix:${/sun_path=@?"((?:[^"\\]|\\.)*)"/.exec(rest)?.[1]}`];
      const port = /sin6?_port=htons\((\d+)\)/.exec(rest)?.[1];
      const ipv4 = /inet_addr\("([^"]*)"\)/.exec(rest)?.[1];
      const ipv6 = /inet_pton\(AF_INET6, "([^"]*)"/.exec(rest)?.[1];
      if (port === undefined || (ipv4 ?? ipv6) === undefined) return [`${family}${rest}`];
      return [ipv4 === undefined ? `[${ipv6}]:${port}` : `${ipv4}:${port}`];
    },
  );
}
