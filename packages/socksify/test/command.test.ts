// The command: its arguments, the environment that it makes, and what it becomes.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { CERTIFICATE_FILE, freePort } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeFolder } from './folder.ts';
import { ALICE, startNetwork } from './network.ts';
import type { Network } from './network.ts';
import { COMMAND, execute, REGISTER } from './run-program.ts';
import type { Ended } from '@socksify/support';

let network: Network;
beforeAll(async () => {
  network = await startNetwork();
});
afterAll(() => network.close());

const { path: folder, write: file } = makeFolder();
const socksify = (
  args: readonly string[],
  env: Record<string, string | undefined> = {},
  input = '',
): Promise<Ended> => execute(process.execPath, [COMMAND, ...args], env, { input });
const url = (): string => `http://origin.test:${network.web.http}/`;
const node = process.execPath;
/** Runs a command in a terminal of its own. */
const SCRIPT = '/usr/bin/script';

const FETCH = `fetch(process.argv.at(-1)).then((r) => r.text()).then((t) => console.log(t), (e) => console.log(e.cause.code));`;
const OK = { stdout: 'hello\n', stderr: '', status: 0, signal: null };

describe('the command runs a program through the proxy', () => {
  test('of SOCKS_PROXY, of --proxy and of --proxy -, which leaves the rest of stdin to the program', async () => {
    const program = file('fetch.js', FETCH);
    expect(await socksify([node, program, url()], { SOCKS_PROXY: network.url })).toEqual(OK);
    expect(
      await socksify(['--proxy', network.url, '--', node, program, url()], { socks_proxy: 'socks5://h' }),
    ).toEqual(OK);
    const copy = file('copy.js', `process.stdin.pipe(process.stdout); ${FETCH}`);
    const { stdout } = await socksify(['--proxy=-', node, copy, url()], {}, `${network.url}\nrest\n`);
    expect(stdout.split('\n').toSorted()).toEqual(['', 'hello', 'rest']);
  });

  test('of a list, whose first proxy is dead, also with --strict', async () => {
    const program = file('fetch.js', FETCH);
    const list = `socks5://127.0.0.1:${await freePort()},${network.url}`;
    expect(await socksify([node, program, url()], { SOCKS_PROXY: list })).toEqual(OK);
    expect(await socksify(['--strict', '--proxy', list, '--', node, program, url()])).toEqual(OK);
    const bad = await socksify([node, program, url()], { SOCKS_PROXY: `${network.url},` });
    expect(bad).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('environment variable SOCKS_PROXY'),
    });
  });

  test.runIf(process.platform !== 'win32')(
    'of a Unix socket, and localhost:1080 is not taken for it',
    async () => {
      const program = file('fetch.js', FETCH);
      const path = join(folder, 'a @%20b.sock');
      const relay = createServer((client) => {
        const upstream = connect(network.proxy.port, '127.0.0.1').on('error', () => client.destroy());
        client
          .on('error', () => upstream.destroy())
          .pipe(upstream)
          .pipe(client);
      });
      await new Promise<void>((resolve) => void relay.listen(path, resolve));
      const proxy = network.url.replace(/@.*/, `@localhost${encodeURI(path).replace('@', '%40')}`);
      for (const SOCKS_PROXY of [proxy, `${proxy},${proxy}`]) {
        expect(await socksify([node, program, url()], { SOCKS_PROXY })).toEqual(OK);
        network.proxy.log.length = 0;
        await socksify(['--strict', node, program, 'http://localhost:1080/'], { SOCKS_PROXY });
        expect(network.proxy.log).toMatchObject([{ host: 'localhost', port: 1080 }]);
      }
      relay.close();
    },
  );

  test.each(['itself', 'child'])(
    'whatever a file of --env-file says, of the program or of its child: %s',
    async (who) => {
      const program = file('fetch.js', FETCH);
      const child = file(
        'child.js',
        `process.stdout.write(require('node:child_process').execFileSync(process.execPath, process.argv.slice(2)));`,
      );
      const names = [
        'SOCKS_PROXY',
        'NO_PROXY',
        'HTTP_PROXY',
        'ALL_PROXY',
        'SOCKSIFY_ALLOW',
        'SOCKSIFY_STRICT',
      ];
      const lines = [...names, ...names.map((name) => name.toLowerCase()), 'No_Proxy', 'NODE_OPTIONS'].map(
        (name) => `${name}=${/^(?:socks|http|all)_/i.test(name) ? 'socks5://127.0.0.1:1' : '*'}`,
      );
      const args = [`--env-file=${file('.env', lines.join('\n'))}`, program, url()];
      const command = who === 'child' ? [node, child, ...args] : [node, ...args];
      expect(await socksify(command, { SOCKS_PROXY: network.url })).toEqual(OK);
    },
  );

  test('behind TLS, whose certificate authority NODE_EXTRA_CA_CERTS names', async () => {
    const program = file('fetch.js', FETCH);
    const SOCKS_PROXY = network.tlsProxy.url('socks5s', ALICE);
    const trusting = { SOCKS_PROXY, NODE_EXTRA_CA_CERTS: CERTIFICATE_FILE };
    expect(await socksify([node, program, url()], trusting)).toEqual(OK);
    const distrusting = { SOCKS_PROXY, NODE_EXTRA_CA_CERTS: undefined };
    const { stdout } = await socksify([node, program, url()], distrusting);
    expect(stdout).toBe('ERR_SOCKS_PROXY_TLS\n');
  });

  test('that it finds by its name on the PATH, from a script with an interpreter line, and from a path with spaces', async () => {
    const script = file('script with space', `#!${node}\n${FETCH}`);
    const env = { SOCKS_PROXY: network.url };
    expect(await socksify([script, url()], env)).toEqual(OK);
    expect(await socksify(['script with space', url()], { ...env, PATH: `/nowhere:${folder}` })).toEqual(OK);
    const shim = file('shim', `#!/bin/sh\nexec "${node}" "${file('shimmed.js', FETCH)}" "$@"\n`);
    expect(await socksify([shim, url()], env)).toEqual(OK);
    const plain = file('no interpreter line', `exec "${node}" "${file('shimmed.js', FETCH)}" "$@"\n`);
    expect((await socksify(['/bin/sh', plain, url()], env)).stdout).toBe('hello\n');
  });

  test('with --no-proxy, --allow, --strict, --strict=tcp and --verbose', async () => {
    const env = { SOCKS_PROXY: network.url, HTTP: `${network.web.http}` };
    const loopback = file(
      'loopback.js',
      `fetch('http://127.0.0.1:' + process.env.HTTP).then((r) => r.text()).then(console.log);`,
    );
    for (const list of [['--no-proxy', '127.0.0.1'], ['--allow=127.0.0.1']]) {
      const before = network.direct();
      expect(await socksify([...list, node, loopback], env)).toEqual(OK);
      expect(network.direct() - before).toBe(1);
    }
    // NO_PROXY counts with --proxy and --strict too, until --no-proxy replaces it.
    const listed = { NO_PROXY: '127.0.0.1', HTTP: `${network.web.http}` };
    const program = [node, '-e', `fetch('http://127.0.0.1:${network.web.http}/').catch(() => {})`];
    for (const [options, count] of [
      [['--proxy', network.url], 1],
      [['--proxy', network.url, '--strict'], 1],
      [['--proxy', network.url, '--no-proxy', ''], 0],
    ] as const) {
      const before = network.direct();
      await socksify([...options, ...program], listed);
      expect(network.direct() - before, options.join(' ')).toBe(count);
    }
    const dial = file(
      'dial.js',
      `require('net').connect(process.env.HTTP, 'origin.test').on('error', (e) => console.log(e.code)).on('connect', function () { console.log('open'); this.destroy(); });`,
    );
    expect((await socksify(['--strict', node, dial], env)).stdout).toBe('ERR_SOCKS_BYPASS\n');
    expect((await socksify(['--strict=tcp', node, dial], env)).stdout).toBe('open\n');
    const { stderr } = await socksify(['--verbose', '--strict=tcp', node, dial], env);
    expect(stderr).toMatch(
      /^socksify: origin\.test:\d+ through socks5:\/\/127\.0\.0\.1:\d+: open after \d+ ms\n$/,
    );
  });

  test('with --verbose to its end, though nobody reads the lines', async () => {
    const program = file(
      'twice.js',
      `const get = () => fetch(process.argv.at(-1), { headers: { connection: 'close' } }).then((r) => r.text());
       get().then(() => process.stdin.once('data', () => get().then((t) => { console.log(t); process.exit(); })));`,
    );
    const child = spawn(node, [COMMAND, '--verbose', node, program, url()], {
      env: { SOCKS_PROXY: network.url },
    });
    let output = '';
    child.stdout.on('data', (data: Buffer) => (output += data.toString()));
    await once(child.stderr, 'data');
    await once(child.stderr.destroy(), 'close');
    child.stdin.write('again\n');
    expect(await once(child, 'close')).toEqual([0, null]);
    expect(output).toBe('hello\n');
  });

  test("without NODE_USE_ENV_PROXY, and before the program's own NODE_OPTIONS", async () => {
    const first = file('first.cjs', `console.log(typeof globalThis[Symbol.for('socksify.installed')]);`);
    const env = {
      SOCKS_PROXY: network.url,
      HTTP_PROXY: 'http://127.0.0.1:9',
      NODE_USE_ENV_PROXY: '1',
      NODE_OPTIONS: `--require=${JSON.stringify(first)} --no-warnings`,
    };
    const ended = await socksify([node, file('fetch.js', FETCH), url()], env);
    // The first line comes from the process of the command itself.
    expect(ended).toEqual({ ...OK, stdout: 'undefined\nfunction\nhello\n' });
  });

  test('with the quoted values of NODE_OPTIONS as they are, and with its unquoted ones', async () => {
    const preload = file('two  spaces --use-env-proxy x.cjs', 'process.exitCode = 7;');
    const options = `--title="a \\"b  \\\\c" --require="${preload}" --title=d\te`;
    const show = file('show.js', 'console.log(process.env.NODE_OPTIONS); console.log(process.title);');
    const env = { SOCKS_PROXY: network.url, NODE_OPTIONS: `  ${options}  ` };
    for (const args of [
      [node, show],
      [node, '-e', `require('child_process').fork(process.argv[1])`, show],
    ]) {
      const { stdout, stderr, status } = await socksify(args, env);
      expect([stderr, status]).toEqual(['', 7]);
      expect(stdout).toBe(`--require=${JSON.stringify(REGISTER)} ${options}\nd\te\n`);
    }
  });

  const CAN_USE_PROXY = process.allowedNodeEnvironmentFlags.has('--use-env-proxy');
  test.runIf(CAN_USE_PROXY)('without --use-env-proxy in NODE_OPTIONS, however it is written', async () => {
    for (const option of ['--use-env-proxy', '"--use-env-proxy"', '--use_env_proxy', '--use-"env\\-proxy"']) {
      const env = { SOCKS_PROXY: network.url, HTTP_PROXY: 'http://127.0.0.1:9', NODE_OPTIONS: option };
      expect(await socksify([node, file('fetch.js', FETCH), url()], env)).toEqual(OK);
    }
  });
});

