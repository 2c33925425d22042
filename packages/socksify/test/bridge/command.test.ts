// The command `socksify bridge` in a process of its own: its arguments, its lines, its signals.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { closed, dialRaw, rejection, runProgram, startEcho } from '@socksify/support';
import type { Ended, RawClient, TcpDestination } from '@socksify/support';
import { startBridge } from 'socksify';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { COMMAND } from '../run-program.ts';

let upstream: SocksServer;
let echo: TcpDestination;
let proxy: string;
beforeAll(async () => {
  upstream = await startServer({ names: { 'origin.test': '127.0.0.1' }, users: { alice: 'hunter2' } });
  proxy = upstream.url('socks5', { username: 'alice', password: 'hunter2' });
  echo = await startEcho();
});
afterAll(async () => {
  await upstream.close();
  await echo.close();
});

type Env = Readonly<Record<string, string>>;

function run(args: readonly string[], env: Env = {}): Promise<Ended> {
  return runProgram(process.execPath, [COMMAND, 'bridge', ...args], { env, timeout: 10_000 });
}

interface Running {
  readonly child: ChildProcess;
  readonly host: string;
  readonly port: number;
}

async function start(args: readonly string[], env: Env = {}): Promise<Running> {
  const child = spawn(process.execPath, [COMMAND, 'bridge', ...args], { env, stdio: 'pipe' });
  child.stdin.end(`${proxy}\n`);
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
  const [, host = '', port] = /^listening on (\S+):(\d+)$/.exec(line) ?? [];
  return { child, host, port: Number(port) };
}

const REQUEST = `05 01 00 05 01 00 03 0b ${Buffer.from('origin.test').toString('hex')}`;

async function echoes({ port }: Running): Promise<boolean> {
  const client = await dialRaw(port);
  client.send(`${REQUEST} ${echo.hex} 68656c6c6f`);
  const answer = await client.receive(12 + 5);
  client.stream.destroy();
  return answer.endsWith('68656c6c6f');
}

describe('the route is', () => {
  test.each([
    ['--proxy', () => ({ args: ['--proxy', proxy] })],
    ['--proxy=', () => ({ args: [`--proxy=${proxy}`] })],
    ['the first line of stdin', () => ({ args: ['--proxy', '-'] })],
    ['SOCKS_PROXY', () => ({ env: { SOCKS_PROXY: proxy } })],
    ['all_proxy', () => ({ env: { all_proxy: proxy } })],
    [
      '--proxy, with an environment that is not valid',
      () => ({ args: ['--proxy', proxy], env: { SOCKS_PROXY: 'x' } }),
    ],
    ['a chain of --proxy', () => ({ args: ['--proxy', proxy, '--proxy', proxy] })],
  ])('that of %s', async (_, make) => {
    const { args = [], env = {} } = make() as { args?: string[]; env?: Env };
    const before = upstream.log.length;
    const running = await start(['--listen', '127.0.0.1:0', ...args], env);
    expect(await echoes(running)).toBe(true);
    expect(upstream.log.length - before).toBe(args.length === 4 ? 2 : 1);
    running.child.kill('SIGTERM');
    expect(await once(running.child, 'close')).toEqual([0, null]);
  });

  test.each([
    ['NO_PROXY beside SOCKS_PROXY is direct', [], true],
    ['NO_PROXY beside --proxy does not count', ['--proxy'], false],
    ['--no-proxy beside --proxy is direct', ['--no-proxy', '127.0.0.1', '--proxy'], true],
    ['--no-proxy beside SOCKS_PROXY counts in place of NO_PROXY', ['--no-proxy', '10.0.0.1'], false],
  ])('%s', async (_, args, direct) => {
    const before = upstream.log.length;
    const given = args.at(-1) === '--proxy' ? [...args, proxy] : args;
    const running = await start(['--listen', '127.0.0.1:0', ...given], {
      SOCKS_PROXY: proxy,
      NO_PROXY: '127.0.0.1',
    });
    const client = await dialRaw(running.port);
    client.send(`05 01 00 05 01 00 01 7f000001 ${echo.hex}`);
    expect((await client.receive(12)).slice(0, 8)).toBe('05000500');
    client.stream.destroy();
    expect(upstream.log.length - before).toBe(direct ? 0 : 1);
    running.child.kill('SIGTERM');
    await once(running.child, 'close');
  });
});

