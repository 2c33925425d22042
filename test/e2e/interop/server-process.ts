// Processes of one server: started in a mount namespace with the names of machine.ts, awaited until they accept
// connections, ended by their process group. Nothing is started where a packet could leave the machine.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { GROUP, HOSTS, NSSWITCH, PASSWD, SHADOW } from './machine.ts';
import type { InteropServer, RunningServer } from './server-traits.ts';

/** Milliseconds to start, to end after SIGTERM, and to end after SIGKILL. */
const DEADLINE = { start: 15_000, term: 2000, kill: 5000 } as const;
const POLL = 10;

const SEARCH = `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`;

// The bind mounts exist for this process and its children only.
const WITH_NAMES = `
cd "$0" &&
for name in hosts nsswitch.conf passwd group shadow; do mount --bind "$name" "/etc/$name" || exit; done &&
exec "$@"`;

/** The port or path at which a process accepts connections when it has started. */
export type Answer = { readonly port: number } | { readonly path: string };

/** What `setUp` says of its server. */
export type Entry = Answer & Pick<RunningServer, 'credentials' | 'tls'>;

type Command = readonly [program: string, ...args: string[]];

export interface ServerSetup {
  /** A folder of the server's own, mode 0700. */
  readonly dir: string;
  /** Writes a file in it and returns its path. */
  readonly write: (name: string, text: string) => Promise<string>;
  /** Runs a program to its end. */
  readonly run: (...command: Command) => Promise<void>;
  /** Starts a program and waits until it answers. */
  readonly start: (answer: Answer, ...command: Command) => Promise<void>;
}

type Description = Omit<InteropServer, 'start'> & { readonly setUp: (setup: ServerSetup) => Promise<Entry> };

/** Makes a server of the steps that set it up. It can be started several times. */
export function defineServer({ setUp, ...description }: Description): InteropServer {
  return { ...description, start: () => launch(setUp, description) };
}

/** True if this machine has no network but the loopback. */
export function isIsolated(): boolean {
  const addresses = Object.values(networkInterfaces()).flat();
  return addresses.length > 0 && addresses.every((address) => address?.internal);
}

/** The full path of a program, also for users without the sbin folders in their PATH. */
export function locate(binary: string): string | undefined {
  return SEARCH.split(':')
    .map((folder) => join(folder, binary))
    .find((path) => existsSync(path));
}

async function launch(
  setUp: Description['setUp'],
  { name, supports }: Pick<InteropServer, 'name' | 'supports'>,
): Promise<RunningServer> {
  if (!isIsolated()) throw new Error(`${name} starts in a network namespace only: use namespace.sh`);
  const dir = await mkdtemp(join(tmpdir(), 'interop-'));
  const running = new Set<Child>();
  const logs: Child['log'][] = [];
  const log = (): string => logs.map((read) => read()).join('');
  const stop = async (): Promise<void> => {
    try {
      await Promise.all(Array.from(running, (child) => child.stop()));
      running.clear();
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
  };
  const begin = (command: Command): Child => {
    const child = startChild(dir, command);
    running.add(child);
    logs.push(child.log);
    return child;
  };
  const write = async (file: string, text: string): Promise<string> => {
    const path = join(dir, file);
    await writeFile(path, text);
    return path;
  };
  const setup: ServerSetup = {
    dir,
    write,
    run: async (...command) => {
      const child = begin(command);
      const code = await child.ended;
      running.delete(child);
      if (code !== 0) throw new Error(`${command[0]} ended with ${code}`);
    },
    start: (answer, ...command) => untilAnswers(answer, begin(command), command[0]),
  };
  try {
    await Promise.all([
      write('hosts', HOSTS),
      write('nsswitch.conf', NSSWITCH),
      write('passwd', PASSWD),
      write('group', GROUP),
      write('shadow', SHADOW),
    ]);
    const entry = { host: '127.0.0.1', port: 1080, ...(await setUp(setup)) };
    return { ...entry, supports, pids: Array.from(running, ({ pid }) => pid), stop, log };
  } catch (error) {
    await stop();
    throw new Error(`${name} did not start\n${log()}`, { cause: error });
  }
}

interface Child {
  readonly pid: number;
  /** Exit code or signal, as soon as there is one. */
  readonly ended: Promise<number | string>;
  /** The same, without waiting. */
  readonly end: () => number | string | undefined;
  readonly log: () => string;
  readonly stop: () => Promise<void>;
}

function startChild(dir: string, [binary, ...args]: Command): Child {
  const program = locate(binary) ?? binary;
  const child: ChildProcess = spawn('unshare', ['--mount', 'sh', '-c', WITH_NAMES, dir, program, ...args], {
    cwd: dir,
    env: { PATH: SEARCH, HOME: dir, LC_ALL: 'C' },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  let text = '';
  const collect = (chunk: string): void => {
    text += chunk;
  };
  child.stdout?.setEncoding('utf8').on('data', collect);
  child.stderr?.setEncoding('utf8').on('data', collect);
  let end: number | string | undefined;
  const ended = new Promise<number | string>((resolve) => {
    const settle = (how: number | string): void => {
      end ??= how;
      resolve(how);
    };
    child.once('error', (error) => settle(error.message));
    child.once('exit', (code, signal) => settle(code ?? signal ?? 'no exit code'));
  });
  const pid = child.pid ?? 0;
  return { pid, ended, end: () => end, log: () => text, stop: () => endGroup(pid) };
}

// The whole group is ended, because a child of danted can outlive its parent.
async function endGroup(pid: number): Promise<void> {
  if (pid === 0) return;
  for (const [signal, patience] of [
    ['SIGTERM', DEADLINE.term],
    ['SIGKILL', DEADLINE.kill],
  ] as const) {
    const deadline = Date.now() + patience;
    if (!signalGroup(pid, signal)) return;
    while (Date.now() < deadline) {
      await delay(POLL);
      if (!signalGroup(pid, 0)) return;
    }
  }
  throw new Error(`process group ${pid} cannot be ended`);
}

/** Returns false when no process of the group is left. */
export function signalGroup(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

async function untilAnswers(answer: Answer, { end }: Child, name: string): Promise<void> {
  const deadline = Date.now() + DEADLINE.start;
  while (!(await accepts(answer))) {
    if (end() !== undefined) throw new Error(`${name} ended with ${end()}`);
    if (Date.now() > deadline) throw new Error(`${name} does not answer`);
    await delay(POLL);
  }
}

function accepts(answer: Answer): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', ...answer });
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