describe('the command becomes the program', () => {
  test.each([0, 3])('with its exit status %i', async (status) => {
    const ended = await socksify([node, '-e', `process.exitCode = ${status}`], { SOCKS_PROXY: network.url });
    expect(ended.status).toBe(status);
  });

  test.each(['SIGTERM', 'SIGINT', 'SIGHUP'] as const)('and passes %s on to it', async (signal) => {
    const program = `process.on('${signal}', () => { console.log('caught'); process.exit(7); }); setInterval(() => {}, 1000); console.log('ready');`;
    const child = spawn(node, [COMMAND, node, '-e', program], { env: { SOCKS_PROXY: network.url } });
    let output = '';
    child.stdout.on('data', (data: Buffer) => {
      if (output === '') child.kill(signal);
      output += data.toString();
    });
    const [status] = (await once(child, 'close')) as [number];
    expect([output, status]).toEqual(['ready\ncaught\n', 7]);
  });

  test('and dies by the signal by which it dies', async () => {
    const ended = await socksify([node, '-e', `process.kill(process.pid, 'SIGKILL')`], {
      SOCKS_PROXY: network.url,
    });
    expect(ended.signal).toBe('SIGKILL');
  });

  describe('or starts it as a child, on a Node that cannot become another program', () => {
    const without = file('without-execve.cjs', 'delete process.execve;');
    const child = (...args: readonly string[]): Promise<Ended> =>
      execute(node, ['--require', without, COMMAND, ...args], { SOCKS_PROXY: network.url });

    test('with its output and its exit status', async () => {
      expect(await child(node, file('fetch.js', FETCH), url())).toEqual(OK);
      expect((await child(node, '-e', 'process.exitCode = 3')).status).toBe(3);
    });

    test('and dies by the signal by which it dies', async () => {
      expect((await child(node, '-e', `process.kill(process.pid, 'SIGKILL')`)).signal).toBe('SIGKILL');
    });

    test.runIf(existsSync(SCRIPT))('and passes on no Ctrl-C, which a terminal sends to both', async () => {
      // The signal at the end passes through the command, behind all that it has passed on before.
      const program = file(
        'interrupted.js',
        `let count = 0;
         process.on('SIGINT', () => { if (count++ === 0) process.kill(process.ppid, 'SIGUSR2'); });
         process.on('SIGUSR2', () => { console.log('count: ' + count); process.exit(); });
         console.log('ready');
         setInterval(() => {}, 1000);`,
      );
      const args = [node, '--require', without, COMMAND, node, program].map((each) => `'${each}'`);
      const terminal = spawn(SCRIPT, ['-qec', `exec ${args.join(' ')}`, '/dev/null'], {
        env: { SOCKS_PROXY: network.url },
      });
      let output = '';
      terminal.stdout.on('data', (data: Buffer) => {
        if (output === '') terminal.stdin.write('\x03');
        output += data.toString();
      });
      const [status] = (await once(terminal, 'close')) as [number];
      expect(output).toMatch(/^ready\r\n.*count: 1\r\n$/s);
      expect(status).toBe(0);
    });

    test('and ends with 126 if the system cannot start it', async () => {
      const script = file('no such interpreter', '#!/nowhere/node\n');
      expect(await child(script)).toMatchObject({
        status: 126,
        stderr: expect.stringMatching(/^socksify: spawn .* ENOENT$/m),
      });
    });
  });

  test('or ends with 126 if it is not executable', async () => {
    const program = file('not executable', FETCH);
    chmodSync(program, 0o644);
    expect(await socksify([program], { SOCKS_PROXY: network.url })).toMatchObject({
      status: 126,
      stderr: expect.stringContaining(`${program}: not executable`),
    });
  });

  test('and neither it nor the program has a password of the environment in its arguments', async () => {
    const show = file(
      'ps.js',
      `const { readFileSync } = require('fs');
      // By the numbers of /proc, which are others than those of the process in a PID namespace.
      const [, parent] = /^PPid:\\s+(\\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'));
      for (const pid of ['self', parent]) {
        console.log(readFileSync('/proc/' + pid + '/cmdline', 'latin1').replaceAll('\\0', ' '));
      }`,
    );
    const { stdout } = await socksify(['--proxy', '-', node, show], {}, `${network.url}\n`);
    expect(stdout).toContain('ps.js');
    expect(stdout).not.toContain('secret');
  });
});

