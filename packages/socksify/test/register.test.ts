// The preload: what it refuses before the program starts, and who inherits it.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeFolder } from './folder.ts';
import { startNetwork } from './network.ts';
import type { Network } from './network.ts';
import type { Ended } from '@socksify/support';
import { execute, here, REGISTER, results, run, runFile } from './run-program.ts';

let network: Network;
beforeAll(async () => {
  network = await startNetwork();
});
afterAll(() => network.close());

const { write: file } = makeFolder();

describe('the preload ends the process with status 1 before the program starts', () => {
  const program = `console.log('started');`;
  test.each([
    ['no variable is set', {}, 'set SOCKS_PROXY'],
    ['every variable is empty', { SOCKS_PROXY: '', ALL_PROXY: '' }, 'set SOCKS_PROXY'],
    ['only NO_PROXY is set', { NO_PROXY: '*' }, 'set SOCKS_PROXY'],
    ['SOCKS_PROXY is no URL', { SOCKS_PROXY: 'hunter2@h:1080' }, 'SOCKS_PROXY'],
    ['SOCKS_PROXY is not SOCKS', { SOCKS_PROXY: 'http://u:hunter2@h:1' }, 'SOCKS_PROXY'],
    [
      'socks_proxy has a port that is not valid',
      { socks_proxy: 'socks5://u:hunter2@h:99999' },
      'socks_proxy',
    ],
    ['ALL_PROXY is wrong', { ALL_PROXY: 'socks9://u:hunter2@h' }, 'ALL_PROXY'],
    [
      'one of two variables is wrong',
      { http_proxy: 'socks5://h', https_proxy: 'ftp://u:hunter2@h' },
      'https_proxy',
    ],
    ['HTTP_PROXY is an HTTP proxy', { HTTP_PROXY: 'http://u:hunter2@h:1' }, 'HTTP_PROXY'],
    ['SOCKSIFY_STRICT is unknown', { SOCKS_PROXY: 'socks5://h', SOCKSIFY_STRICT: 'udp' }, 'SOCKSIFY_STRICT'],
    [
      'Node would use an HTTP proxy',
      { SOCKS_PROXY: 'socks5://h', NODE_USE_ENV_PROXY: '1', HTTP_PROXY: 'http://u:hunter2@h:1' },
      'NODE_USE_ENV_PROXY',
    ],
  ])('when %s, and names it, without the password', async (_, env, name) => {
    const ended = await execute(process.execPath, ['--require', REGISTER, '--eval', program], env);
    expect(ended.status).toBe(1);
    expect(ended.stdout).toBe('');
    expect(ended.stderr).toMatch(/^socksify: /);
    expect(ended.stderr).toContain(name);
    expect(ended.stderr).not.toContain('hunter2');
  });

  test.runIf(process.allowedNodeEnvironmentFlags.has('--use-env-proxy'))(
    'when an option would make Node use an HTTP proxy',
    async () => {
      const HTTP_PROXY = 'http://u:hunter2@h:1';
      for (const option of ['--use-env-proxy', '--use_env_proxy']) {
        const proxies = { SOCKS_PROXY: 'socks5://h', HTTP_PROXY };
        const args = ['--require', REGISTER, '--eval', program];
        const ended = [
          await execute(process.execPath, [option, ...args], proxies),
          await execute(process.execPath, args, { ...proxies, NODE_OPTIONS: `"${option}"` }),
        ];
        for (const { status, stdout, stderr } of ended) {
          expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
          expect(stderr).toMatch(
            /^socksify: --use-env-proxy makes Node use the HTTP proxy of HTTP_PROXY: remove it/,
          );
        }
      }
    },
  );

  test('when it is loaded as an ES module too', async () => {
    const args = ['--import', here('../dist/register.js'), '--eval', program];
    const ended = await execute(process.execPath, args, { SOCKS_PROXY: 'x' });
    expect(ended).toMatchObject({ status: 1, stdout: '' });
  });
});

