// The command `socksify bridge`: its arguments, its signals and its lines.

import type { EnvironmentRoute } from '../environment.ts';
import { messageOf } from '../unknown.ts';
import { startBridge } from './bridge.ts';
import type { Bridge, BridgeOptions } from './bridge.ts';

export const USAGE = `socksify bridge [options]

A port on this machine in front of a SOCKS proxy that wants a password, for programs that cannot send one. The port speaks
SOCKS4, SOCKS4A, SOCKS5 and HTTP (CONNECT, and http:// in absolute form).

  --proxy URL            socks5://user:password@host:1080; repeated: a chain, first hop first; - reads a line of stdin
                         (default: SOCKS_PROXY, http_proxy and https_proxy, or ALL_PROXY, and NO_PROXY)
  --listen HOST:PORT     where to listen (default 127.0.0.1:1080); port 0 takes a free one; [::1]:1080 for IPv6
  --no-proxy LIST        what to connect to directly, as in NO_PROXY (default: NO_PROXY, if there is no --proxy)
  --user NAME:PASSWORD   what clients have to send; needed to listen beyond the loopback; SOCKS4 clients cannot
  --max-connections N    clients at a time (default 4096); the next ones wait
  --log                  print a line for each connection on stderr
  --help                 print this

The proxy gets the names, and they are never looked up here, with one exception: a destination that --no-proxy or NO_PROXY
lists by name. Prints "listening on HOST:PORT" when it is ready. After SIGTERM or SIGINT, open connections have 10 seconds
to end; a second signal ends the bridge at once. A password in an argument can be read in the list of processes: set
SOCKS_PROXY, or write --proxy -.
`;

const DRAIN = 10_000;

/** @param readLine the first line of stdin, for `--proxy -` */
export async function runBridge(
  args: readonly string[],
  fromEnvironment: () => EnvironmentRoute,
  readLine: () => string,
): Promise<void> {
  // The bridge does not end when the reader of its lines closes the pipe.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  // The list of processes shows this in place of the arguments, which can hold a password. `--proxy -` waits below.
  if (args.length > 0) process.title = 'socksify bridge';
  let bridge: Bridge;
  try {
    const options = parse(args, readLine);
    if (options === undefined) {
      process.stdout.write(USAGE);
      return;
    }
    bridge = await startBridge(options, fromEnvironment);
  } catch (error) {
    process.stderr.write(`socksify: ${messageOf(error)}\n`);
    process.exitCode = 2;
    return;
  }
  const { host, port } = bridge;
  endOnSignal(bridge);
  process.stdout.write(`listening on ${host.includes(':') ? `[${host}]` : host}:${port}\n`);
}

function endOnSignal(bridge: Bridge): void {
  let signals = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    signals++;
    if (signals > 1) {
      process.off('SIGTERM', onSignal).off('SIGINT', onSignal);
      process.kill(process.pid, signal);
      return;
    }
    void bridge.close({ drain: DRAIN }).then(() => process.exit(0));
  };
  process.on('SIGTERM', onSignal).on('SIGINT', onSignal);
}

const WITH_VALUE = new Set(['proxy', 'listen', 'no-proxy', 'user', 'max-connections']);

/**
 * @returns undefined for `--help`
 * @throws Error that does not repeat a value: it can be a password
 */
function parse(args: readonly string[], readLine: () => string): BridgeOptions | undefined {
  const values = new Map<string, string[]>();
  for (let at = 0; at < args.length; at++) {
    const [, name = '', inline] = /^--([a-z-]+)(?:=(.*))?$/s.exec(args[at] ?? '') ?? [];
    if (name === 'help' && inline === undefined) return undefined;
    if (name === 'log' && inline === undefined) values.set('log', []);
    else if (WITH_VALUE.has(name)) {
      const value = inline ?? args[++at];
      if (value === undefined) throw new Error(`--${name} needs a value`);
      values.set(name, [...(values.get(name) ?? []), value]);
    } else if (name !== '')
      throw new Error(`unknown option --${name.slice(0, 20)}; socksify bridge --help says which there are`);
    else
      throw new Error(
        'bridge takes options only, such as --proxy URL; socksify bridge --help says which there are',
      );
  }
  const once = (name: string): string | undefined => {
    const [value, ...more] = values.get(name) ?? [];
    if (more.length > 0) throw new Error(`--${name} is given twice: write it once`);
    return value;
  };
  const count = once('max-connections');
  if (count !== undefined && !/^(?:[1-9]\d{0,5}|1000000)$/.test(count))
    throw new Error('--max-connections needs a number from 1 to 1000000');
  return {
    proxy: values.get('proxy')?.map((value) => (value === '-' ? readLine() : value)),
    listen: once('listen'),
    noProxy: once('no-proxy'),
    user: once('user'),
    maxConnections: count === undefined ? undefined : Number(count),
    log: values.has('log') ? (line) => void process.stderr.write(`${line}\n`) : undefined,
  };
}