describe('the command refuses', () => {
  test.each([
    ['no proxy', [node, '-e', '1'], {}, 1, 'SOCKS_PROXY'],
    [
      'a wrong proxy',
      ['--proxy', 'http://u:hunter2@h', node, '-e', '1'],
      {},
      1,
      '(--proxy: http: is not a SOCKS',
    ],
    [
      'a wrong variable',
      [node, '-e', '1'],
      { SOCKS_PROXY: 'http://u:hunter2@h' },
      1,
      'variable SOCKS_PROXY: http:',
    ],
    ['an unknown option', ['--prox=socks5://u:hunter2@h', node], {}, 1, '--prox'],
    ['a short option', ['-psocks5://u:hunter2@h'], {}, 1, 'unknown option -p; --help says'],
    [
      'an empty proxy',
      ['--proxy=', node],
      { ALL_PROXY: 'socks5://h' },
      1,
      '--proxy is empty: write socks5://',
    ],
    ['no proxy on stdin', ['--proxy', '-', node], { ALL_PROXY: 'socks5://h' }, 1, '--proxy is empty'],
    [
      'an option that is given twice',
      ['--proxy', 'socks5://a', '--proxy=socks5://u:hunter2@b', node],
      {},
      1,
      '--proxy is given twice: write it once',
    ],
    ['an unknown level', ['--strict=udp', node], {}, 1, '--strict does not take this value; --help says'],
    ['a value for a switch', ['--verbose=1', node], {}, 1, '--verbose does not take this value; --help says'],
    ['an option without its value', ['--proxy'], {}, 1, '--proxy'],
    ['no command', ['--strict'], { SOCKS_PROXY: 'socks5://h' }, 1, 'no command'],
    ['a proxy without --proxy', ['socks5://u:hunter2@h', node, '-e', '1'], {}, 1, 'write --proxy'],
    ['one without a scheme', ['u:hunter2@h:1', node], { SOCKS_PROXY: 'socks5://h' }, 1, 'write --proxy'],
    ['a command that does not exist', ['no-such-command'], { SOCKS_PROXY: 'socks5://h' }, 127, 'not found'],
  ])('%s', async (_, args, env, status, words) => {
    const ended = await socksify(args, env);
    expect(ended).toMatchObject({ status, stdout: '' });
    expect(ended.stderr).toMatch(/^socksify: /);
    expect(ended.stderr).toContain(words);
    expect(ended.stderr).not.toContain('hunter2');
  });

  test.each(['app.js', 'app.mjs', 'app.cjs', 'app.ts'])(
    'the program %s in the place of the command, and says what to write',
    async (name) => {
      const program = file(name, FETCH);
      chmodSync(program, 0o644);
      const run = (command: string): Promise<Ended> =>
        execute(process.execPath, [COMMAND, command], { SOCKS_PROXY: network.url }, { cwd: folder });
      expect([await run(name), await run(`./${name}`), await run(`no-${name}`)]).toMatchObject([
        { status: 127, stderr: `socksify: ${name}: command not found: write socksify node ${name}\n` },
        { status: 126, stderr: `socksify: ./${name}: not executable: write socksify node ./${name}\n` },
        { status: 127, stderr: `socksify: no-${name}: command not found\n` },
      ]);
    },
  );

  test('Bun and Deno, by their names, behind a link and in an interpreter line', async () => {
    mkdirSync(join(folder, 'bin'));
    const bun = file('bin/bun', '#!/bin/sh\necho ran\n');
    const script = file('script.ts', '#!/usr/bin/env -S deno run\n');
    for (const [command, name] of [
      [bun, 'bun'],
      [script, 'deno'],
    ] as const) {
      const ended = await socksify([command], { SOCKS_PROXY: network.url });
      expect(ended).toMatchObject({ status: 1, stdout: '' });
      expect(ended.stderr).toContain(`${name} ignores`);
    }
  });

  test('no program that is not Node, but warns that it is not covered', async () => {
    const ended = await socksify(['sh', '-c', 'echo ran'], { SOCKS_PROXY: network.url });
    expect(ended).toMatchObject({ status: 0, stdout: 'ran\n' });
    expect(ended.stderr).toContain('sh is not Node');
  });
});

test('the command prints its help and its version', async () => {
  expect((await socksify(['--help'])).stdout).toMatch(/^socksify \[options\] \[--\] COMMAND/);
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  expect((await socksify(['--version'])).stdout).toBe(`${version}\n`);
});