test('the preload refuses a protocol for which no variable names a proxy', async () => {
  const env = { SOCKS_PROXY: undefined, https_proxy: network.url };
  const source = `await attempt('https', async () => (await fetch(https1)).text());
    await attempt('http', async () => (await fetch(http1)).text());`;
  const before = network.direct();
  expect(results(await run(network, source, env))).toEqual({
    https: 'hello',
    http: 'ERR_SOCKS_INVALID_PROXY',
  });
  expect(network.direct()).toBe(before);
});

test('the preload resolves as socksify/register, by --import and by --require', async () => {
  const cwd = here('../../../test/programs');
  for (const flag of ['--import', '--require']) {
    const args = [
      flag,
      'socksify/register',
      '--eval',
      `fetch(process.env.URL).then((r) => r.text()).then(console.log)`,
    ];
    const env = { SOCKS_PROXY: network.url, URL: `http://origin.test:${network.web.http}/` };
    const ended = await execute(process.execPath, args, env, { cwd });
    expect(ended).toEqual({ stdout: 'hello\n', stderr: '', status: 0, signal: null });
  }
});

test('the preload prints no warning on stderr, and with SOCKSIFY_VERBOSE a line for each tunnel', async () => {
  const source = `await attempt('fetch', async () => (await fetch(http1)).text());
    await attempt('refused', async () => (await fetch('http://origin.test:4/')).text());`;
  const env = { NODE_NO_WARNINGS: undefined };
  expect((await run(network, source, env)).stderr).toBe('');
  const { stderr } = await run(network, source, { ...env, SOCKSIFY_VERBOSE: '1' });
  expect(stderr).toMatch(
    /^socksify: origin\.test:\d+ through socks5:\/\/127\.0\.0\.1:\d+: open after \d+ ms\nsocksify: origin\.test:4 through socks5:\/\/127\.0\.0\.1:\d+: ERR_SOCKS_CONNECTION_REFUSED after \d+ ms\n$/,
  );
});