describe('refuses with status 2 and a sentence', () => {
  const secret = 'socks5://u:hunter2@h';
  test.each([
    ['no proxy', [], {}, 'SOCKS_PROXY=socks5://host:1080'],
    ['a proxy that is not SOCKS', ['--proxy', 'http://u:hunter2@h'], {}, 'use socks5'],
    ['a proxy that is no URL', ['--proxy', 'u:hunter2@h'], {}, 'socks5://'],
    ['one bad proxy of a chain', ['--proxy', secret, '--proxy', 'hunter2'], {}, 'socks5://'],
    ['a bad variable', [], { ALL_PROXY: 'http://u:hunter2@h' }, 'ALL_PROXY'],
    ['a bare port', ['--proxy', secret, '--listen', '1080'], {}, '127.0.0.1:1080'],
    ['no host', ['--proxy', secret, '--listen', ':1080'], {}, 'HOST:PORT'],
    ['an asterisk', ['--proxy', secret, '--listen', '*:1080'], {}, 'HOST:PORT'],
    ['IPv6 without brackets', ['--proxy', secret, '--listen', '::1:1080'], {}, '[IPv6]:PORT'],
    ['IPv4 in brackets', ['--proxy', secret, '--listen', '[127.0.0.1]:1080'], {}, 'HOST:PORT'],
    ['a port beyond 65535', ['--proxy', secret, '--listen', '127.0.0.1:65536'], {}, 'HOST:PORT'],
    ['a URL to listen on', ['--proxy', secret, '--listen', 'http://u:hunter2@h:1'], {}, 'HOST:PORT'],
    [
      'all addresses without a user',
      ['--proxy', secret, '--listen', '0.0.0.0:0'],
      {},
      '--user NAME:PASSWORD',
    ],
    ['all of IPv6 without a user', ['--proxy', secret, '--listen', '[::]:0'], {}, '--user NAME:PASSWORD'],
    ['a name without a user', ['--proxy', secret, '--listen', 'gate.test:0'], {}, '--user NAME:PASSWORD'],
    ['a user without a password', ['--proxy', secret, '--user', 'hunter2'], {}, 'name:password'],
    ['an empty name', ['--proxy', secret, '--user', ':hunter2'], {}, '1 to 255'],
    ['an empty password', ['--proxy', secret, '--user', 'bob:'], {}, '1 to 255'],
    ['a long password', ['--proxy', secret, '--user', `bob:hunter2${'x'.repeat(255)}`], {}, '1 to 255'],
    ['a limit of 0', ['--proxy', secret, '--max-connections', '0'], {}, 'number from 1'],
    ['a limit above the highest', ['--proxy', secret, '--max-connections=1000001'], {}, 'from 1 to 1000000'],
    ['an unknown option', ['--prox=socks5://u:hunter2@h'], {}, '--prox'],
    ['an option without its value', ['--proxy'], {}, '--proxy needs a value'],
    [
      'an option that is given twice',
      ['--proxy', secret, '--user', 'a:b', '--user', 'hunter2:b'],
      {},
      'twice',
    ],
    ['an argument that is no option', ['hunter2'], {}, '--help'],
  ])('%s', async (_, args, env, words) => {
    const ended = await run(args, env);
    expect(ended).toMatchObject({ status: 2, stdout: '' });
    expect(ended.stderr).toMatch(/^socksify: .+\n$/);
    expect(ended.stderr).toContain(words);
    expect(ended.stderr).not.toContain('hunter2');
  });

  test('a port that is in use, after it has accepted the highest limit', async () => {
    const listen = `127.0.0.1:${echo.port}`;
    const ended = await run(['--proxy', proxy, '--listen', listen, '--max-connections', '1000000']);
    expect(ended).toMatchObject({ status: 2, stdout: '' });
    expect(ended.stderr).toContain('EADDRINUSE');
  });
});

test('prints its help', async () => {
  const ended = await run(['--help']);
  expect(ended).toMatchObject({ status: 0, stderr: '' });
  expect(ended.stdout).toMatch(/^socksify bridge \[options\]/);
  expect(ended.stdout).toContain(
    'The proxy gets the names, and they are never looked up here, with one exception',
  );
});

test('listens on IPv6, and beyond the loopback with a user', async () => {
  const running = await start(['--proxy', proxy, '--listen', '[::1]:0']);
  expect(running.host).toBe('[::1]');
  running.child.kill('SIGINT');
  expect(await once(running.child, 'close')).toEqual([0, null]);
  const wide = await start(['--proxy', proxy, '--listen', '0.0.0.0:0', '--user', 'bob:secret']);
  expect(wide.host).toBe('0.0.0.0');
  wide.child.kill('SIGINT');
  await once(wide.child, 'close');
});

