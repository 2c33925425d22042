// socksify check: arguments, what it prints, and its status.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { deferred, runProgram, startEcho, startRawServer } from '@socksify/support';
import type { Ended, TcpDestination } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { COMMAND } from './run-program.ts';

const PASSWORD = 'pa:ss/w@rd é';
const FORMS = [PASSWORD, encodeURIComponent(PASSWORD), 'hunter2'].concat(
  Buffer.from(PASSWORD).toString('base64'),
  Buffer.from(`alice:${PASSWORD}`).toString('base64'),
);
const ALICE = { username: 'alice', password: PASSWORD };

let proxy: SocksServer;
let echo: TcpDestination;
beforeAll(async () => {
  proxy = await startServer({ names: { 'site.test': '127.0.0.1' }, users: { alice: PASSWORD } });
  echo = await startEcho();
});
afterAll(async () => {
  await proxy.close();
  await echo.close();
});

const PATH = process.env['PATH'];

/** Runs the command to its end, and looks for the password in all that it prints. */
async function check(args: readonly string[], env: Record<string, string> = {}, input = ''): Promise<Ended> {
  const ended = await runProgram(process.execPath, [COMMAND, 'check', ...args], {
    env: { PATH, ...env },
    input,
  });
  for (const form of FORMS) expect(ended.stdout + ended.stderr).not.toContain(form);
  return ended;
}

describe('socksify check prints', () => {
  test('a table without colours when no terminal reads it, and ends with status 0', async () => {
    const { stdout, stderr, status } = await check([
      proxy.url('socks5', ALICE),
      `--target=site.test:${echo.port}`,
      '--idle',
      '0.05',
    ]);
    expect([stderr, status]).toEqual(['', 0]);
    const lines = stdout.split('\n').map((line) => line.trim().split(/\s{2,}/));
    const table = Object.fromEntries(lines.map(([label, value]) => [label, value])) as Record<string, string>;
    expect(stdout.startsWith(`${proxy.url('socks5')}: usable\n`)).toBe(true);
    expect(table).toMatchObject({
      'looks like': 'unknown',
      TLS: 'no',
      SOCKS5: 'yes',
      methods: 'user and password',
      credentials: 'accepted',
      'resolves names': 'yes',
      target: `site.test:${echo.port} answers`,
      success: 'reported when the proxy has connected',
      pipelining: 'yes',
    });
    expect(table['round trip']).toMatch(/^[\d.]+ ms$/);
    expect(table['idle']).toMatch(/^still open after \d+ ms$/);
    expect(table['time']).toMatch(/^dial [\d.]+ ms \(1 RTT\), greeting .*, authentication .*, request /);
    expect(stdout).not.toContain('\u001b');
  });

  test('errors with their hints below the table, and ends with status 1', async () => {
    const ended = await check([proxy.url('socks5', { username: 'alice', password: 'hunter2' })]);
    expect(ended).toMatchObject({ stderr: '', status: 1 });
    expect(ended.stdout).toContain(`${proxy.url('socks5')}: not usable\n`);
    expect(ended.stdout).toContain(
      '  authentication: ERR_SOCKS_AUTH_FAILED in authentication: check user and password; percent-encode them in the URL\n',
    );
    const closed = await check(['socks5://alice:hunter2@127.0.0.1:9', '--timeout', '1000']);
    expect(closed).toMatchObject({
      status: 1,
      stdout:
        'socks5://127.0.0.1:9: not usable\n' +
        '  dial: ERR_SOCKS_PROXY_UNREACHABLE in dial: nothing listens on this port: start the proxy, or check the port\n',
    });
  });

  test('unknown with status 3 if a proxy of SOCKS4 refuses what does not exist', async () => {
    const { stdout, status } = await check([proxy.url('socks4', { username: 'alice' })]);
    expect(stdout).toContain(': unknown\n');
    expect(stdout).toContain('give --target a destination that answers\n');
    expect(status).toBe(3);
  });

  test('JSON in one line with --json, with the status of the table', async () => {
    const good = await check(['--json', proxy.url('socks5', ALICE)]);
    expect(good.stdout).toMatch(/^\{.*\}\n$/);
    expect(JSON.parse(good.stdout)).toMatchObject({ proxy: proxy.url('socks5'), usable: true, target: null });
    expect(good.status).toBe(0);
    const bad = await check(['--json', proxy.url('socks5')]);
    expect(JSON.parse(bad.stdout)).toMatchObject({ usable: false, methods: [2] });
    expect(bad.status).toBe(1);
  });

  test('colours on a terminal, and none there with NO_COLOR', async () => {
    // The program script gives the command a terminal of its own.
    const inTerminal = (env: Record<string, string>): Promise<Ended> =>
      runProgram('script', ['-qec', '"$NODE" "$COMMAND" check "$URL"', '/dev/null'], {
        env: { PATH, NODE: process.execPath, COMMAND, URL: proxy.url('socks5', ALICE), ...env },
      });
    const coloured = await inTerminal({});
    expect(coloured.stdout).toContain('\u001b[32musable\u001b[39m');
    const plain = await inTerminal({ NO_COLOR: '1' });
    expect(plain.stdout).toContain(': usable');
    expect(plain.stdout).not.toContain('\u001b[');
  });

  test('its help', async () => {
    const { stdout, status } = await check(['--help']);
    expect(stdout).toMatch(/^socksify check \[URL\] \[options\]\n/);
    expect(status).toBe(0);
  });
});