describe('the preload is inherited by', () => {
  const CHILD = `fetch(process.argv.at(-1)).then((r) => r.text()).then((t) => console.log(t), (e) => console.log(String(e.cause)));`;
  const setup = (child: string): string => `
    import childProcess from 'node:child_process';
    import { Worker } from 'node:worker_threads';
    import { once } from 'node:events';
    const child = ${JSON.stringify(child)};
    const out = async (process) => (await read(process.stdout)).trim();
    const message = async (worker) => (await once(worker, 'message'))[0];`;

  const byEnvironment = { NODE_OPTIONS: `--require=${JSON.stringify(REGISTER)}` };
  const installs = (): string => `
    const { install } = await import(${JSON.stringify(new URL('../dist/index.js', import.meta.url))});
    install({ proxy: ${JSON.stringify(network.url)}, strict: true });`;
  const STARTS: Readonly<Record<string, (source: string) => Promise<Ended>>> = {
    'the environment': (source) => run(network, source, byEnvironment, []),
    'the command line': (source) => run(network, source),
    'install() with strict': (source) => run(network, installs() + source, { SOCKS_PROXY: '' }, []),
  };

  /** Every attempt of the source gets its page through the proxy. */
  async function expectAllTunnelled(source: string, start: string): Promise<void> {
    const before = network.direct();
    const ended = await STARTS[start]?.(source);
    if (!ended) throw new Error(`no start ${start}`);
    const names = [...source.matchAll(/attempt\('([^']+)'/g)].map(([, name = '']) => name);
    expect(results(ended)).toEqual(Object.fromEntries(names.map((name) => [name, 'hello'])));
    expect(network.direct()).toBe(before);
  }

  test.each(Object.keys(STARTS))('children of every kind, when it came by %s', async (start) => {
    const child = file('child.cjs', CHILD);
    const source = `
      const { spawn, fork, exec, execFile, spawnSync, execSync, execFileSync } = childProcess;
      const node = process.execPath;
      await attempt('spawn', () => out(spawn(node, [child, http1])));
      await attempt('spawn with env: {}', () => out(spawn(node, [child, http1], { env: {} })));
      await attempt('spawn with a NODE_OPTIONS', () => out(spawn(node, [child, http1], { env: { NODE_OPTIONS: '--no-warnings' } })));
      await attempt('spawn with NO_PROXY', () => out(spawn(node, [child, http1], { env: { NO_PROXY: '*', no_proxy: '*' } })));
      await attempt('fork', () => out(fork(child, [http1], { silent: true })));
      await attempt('fork with execArgv', () => out(fork(child, [http1], { silent: true, execArgv: [], env: {}, cwd: '/' })));
      await attempt('exec', () => out(exec(JSON.stringify(node) + ' ' + JSON.stringify(child) + ' ' + http1)));
      await attempt('execFile', () => out(execFile(node, [child, http1], { env: {} })));
      const text = (value) => String(value).trim();
      await attempt('spawnSync', () => text(spawnSync(node, [child, http1], { env: {} }).stdout));
      await attempt('spawnSync without options', () => text(spawnSync(node, [child, http1]).stdout));
      await attempt('execFileSync', () => text(execFileSync(node, [child, http1], { env: {} })));
      await attempt('execSync', () => text(execSync(JSON.stringify(node) + ' ' + JSON.stringify(child) + ' ' + http1, { env: {} })));
      await attempt('a grandchild', () => out(spawn(node, ['-e', 'console.log(String(require("child_process").execFileSync(process.execPath, process.argv.slice(1), { env: {} })).trim())', child, http1], { env: {} })));
    `;
    await expectAllTunnelled(setup(child) + source, start);
  });

  test.each(Object.keys(STARTS))('workers, from source text too, when it came by %s', async (start) => {
    const source = `
      const code = \`import('node:worker_threads').then(({ parentPort, workerData }) =>
        fetch(workerData).then((r) => r.text()).then((t) => parentPort.postMessage(t), (e) => parentPort.postMessage(String(e.cause))));\`;
      const eval_ = (options) => message(new Worker(code, { eval: true, workerData: http1, ...options }));
      const file = (options) => message(new Worker(child, { workerData: http1, ...options }));
      await attempt('file', () => file());
      await attempt('source text', () => eval_());
      await attempt('env: {}', () => eval_({ env: {} }));
      await attempt('env: null', () => eval_({ env: null }));
      await attempt('file with env: {}', () => file({ env: {} }));
      await attempt('execArgv: []', () => eval_({ execArgv: [] }));
      await attempt('execArgv and env', () => eval_({ execArgv: ['--no-warnings'], env: { NODE_OPTIONS: '--no-warnings' } }));
      await attempt('the class of a worker', async () => {
        const first = new Worker('', { eval: true });
        return message(new first.constructor(child, { workerData: http1, env: {}, execArgv: [] }));
      });
      await attempt('a subclass', () => message(new (class extends Worker {})(child, { workerData: http1, env: {} })));
      await attempt('data: URL', () => message(new Worker(new URL('data:text/javascript,' + encodeURIComponent(
        "import { parentPort, workerData } from 'node:worker_threads'; parentPort.postMessage(await (await fetch(workerData)).text());",
      )), { workerData: http1 })));`;
    const child = file(
      'worker.cjs',
      `const { parentPort, workerData } = require('node:worker_threads');
       fetch(workerData).then((r) => r.text()).then((t) => parentPort.postMessage(t));`,
    );
    await expectAllTunnelled(setup(child) + source, start);
  });

  const REQUIRE = ['--require', REGISTER];
  const IMPORT = ['--import', here('../dist/register.js')];
  test.each([
    ['the environment', [], { NODE_OPTIONS: `--require=${JSON.stringify(REGISTER)}` }],
    ['--require', REQUIRE, {}],
    ['--import', IMPORT, {}],
    ['--import, beside an option that no worker takes', [...IMPORT, '--title=program'], {}],
  ])(
    'workers and children of a program that changes its variables, when it came by %s',
    async (_, args, env) => {
      const child = file(
        'thread.cjs',
        `import('node:worker_threads').then(({ parentPort, workerData }) =>
           fetch(workerData).then((r) => r.text()).then((t) => parentPort.postMessage(t), (e) => parentPort.postMessage(e.cause.code)));`,
      );
      const program = file('program.cjs', CHILD);
      const source = `${setup(child)}
      import { SHARE_ENV } from 'node:worker_threads';
      import { readFileSync } from 'node:fs';
      const text = readFileSync(child, 'utf8');
      const eval_ = (options) => message(new Worker(text, { eval: true, workerData: http1, ...options }));
      await attempt('source text', () => eval_());
      for (const name of ['NODE_OPTIONS', 'SOCKS_PROXY', 'SOCKSIFY_STRICT']) delete process.env[name];
      process.env.NO_PROXY = process.env.no_proxy = '*';
      await attempt('file', () => message(new Worker(child, { workerData: http1 })));
      await attempt('source text, afterwards', () => eval_());
      await attempt('shared variables', () => eval_({ env: SHARE_ENV }));
      await attempt('a file, with shared variables', () => message(new Worker(child, { workerData: http1, env: SHARE_ENV })));
      await attempt('a worker of a worker', () => message(new Worker(
        'import("worker_threads").then(({ Worker, parentPort }) =>' +
          'new Worker(' + JSON.stringify(child) + ', { workerData: ' + JSON.stringify(http1) + ' }).on("message", (m) => parentPort.postMessage(m)));',
        { eval: true },
      )));
      await attempt('a child without an environment', () => {
        const started = new childProcess.ChildProcess();
        started.spawn({ file: process.execPath, args: ['node', ${JSON.stringify(program)}, http1], stdio: ['ignore', 'pipe', 'inherit'] });
        return out(started);
      });
      console.log('variables: ' + Object.keys(process.env).filter((name) => /socks/i.test(name)) + process.env.NO_PROXY);`;
      const before = network.direct();
      const { variables, ...found } = results(
        await runFile(network, file, source, { SOCKSIFY_STRICT: '1', ...env }, args),
      );
      const names = [...source.matchAll(/attempt\('([^']+)'/g)].map(([, name = '']) => name);
      expect(found).toEqual(Object.fromEntries(names.map((name) => [name, 'hello'])));
      expect(variables).toBe('*');
      expect(network.direct()).toBe(before);
    },
  );

  test.skipIf(!('execve' in process))('a program that takes the place of another', async () => {
    const child = file('child.cjs', CHILD);
    const ended = await run(
      network,
      `process.execve(process.execPath, ['node', ${JSON.stringify(child)}, http1], {});`,
    );
    expect(ended.stdout).toBe('hello\n');
  });

  test('nobody after install() with strict and a selector: workers and children end at their start', async () => {
    const child = file('child.cjs', CHILD);
    const source = `
      const { install } = await import(${JSON.stringify(new URL('../dist/index.js', import.meta.url))});
      install({ proxy: () => ${JSON.stringify(network.url)}, strict: true });
      await attempt('worker', () => once(new Worker(child, { argv: [http1] }), 'exit'));
      await attempt('source text', () => once(new Worker('0', { eval: true }), 'exit'));
      await attempt('fork', async () => (await once(childProcess.fork(child, [http1], { silent: true }), 'exit'))[0]);
      await attempt('spawnSync', () => childProcess.spawnSync(process.execPath, [child, http1]).status);`;
    const before = network.direct();
    const found = results(await run(network, setup(child) + source, { SOCKS_PROXY: '' }, []));
    const code = 'ERR_SOCKS_INVALID_PROXY';
    expect(found).toEqual({ worker: code, 'source text': code, fork: '1', spawnSync: '1' });
    expect(network.direct()).toBe(before);
  });

  test('a cluster, and a process that the shell starts', async () => {
    const child = file('child.cjs', CHILD);
    const source = `
      import cluster from 'node:cluster';
      cluster.setupPrimary({ exec: child, args: [http1], silent: true, execArgv: [] });
      await attempt('cluster', async () => String((await once(cluster.fork().process.stdout, 'data'))[0]).trim());
      await attempt('shell', () => out(childProcess.spawn('exec ' + JSON.stringify(process.execPath) + ' ' + JSON.stringify(child) + ' ' + http1, { shell: '/bin/sh', env: {} })));
      process.exit();`;
    expect(results(await run(network, setup(child) + source))).toEqual({ cluster: 'hello', shell: 'hello' });
  });
});
