// Servers that follow a script byte by byte, and programs in a process of their own, for several suites.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server, Socket } from 'node:net';

export const GRANTED = '05000001000000000000';
/** Granted for SOCKS5 without authentication, to an IPv4 destination. */
export const SUCCESS = [{ read: 3 }, { send: '0500' }, { read: 10 }, { send: GRANTED }] as const;

export interface Played {
  readonly port: number;
  /** Connections that are open now. */
  readonly open: ReadonlySet<Socket>;
  readonly url: string;
  readonly close: () => Promise<void>;
}

export type Read = (count: number) => Promise<string>;

/** A server that follows its script for each connection: `read` gives so many bytes in hex. */
export async function startPlay(
  play: (socket: Socket, read: Read, index: number) => unknown,
): Promise<Played> {
  const open = new Set<Socket>();
  let count = 0;
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket)).on('error', () => {});
    const read: Read = async (bytes) => {
      for (;;) {
        const chunk = socket.read(bytes) as Buffer | null;
        if (chunk) return chunk.toString('hex');
        await once(socket, 'readable');
      }
    };
    const played = async (): Promise<void> => {
      await play(socket, read, count++);
      socket.resume();
    };
    socket.on('end', () => socket.end());
    void played().catch(() => socket.destroy());
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  return { port, open, url: `socks5://127.0.0.1:${port}`, close: () => closeAll(server, open) };
}

export function send(socket: Socket, hex: string): void {
  socket.write(Buffer.from(hex.replaceAll(' ', ''), 'hex'));
}

async function closeAll(server: Server, open: ReadonlySet<Socket>): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  for (const socket of open) socket.destroy();
  await closed;
}

/** How a program has ended. `ended` is false when it had to be killed. */
export interface Ending {
  readonly ended: boolean;
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export const CORE: string = new URL('../dist/index.js', import.meta.url).href;

/** Runs a module in a process of its own, with all of core imported as `core`, and `args` in `process.argv.slice(1)`. */
export async function runProgram(
  source: string,
  args: readonly (string | number)[] = [],
  flags: readonly string[] = [],
): Promise<Ending> {
  const code = `import * as core from ${JSON.stringify(CORE)};\n${source}`;
  const options = [...flags, '--unhandled-rejections=strict', '--input-type=module', '-e', code, '--'];
  const child = spawn(process.execPath, [...options, ...args.map(String)], { stdio: 'pipe' });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  let ended = true;
  const timer = setTimeout(() => {
    ended = false;
    child.kill('SIGKILL');
  }, 10_000);
  const [status] = (await once(child, 'close')) as [number | null];
  clearTimeout(timer);
  return { ended, code: status, stdout, stderr };
}

/** The result of a program that ended by itself, without an error. */
export const IN_ORDER: Ending = { ended: true, code: 0, stdout: '', stderr: '' };