describe('SIGTERM', () => {
  /** A bridge with one tunnel that has got the signal: a client without a request is closed then. */
  async function startAndEnd(): Promise<{ running: Running; client: RawClient }> {
    const running = await start(['--proxy', proxy, '--listen', '127.0.0.1:0']);
    const client = await dialRaw(running.port);
    client.send(`${REQUEST} ${echo.hex}`);
    await client.receive(12);
    const idle = await dialRaw(running.port);
    running.child.kill('SIGTERM');
    expect(await idle.rest()).toBe('');
    idle.stream.destroy();
    return { running, client };
  }

  test('lets a tunnel come to its end, and ends with status 0', async () => {
    const { running, client } = await startAndEnd();
    await rejection(dialRaw(running.port));
    client.send('61');
    expect(await client.receive(1)).toBe('61');
    client.stream.end();
    expect(await once(running.child, 'close')).toEqual([0, null]);
    client.stream.destroy();
  });

  test('ends at once when it comes a second time', async () => {
    const { running, client } = await startAndEnd();
    running.child.kill('SIGTERM');
    expect(await once(running.child, 'close')).toEqual([null, 'SIGTERM']);
    client.stream.destroy();
  });
});

test('does not end when nobody reads its lines any more', async () => {
  const running = await start(['--proxy', proxy, '--listen', '127.0.0.1:0', '--log']);
  running.child.stdout?.destroy();
  running.child.stderr?.destroy();
  for (let i = 0; i < 3; i++) expect(await echoes(running)).toBe(true);
  running.child.kill('SIGTERM');
  expect(await once(running.child, 'close')).toEqual([0, null]);
});

test('shows no password in its lines or in the list of processes', async () => {
  const child = spawn(
    process.execPath,
    [COMMAND, 'bridge', '--proxy', proxy, '--listen', '127.0.0.1:0', '--user', 'bob:hunter2', '--log'],
    { env: {}, stdio: 'pipe' },
  );
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (data: Buffer) => (output += data.toString()));
  await once(child.stdout, 'data');
  if (process.platform === 'linux') {
    const shown = argumentsOfAll();
    expect(shown).toContainEqual(expect.stringMatching(/^socksify bridge/));
    expect(shown.filter((line) => line.includes('hunter2'))).toEqual([]);
  }
  const port = Number(/:(\d+)\n/.exec(output)?.[1]);
  const login = `05 01 02 01 03 626f62 07 ${Buffer.from('hunter2').toString('hex')}`;
  for (const request of [`${login} 05 01 00 03 01 61 0050`, '05 01 02 01 01 61 07 68756e74657232']) {
    const client = await dialRaw(port);
    client.send(request);
    await client.rest();
    client.stream.destroy();
    await closed(client.stream);
  }
  child.kill('SIGTERM');
  await once(child, 'close');
  expect(output.split('\n')).toHaveLength(4);
  expect(output).not.toContain('hunter2');
});

test.runIf(process.platform === 'linux')(
  'hides its arguments while it waits for the proxy on stdin',
  async () => {
    const child = spawn(
      process.execPath,
      [COMMAND, 'bridge', '--proxy', '-', '--listen', '127.0.0.1:0', '--user', 'bob:hunter3'],
      { env: {}, stdio: 'pipe' },
    );
    const shown = (): string[] => argumentsOfAll().filter((line) => line.includes('hunter3'));
    await expect.poll(shown).toEqual([]);
    child.stdin.end(`${proxy}\n`);
    await once(child.stdout, 'data');
    child.kill('SIGTERM');
    await once(child, 'close');
  },
);

/** The arguments of all processes. The numbers in /proc are others than those in a PID namespace. */
function argumentsOfAll(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
      } catch {
        return ''; // the process has ended
      }
    });
}

describe('startBridge()', () => {
  test.each([
    [{ proxy: 'http://h' }, 'ERR_SOCKS_INVALID_PROXY'],
    [{ listen: '0.0.0.0:0' }, 'ERR_INVALID_ARG_VALUE'],
    [{ maxConnections: 0 }, 'ERR_INVALID_ARG_VALUE'],
    [{ noProxy: null as never }, 'ERR_INVALID_ARG_VALUE'],
    [{ user: 'x' }, 'ERR_INVALID_ARG_VALUE'],
    [{ log: 'x' as never }, 'ERR_INVALID_ARG_VALUE'],
    [{ noProxy: 1 as never }, 'ERR_INVALID_ARG_VALUE'],
    [{ proxy: () => undefined, listen: 'x' }, 'ERR_INVALID_ARG_VALUE'],
  ])('rejects %j', async (options, code) => {
    expect(await rejection(startBridge({ proxy: 'socks5://h', ...options }))).toMatchObject({ code });
  });

  test('takes a selector, and its close() ends the bridge like Symbol.asyncDispose', async () => {
    const bridge = await startBridge({ proxy: () => proxy, listen: '127.0.0.1:0' });
    const client = await dialRaw(bridge.port);
    client.send(`${REQUEST} ${echo.hex}`);
    expect((await client.receive(12)).slice(0, 8)).toBe('05000500');
    client.stream.destroy();
    await bridge[Symbol.asyncDispose]();
    await bridge.close();
    await rejection(dialRaw(bridge.port));
  });
});
