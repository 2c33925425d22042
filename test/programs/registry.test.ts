// npm, pnpm and yarn against a registry of their own, whose name the proxy alone knows. The registry also accepts
// direct connections, and counts them.

import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort } from '@socksify/support';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { COMMAND, execute } from '../../packages/socksify/test/run-program.ts';
import type { Ended } from '@socksify/support';

const here = (path: string): string => join(import.meta.dirname, path);
const folder = mkdtempSync(join(tmpdir(), 'socksify-registry-'));
/** The registry needs Node 22; it is not what is tested here. */
const NODE_24 = here('../runtimes/node_modules/node24/bin/node');
let registry: ChildProcess;
/** In front of the registry: keeps the remote port of every connection. */
const hits: number[] = [];
let front: Server;
let proxy: SocksServer;
let url: string;

beforeAll(async () => {
  const port = await freePort();
  writeFileSync(
    join(folder, 'config.yaml'),
    [
      `storage: ${join(folder, 'storage')}`,
      'packages: { "**": { access: $all, publish: $anonymous } }',
      'log: { type: stdout, format: json, level: http }',
    ].join('\n'),
  );
  const verdaccio = here('node_modules/verdaccio/bin/verdaccio');
  registry = spawn(
    NODE_24,
    [verdaccio, '--config', join(folder, 'config.yaml'), '--listen', `127.0.0.1:${port}`],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { PATH: process.env['PATH'], HOME: folder },
    },
  );
  for await (const line of createInterface({ input: registry.stdout as NodeJS.ReadableStream })) {
    if (line.includes('http address')) break;
  }
  registry.stdout?.resume();
  front = createServer((socket) => {
    hits.push(socket.remotePort ?? 0);
    const behind = connect(port, '127.0.0.1');
    socket.on('error', () => behind.destroy()).pipe(behind);
    behind.on('error', () => socket.destroy()).pipe(socket);
  });
  front.listen(0, '127.0.0.1');
  await once(front, 'listening');
  const address = front.address() as AddressInfo;
  proxy = await startServer({ names: { 'registry.test': '127.0.0.1' }, users: { alice: 'secret' } });
  url = `http://registry.test:${address.port}/`;
  // The package to install comes in without a proxy.
  const source = join(folder, 'source');
  mkdirSync(source);
  writeFileSync(join(source, 'package.json'), '{ "name": "a-package", "version": "1.2.3" }');
  const own = `http://127.0.0.1:${address.port}/`;
  writeFileSync(
    join(folder, '.npmrc'),
    `registry=${own}\n//127.0.0.1:${address.port}/:_authToken=anonymous\n`,
  );
  const published = await execute(
    process.execPath,
    [npm(), 'publish', '--registry', own],
    { HOME: folder },
    { cwd: source },
  );
  expect(published.status, published.stderr).toBe(0);
  // Without the proxy the counter counts.
  expect(hits.length).toBeGreaterThan(0);
}, 60_000);
afterAll(async () => {
  registry.kill();
  front.close();
  await proxy.close();
  rmSync(folder, { recursive: true });
});

function npm(): string {
  const candidates = [process.execPath, '/usr/bin/node', '/usr/local/bin/node'].flatMap((node) =>
    ['lib', 'share'].map((at) => join(dirname(dirname(node)), at, 'node_modules/npm/bin/npm-cli.js')),
  );
  const found = candidates.find((path) => {
    try {
      return readFileSync(path);
    } catch {
      return false;
    }
  });
  if (found === undefined) throw new Error('npm is not installed beside node');
  return found;
}

/** Through the command, with no connection to the registry but those that the proxy made. */
const socksify = async (args: readonly string[], cwd: string): Promise<Ended> => {
  const env = {
    SOCKS_PROXY: proxy.url('socks5', { username: 'alice', password: 'secret' }),
    HOME: join(folder, 'home'),
    npm_config_registry: url,
    npm_config_update_notifier: 'false',
    YARN_REGISTRY: url,
    CI: '1',
  };
  const [hit, request] = [hits.length, proxy.log.length];
  const ended = await execute(process.execPath, [COMMAND, process.execPath, ...args], env, { cwd });
  const outgoing = new Set(proxy.log.slice(request).map(({ outgoingPort }) => outgoingPort));
  const found = hits.slice(hit);
  expect(found.length, ended.stderr).toBeGreaterThan(0);
  expect(found.filter((port) => !outgoing.has(port))).toEqual([]);
  return ended;
};

const project = (name: string): string => {
  const path = join(folder, name);
  mkdirSync(path);
  writeFileSync(join(path, 'package.json'), '{ "private": true, "dependencies": { "a-package": "^1.0.0" } }');
  return path;
};

test('npm view prints what the registry says', async () => {
  const ended = await socksify([npm(), 'view', 'a-package', 'version', '--registry', url], folder);
  expect(ended).toMatchObject({ stdout: '1.2.3\n', status: 0 });
  expect(new Set(proxy.log.map(({ host }) => host))).toEqual(new Set(['registry.test']));
});

test.each([
  ['npm', () => [npm(), 'install', '--no-audit', '--no-fund', '--registry', url]],
  [
    'pnpm',
    () => [
      here('node_modules/pnpm/bin/pnpm.cjs'),
      'install',
      '--registry',
      url,
      '--store-dir',
      join(folder, 'store'),
    ],
  ],
  ['yarn', () => [here('node_modules/yarn/bin/yarn.js'), 'install', '--registry', url, '--no-lockfile']],
])(
  '%s installs from it',
  async (name, args) => {
    const cwd = project(name);
    const ended = await socksify(args(), cwd);
    expect(ended.status, ended.stdout + ended.stderr).toBe(0);
    const manifest = readFileSync(join(cwd, 'node_modules/a-package/package.json'), 'utf8');
    expect((JSON.parse(manifest) as { version: string }).version).toBe('1.2.3');
  },
  60_000,
);

// The workflow of a release has Node 24.
test.runIf(process.version.startsWith('v24.'))(
  'a release that is run again publishes the packages that the registry does not have',
  async () => {
    const release = join(folder, 'release');
    mkdirSync(release);
    const names = ['@socksify/core', '@socksify/env', '@socksify/agent', '@socksify/undici', 'socksify'];
    for (const name of names) {
      const file = `${name.replace('@', '').replace('/', '-')}-1.2.3.tgz`;
      const path = join(project(file), 'package');
      mkdirSync(path);
      writeFileSync(join(path, 'package.json'), JSON.stringify({ name, version: '1.2.3' }));
      const packed = await execute('tar', ['-czf', join(release, file), '-C', dirname(path), 'package']);
      expect(packed.status, packed.stderr).toBe(0);
    }
    const publish = (): Promise<Ended> =>
      execute(
        'sh',
        [here('../../.changeset/publish.sh'), release, '1.2.3'],
        { HOME: folder },
        { cwd: folder },
      );
    const missing = join(release, 'socksify-env-1.2.3.tgz');
    renameSync(missing, `${missing}.later`);
    expect((await publish()).status).not.toBe(0);
    renameSync(`${missing}.later`, missing);
    const again = await publish();
    expect(again.status, again.stderr).toBe(0);
    const published = names.slice(1).map((name) => `+ ${name}@1.2.3`);
    expect(again.stdout.split('\n')).toEqual(['@socksify/core@1.2.3 is published already', ...published, '']);
  },
  60_000,
);
