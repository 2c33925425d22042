// SOCKS clients that others wrote: the command line for one HTTP request, which of the four schemes each supports, what
// its exit codes mean, and what has to be installed.

import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isIsolated, locate } from './server-process.ts';

/** `4` and `5` leave the look-up to the client, `4a` and `5h` to the proxy. */
export type Scheme = '4' | '4a' | '5' | '5h';

export interface ProgramRequest {
  readonly scheme: Scheme;
  /** The proxy's port on 127.0.0.1. */
  readonly proxy: number;
  /** `user` or `user:password`. */
  readonly login: string | undefined;
  readonly host: string;
  readonly port: number;
}

export interface Outcome {
  readonly code: number | string;
  readonly stdout: string;
  readonly stderr: string;
}

interface Command {
  readonly argv: readonly [program: string, ...args: string[]];
  readonly stdin?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface Program {
  readonly name: string;
  readonly schemes: readonly Scheme[];
  /** SOCKS5 with user and password. */
  readonly logsIn: boolean;
  /** What an exit that is not 0 means. */
  readonly meaning: (outcome: Outcome) => string;
  readonly command: (request: ProgramRequest, folder: string) => Command;
  /** What is missing here, if anything. */
  readonly lacks: () => string | undefined;
}

const REQUEST = 'GET / HTTP/1.0\r\n\r\n';

function bracketed(host: string): string {
  return host.includes(':') ? `[${host}]` : host;
}

function lacks(...binaries: readonly string[]): string | undefined {
  const absent = binaries.filter((binary) => locate(binary) === undefined);
  return absent.length > 0 ? `not installed: ${absent.join(', ')}` : undefined;
}

const CURL_EXITS: Readonly<Record<string, string>> = { 7: 'not connected', 97: 'handshake failed' };
const CURL_OPTIONS = { 4: '--socks4', '4a': '--socks4a', 5: '--socks5', '5h': '--socks5-hostname' } as const;

/** @param login how a user and a password are passed */
function defineCurl(name: string, login: 'option' | 'basic'): Program {
  return {
    name,
    schemes: login === 'basic' ? ['5', '5h'] : ['4', '4a', '5', '5h'],
    logsIn: true,
    meaning: ({ code }) => CURL_EXITS[code] ?? '?',
    command: ({ scheme, proxy, login: given, host, port }) => ({
      argv: [
        'curl',
        '-q',
        '-sS',
        '--noproxy',
        '',
        '--max-time',
        '8',
        ...(login === 'basic' ? ['--socks5-basic'] : []),
        CURL_OPTIONS[scheme],
        `${given === undefined ? '' : `${given}@`}127.0.0.1:${proxy}`,
        `http://${bracketed(host)}:${port}/`,
      ],
    }),
    lacks: () => lacks('curl'),
  };
}

const PYSOCKS = `
import socks, sys
scheme, proxy, user, password, host, port = sys.argv[1:]
s = socks.socksocket()
s.settimeout(8)
s.set_proxy(socks.SOCKS4 if scheme[0] == '4' else socks.SOCKS5, '127.0.0.1', int(proxy), scheme in ('4a', '5h'),
            user or None, password or None)
s.connect((host, int(port)))
s.sendall(${JSON.stringify(REQUEST)}.encode())
sys.stdout.write(s.makefile().read())
`;

// The interpreter that comes first in the PATH need not be the one that packages were installed for.
function systemPython(module = 'sys'): string | undefined {
  return [locate('python3') ?? '', '/usr/bin/python3'].find((python) => {
    try {
      execFileSync(python, ['-c', `import ${module}`], { stdio: 'ignore' });
      return true;
    } catch {
      return false;
    }
  });
}

function lacksPython(module?: string): string | undefined {
  if (systemPython(module) !== undefined) return undefined;
  return `not installed: ${module === undefined ? 'python3' : `python3-${module}`}`;
}

const pysocks: Program = {
  name: 'PySocks',
  schemes: ['4', '4a', '5', '5h'],
  logsIn: true,
  meaning: ({ stderr }) => /^(?:socks|socket)\.(\w+)/m.exec(stderr)?.[1] ?? '?',
  command: ({ scheme, proxy, login = '', host, port }) => {
    const [user = '', password = ''] = login.split(':');
    return {
      argv: [systemPython('socks') ?? '', '-c', PYSOCKS, scheme, `${proxy}`, user, password, host, `${port}`],
    };
  },
  lacks: () => lacksPython('socks'),
};

const netcat: Program = {
  name: 'nc (OpenBSD)',
  schemes: ['4', '5h'],
  logsIn: false,
  meaning: ({ stderr }) => /([^:]+)$/.exec(stderr.trim())?.[1]?.trim() ?? '?',
  command: ({ scheme, proxy, host, port }) => ({
    argv: ['nc', '-w', '8', '-X', scheme.slice(0, 1), '-x', `127.0.0.1:${proxy}`, host, `${port}`],
    stdin: REQUEST,
  }),
  // Other programs of that name have no -X.
  lacks: () =>
    lacks('nc') ??
    (/\[-X proxy_protocol\]/.test(usage('nc', '-h')) ? undefined : 'nc is not that of OpenBSD'),
};

function usage(program: string, option: string): string {
  try {
    return execFileSync('sh', ['-c', '"$0" "$1" 2>&1', program, option], { encoding: 'utf8' });
  } catch (error) {
    return String((error as { stdout?: unknown }).stdout);
  }
}

const PLAIN_PYTHON = `
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 8)
s.sendall(${JSON.stringify(REQUEST)}.encode())
sys.stdout.write(s.makefile().read())
`;

// Below it runs a program that has no support for proxies.
const torsocks: Program = {
  name: 'torsocks',
  schemes: ['5h'],
  logsIn: true,
  meaning: ({ stderr }) => /^(?:socket\.)?(\w+(?:Error|error)\b.*)$/m.exec(stderr)?.[1] ?? '?',
  command: ({ proxy, login, host, port }, folder) => {
    const [user = '', password = ''] = login?.split(':') ?? [];
    const file = join(folder, `torsocks-${proxy}`);
    writeFileSync(file, `TorAddress 127.0.0.1\nTorPort ${proxy}\n`);
    return {
      argv: [
        'torsocks',
        ...(login === undefined ? [] : ['-u', user, '-p', password]),
        systemPython() ?? '',
        '-c',
        PLAIN_PYTHON,
        host,
        `${port}`,
      ],
      env: { TORSOCKS_CONF_FILE: file },
    };
  },
  lacks: () => lacks('torsocks') ?? lacksPython(),
};

export const PROGRAMS: readonly Program[] = [
  defineCurl('curl', 'option'),
  defineCurl('curl --socks5-basic', 'basic'),
  pysocks,
  netcat,
  torsocks,
];

/**
 * Does a suite have to leave this program out? Then says aloud why.
 * @throws instead under CI=true, where nothing may be left out
 */
export function mustSkipProgram({ name, lacks: problem }: Program): boolean {
  const reason =
    problem() ?? (isIsolated() ? undefined : 'needs a network namespace, run the tests through namespace.sh');
  if (reason === undefined) return false;
  const message = `${name}: ${reason}`;
  if (process.env['CI'] === 'true') throw new Error(message);
  console.warn(`SKIPPED ${message}`);
  return true;
}

// The bind mounts exist for the program alone.
const WITH_NAMES =
  'cd "$0" && mount --bind hosts /etc/hosts && mount --bind nsswitch.conf /etc/nsswitch.conf && exec "$@"';

/** A folder in which programs run. The programs know the names of `hosts`, and no others. */
export interface ProgramFolder {
  readonly send: (program: Program, request: ProgramRequest) => Promise<Outcome>;
  readonly remove: () => void;
}

export function openProgramFolder(hosts: string): ProgramFolder {
  const folder = mkdtempSync(join(tmpdir(), 'programs-'));
  writeFileSync(join(folder, 'hosts'), hosts);
  writeFileSync(join(folder, 'nsswitch.conf'), 'hosts: files\n');
  const send: ProgramFolder['send'] = (program, request) =>
    new Promise((resolve) => {
      const { argv, stdin = '', env } = program.command(request, folder);
      const child = execFile(
        'unshare',
        ['--mount', 'sh', '-c', WITH_NAMES, folder, ...argv],
        { timeout: 10_000, env: { PATH: process.env['PATH'] ?? '', HOME: folder, LC_ALL: 'C', ...env } },
        (error, stdout, stderr) => {
          resolve({ code: error ? (error.code ?? error.signal ?? 'no exit code') : 0, stdout, stderr });
        },
      );
      child.stdin?.on('error', () => undefined).end(stdin);
    });
  return { send, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