describe('socksify check takes the proxy', () => {
  test('from the argument, from stdin for -, and from SOCKS_PROXY without an argument', async () => {
    const url = proxy.url('socks5', ALICE);
    for (const [args, env, input] of [
      [[], { SOCKS_PROXY: url }, ''],
      [['-'], {}, `${url}\nrest\n`],
      [[url], { SOCKS_PROXY: 'socks5://other' }, ''],
    ] as const) {
      expect(await check(['--json', ...args], env, input)).toMatchObject({ status: 0, stderr: '' });
    }
  });
});

describe('socksify check ends with status 2, and says what to write', () => {
  test.concurrent.each([
    ['no proxy', [], 'write its URL, or set SOCKS_PROXY=socks5://host:1080'],
    ['an HTTP proxy', ['http://u:hunter2@h'], 'use socks5, socks4a, socks4 or socks5s'],
    ['a proxy without a scheme', ['127.0.0.1:1080'], 'write socks5:// in front of the host'],
    ['two proxies', ['socks5://u:hunter2@a', 'socks5://b'], 'check each proxy of a chain or list by itself'],
    [
      'a list of proxies',
      ['socks5://u:hunter2@a, socks5://b'],
      'check each proxy of a chain or list by itself',
    ],
    ['a list of hosts', ['socks5://u:hunter2@a,b'], 'a list is not a proxy'],
    ['a target without a port', ['socks5://h', '--target', 'hunter2'], '--target as host:port'],
    ['a target with a bare IPv6 address', ['socks5://h', '--target', '::1:80'], '[2001:db8::1]:443'],
    ['a target with port 0', ['socks5://h', '--target', 'a:0'], '--target as host:port'],
    ['a name for SOCKS4', ['socks4://h', '--target', 'a.test:80'], 'socks4a:// or socks5://'],
    ['IPv6 for SOCKS4', ['socks4a://h', '--target', '[::1]:80'], 'use socks5://'],
    ['a time that is no number', ['socks5://h', '--timeout', 'hunter2'], '--timeout as a number above 0'],
    ['a time of 0', ['socks5://h', '--timeout=0'], '--timeout as a number above 0'],
    ['an idle time below 0', ['socks5://h', '--idle=-1'], '--idle as a number above 0'],
    ['an option without its value', ['socks5://h', '--target'], '--target needs a value'],
    ['an unknown option', ['socks5://h', '--proxy=hunter2'], 'unknown option --proxy'],
    [
      'an option that is given twice',
      ['socks5://h', '--idle=1', '--idle', 'hunter2'],
      '--idle is given twice',
    ],
    ['a value for --json', ['socks5://h', '--json=hunter2'], 'unknown option --json'],
  ])('for %s', async (_, args, words) => {
    const ended = await check(args);
    expect(ended).toMatchObject({ status: 2, stdout: '' });
    expect(ended.stderr).toMatch(/^socksify check: [^\n]+\n$/);
    expect(ended.stderr).toContain(words);
  });
});

test('the code of a check is loaded by the command and by checkProxy() when it is used, and by the preload never', () => {
  const code = (file: string): string => readFileSync(new URL(`../dist/${file}`, import.meta.url), 'utf8');
  const imported = new Set(['index.js', 'command.js', 'register.js', 'preload.cjs']);
  for (const file of imported) {
    for (const [, next = ''] of code(file).matchAll(/(?:from|import) ?"\.\/([\w.-]+)"/g)) imported.add(next);
  }
  // The name that the probes request is a mark of the code of check.
  const holding = readdirSync(new URL('../dist', import.meta.url))
    .filter((file) => /\.c?js$/.test(file) && code(file).includes('socksify-check.invalid'))
    .toSorted();
  expect(holding).toEqual(['check.js']);
  expect([...imported].filter((file) => file.startsWith('check'))).toEqual([]);
});

describe('the process of socksify check', () => {
  test('ends at once by SIGINT, and prints nothing', async () => {
    const connected = deferred<void>();
    const silent = await startRawServer(() => connected.resolve());
    const child = spawn(process.execPath, [COMMAND, 'check', silent.url], { env: { PATH } });
    const output = Promise.all([text(child.stdout), text(child.stderr)]);
    const ended = once(child, 'close');
    await connected.promise;
    child.kill('SIGINT');
    expect(await ended).toEqual([null, 'SIGINT']);
    expect(await output).toEqual(['', '']);
    await silent.close();
  });

  test.each([[[]], [['--json']]])(
    'keeps its status when nobody reads its output, with %j',
    async (options) => {
      const args = ['-c', '"$NODE" "$COMMAND" check "$URL" "$@"; echo $? >&2', 'sh', ...options];
      const env = { PATH, NODE: process.execPath, COMMAND, URL: proxy.url('socks5', ALICE) };
      const shell = spawn('sh', args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
      shell.stdout.destroy();
      expect(await text(shell.stderr)).toBe('0\n');
    },
  );

  test('is another program of the name check when that stands behind --', async () => {
    const { stderr, status } = await runProgram(process.execPath, [COMMAND, '--', 'check'], {
      env: { PATH: '/nowhere', SOCKS_PROXY: proxy.url('socks5', ALICE) },
    });
    expect(stderr).toBe('socksify: check: command not found\n');
    expect(status).toBe(127);
  });
});
