// The packages as users get them: packed by pnpm, installed by npm into an empty project, and used there on every Node
// by import, require() and TypeScript. The test needs no registry: agent-base is packed from the installed one.

import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startServer } from '@socksify/server';
import { startSite } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { blocksOf, isRun, startReader } from './doc-blocks.ts';
import type { Block, Reader } from './doc-blocks.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const HOMEPAGE = 'https://github.com/socksify/socksify';

/** What npm reports as the unpacked size, at most, in bytes. */
const LIMITS = {
  '@socksify/agent': 20_000,
  '@socksify/core': 102_000,
  '@socksify/env': 10_000,
  '@socksify/undici': 50_000,
  socksify: 230_000,
};
const PACKAGES = Object.entries(LIMITS).map(([name, limit]) => ({ name, limit }));
const NAMES = Object.keys(LIMITS);
/** What a tarball holds besides one file of code and one of types: the preload, the command, and what they share. */
const MORE: Readonly<Record<string, readonly string[]>> = {
  socksify: ['bridge', 'bridge-command', 'check', 'check-command', 'command', 'children', 'register']
    .map((part) => `dist/${part}.js`)
    .concat('dist/command.d.ts', 'dist/preload.cjs', 'dist/register.d.ts', 'register.d.cts'),
};

/** The Nodes of test/runtimes; elsewhere than on Linux on x64 there is only the one that runs this file. */
const RUNTIMES = join(ROOT, 'test/runtimes/node_modules');
const NODES = ['node20', 'node22', 'node24', 'node26']
  .map((name) => ({ name, binary: join(RUNTIMES, name, 'bin/node') }))
  .filter(({ binary }) => existsSync(binary));
if (NODES.length < 4) {
  if (process.env['CI'] === 'true') throw new Error('CI needs the four Nodes of test/runtimes');
  console.warn(
    'SKIPPED: not all Nodes of test/runtimes are here, so the packages are tried on this Node too',
  );
  NODES.push({ name: process.version, binary: process.execPath });
}

interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly homepage?: string;
  readonly bugs?: string;
  readonly repository?: object;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: object;
  readonly scripts?: object;
}

const project = mkdtempSync(join(tmpdir(), 'socksify-packed-'));
const installed = (name: string) => join(project, 'node_modules', name);
const readManifest = (folder: string) =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;

const run = async (command: string, args: readonly string[], cwd: string): Promise<string> => {
  const env = { ...process.env, npm_config_update_notifier: 'false' };
  const { stdout } = await promisify(execFile)(command, args, { cwd, env, maxBuffer: 2 ** 24 });
  return stdout.trim();
};

/** `pnpm run` puts pnpm on the path. When Vitest was started without it, npx finds the one that installed all this. */
async function pnpm(...args: readonly string[]): Promise<void> {
  try {
    await run('pnpm', args, ROOT);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    await run('npx', ['--offline', '--yes', 'pnpm@12', ...args], ROOT);
  }
}

beforeAll(async () => {
  const tarballs = join(project, 'tarballs');
  mkdirSync(tarballs);
  await pnpm('--recursive', '--filter', './packages/*', 'pack', '--pack-destination', tarballs);
  const base = realpathSync(join(ROOT, 'packages/agent/node_modules/agent-base'));
  await run('npm', ['pack', '--offline', '--ignore-scripts', '--pack-destination', tarballs, base], project);

  writeFileSync(join(project, 'package.json'), '{ "private": true }');
  const paths = readdirSync(tarballs).map((file) => join(tarballs, file));
  const cache = join(project, 'cache'); // an empty one, so that nothing can come from a registry
  await run('npm', ['install', '--offline', '--cache', cache, '--no-audit', '--no-fund', ...paths], project);
}, 120_000);
afterAll(() => rmSync(project, { recursive: true, force: true }));

describe.each(PACKAGES)('the tarball of $name', ({ name, limit }) => {
  const FILES = ['LICENSE', 'README.md', 'dist/index.d.ts', 'dist/index.js', 'package.json']
    .concat(MORE[name] ?? [])
    .toSorted();
  const folder = () => installed(name);
  const read = (path: string) => readFileSync(join(folder(), path), 'utf8');

  test('holds the code, its types, the README and the licence', () => {
    const entries = readdirSync(folder(), { recursive: true, encoding: 'utf8' });
    expect(entries.filter((path) => statSync(join(folder(), path)).isFile()).toSorted()).toEqual(FILES);
  });

  test(`takes at most ${limit / 1000} kB`, () => {
    const sizes = FILES.map((path) => statSync(join(folder(), path)).size);
    expect(sizes.reduce((sum, size) => sum + size)).toBeLessThanOrEqual(limit);
  });

  test('has doc comments in the declarations, and none in the code', () => {
    expect(read('dist/index.d.ts')).toMatch(/\/\*\*/);
    expect(read('dist/index.js')).not.toMatch(/\/\*\*|sourceMappingURL/);
  });

  test('names no path of this machine', () => {
    const places = [ROOT, realpathSync(ROOT), `${homedir()}/`, 'file://'];
    for (const path of FILES) {
      const found = places.filter((place) => read(path).includes(place));
      expect(found, path).toEqual([]);
    }
  });

  test('has every file that it exports', () => {
    const exported =
      JSON.stringify(readManifest(folder()).exports).match(/(?<=:")\.\/[^"]+\.[^"]+(?=")/g) ?? [];
    expect(exported.length).toBeGreaterThan(1);
    expect(exported.filter((path) => !existsSync(join(folder(), path)))).toEqual([]);
  });

  test('names versions that a registry knows, and runs no script', () => {
    const { dependencies = {}, optionalDependencies, scripts, version } = readManifest(folder());
    expect({ optionalDependencies, scripts }).toEqual({});
    expect(read('package.json')).not.toMatch(/workspace:|catalog:/);
    for (const [dependency, range] of Object.entries(dependencies)) {
      if (dependency === 'agent-base') continue;
      expect(['@socksify/core', '@socksify/env']).toContain(dependency);
      expect(range).toBe(`^${version}`);
    }
  });

  test('names its repository, its issue tracker and its home page', () => {
    const directory = `packages/${name.replace('@socksify/', '')}`;
    const { repository, homepage, bugs } = readManifest(folder());
    expect(repository).toEqual({ type: 'git', url: `git+${HOMEPAGE}.git`, directory });
    expect(homepage).toBe(`${HOMEPAGE}/tree/main/${directory}#readme`);
    expect(bugs).toBe(`${HOMEPAGE}/issues`);
  });

  test('has no link in its README that is broken on the page of a registry', () => {
    const links = [...read('README.md').matchAll(/\]\(([^)]+)\)/g)].map(([, link = '']) => link);
    const relative = links.filter((link) => !/^(?:https:\/\/|#)/.test(link));
    expect(relative).toEqual([]);
    const ours = links.filter((link) => link.startsWith(`${HOMEPAGE}/`));
    const missing = ours.filter(
      (link) => !existsSync(join(ROOT, link.replace(/^.*\/(?:blob|tree)\/main\/|#.*$/g, ''))),
    );
    expect(missing).toEqual([]);
  });
});

test('the preload is one file, which loads nothing but modules of Node', () => {
  const code = readFileSync(join(installed('socksify'), 'dist/preload.cjs'), 'utf8');
  const loaded = Array.from(code.matchAll(/\brequire\("([^"]*)"\)/g), ([, name = '']) => name);
  expect(loaded.length).toBeGreaterThan(3);
  expect(loaded.filter((name) => !name.startsWith('node:'))).toEqual([]);
});

describe('an empty project with the packages in it', () => {
  test('holds them and agent-base, and nothing else, so no undici', () => {
    const visible = readdirSync(join(project, 'node_modules')).filter((entry) => !entry.startsWith('.'));
    expect(visible.toSorted()).toEqual(['@socksify', 'agent-base', 'socksify']);
    const ours = readdirSync(installed('@socksify')).map((folder) => `@socksify/${folder}`);
    expect(ours.toSorted()).toEqual(NAMES.filter((name) => name.startsWith('@')));
  });

  test('compiles in TypeScript, library declarations checked', async () => {
    mkdirSync(installed('@types'));
    symlinkSync(realpathSync(join(ROOT, 'node_modules/@types/node')), installed('@types/node'));
    writeFileSync(
      join(project, 'program.mts'),
      `import { SocksAgent } from '@socksify/agent';
       import { connect, parseProxy, SocksClient, SocksError } from '@socksify/core';
       import type { SocksProxy, Tunnel } from '@socksify/core';
       import { proxyFromEnv } from '@socksify/env';
       import { setGlobalDispatcher, SocksDispatcher } from '@socksify/undici';
       import { checkProxy, install } from 'socksify';
       import type { CheckReport } from 'socksify';
       export const report: Promise<CheckReport> = checkProxy('socks5://h', { target: { host: 'a', port: 1 } });
       export const uninstall: () => void = install({ proxy: 'socks5://h', strict: 'tcp', allow: ['localhost'] });
       const proxy: SocksProxy = parseProxy('socks5://h');
       export const tunnel: Promise<Tunnel> = connect(proxy, { host: 'a', port: 1 });
       export const all = [new SocksAgent(proxyFromEnv()), new SocksClient([proxy]), SocksError];
       export const undo: () => void = setGlobalDispatcher(new SocksDispatcher(proxy));
       // @ts-expect-error -- types are really there
       parseProxy(1);`,
    );
    const options = {
      strict: true,
      exactOptionalPropertyTypes: true,
      skipLibCheck: false,
      noEmit: true,
      module: 'NodeNext',
      target: 'ES2022',
      types: ['node'],
    };
    writeFileSync(
      join(project, 'tsconfig.json'),
      JSON.stringify({ compilerOptions: options, include: ['*.mts'] }),
    );
    expect(await run(join(ROOT, 'node_modules/.bin/tsc'), ['-p', '.'], project)).toBe('');
  });
});

/** Prints one line for each package: what came back through the proxy. */
const PROGRAM = `
  const [proxy, url] = process.argv.slice(-2);
  const { hostname: host, port } = new URL(url);
  const get = (agent) =>
    new Promise((resolve, reject) => {
      http.get(url, { agent }, (response) => resolve(text(response))).on('error', reject);
    });
  async function main() {
    const { socket } = await connect(proxy, { host, port: Number(port) });
    socket.end('GET / HTTP/1.0\\r\\n\\r\\n');
    console.log('core', (await text(socket)).split('\\r\\n').pop());
    console.log('agent', await get(new SocksAgent(proxy)));
    console.log('env', await get(new SocksAgent(proxyFromEnv({ ALL_PROXY: proxy }))));
    const dispatcher = new SocksDispatcher(proxy);
    console.log('undici', await (await fetch(url, { dispatcher })).text());
  }
  main();`;

const IMPORTS = Object.entries({
  'node:http': 'http',
  'node:stream/consumers': '{ text }',
  '@socksify/agent': '{ SocksAgent }',
  '@socksify/core': '{ connect }',
  '@socksify/env': '{ proxyFromEnv }',
  '@socksify/undici': '{ SocksDispatcher }',
});
const PROGRAMS = {
  import: ['module', IMPORTS.map(([name, what]) => `import ${what} from '${name}';`).join('\n') + PROGRAM],
  require: [
    'commonjs',
    IMPORTS.map(([name, what]) => `const ${what} = require('${name}');`).join('\n') + PROGRAM,
  ],
} as const;

describe.each(NODES)('the installed packages on $name', ({ binary }) => {
  const node = (source: string, type: 'module' | 'commonjs', ...args: readonly string[]) =>
    run(binary, [`--input-type=${type}`, '--eval', source, ...args], project);

  test.each(NAMES)('have the same names for import and require() in %s', async (name) => {
    const print = (names: string) => `console.log(Object.keys(${names}).sort().join())`;
    const imported = await node(`import * as all from '${name}'; ${print('all')}`, 'module');
    expect(imported).not.toBe('');
    const required = await node(print(`require('${name}')`), 'commonjs');
    const names = required.split(',').filter((key) => key !== '__esModule' && key !== 'module.exports');
    expect(names.join()).toBe(imported);
  });

  test('name the function that failed in the trace of an error', async () => {
    const source = `import { parseProxy } from '@socksify/core';
      try { parseProxy('http://h'); } catch (error) { console.log(error.stack); }`;
    const [message, ...frames] = (await node(source, 'module')).split('\n');
    expect(message).toMatch(/^SocksError: .*http: is not a SOCKS scheme/);
    expect(frames.join('\n')).toMatch(/ at parseProxy \(.*@socksify\/core\/dist\/index\.js:/);
  });

  test('send the request of a program that does not import them, by the command', async () => {
    const site = await startSite();
    const server = await startServer({ names: { 'site.test': '127.0.0.1' } });
    try {
      const source = `fetch('http://site.test:${site.http}/').then((r) => r.text()).then(console.log)`;
      const command = [join(installed('socksify'), 'dist/command.js'), '--proxy', server.url('socks5')];
      expect(await run(binary, [...command, binary, '--eval', source], project)).toBe('hello');
      expect(server.log.map(({ host }) => host)).toEqual(['site.test']);
    } finally {
      await server.close();
      await site.close();
    }
  });

  test.each(['import', 'require'] as const)('send a request by each package after %s', async (form) => {
    const site = await startSite();
    const server = await startServer({ names: { 'site.test': '127.0.0.1' } });
    try {
      const [type, source] = PROGRAMS[form];
      const url = `http://site.test:${site.http}/`;
      const lines = (await node(source, type, server.url('socks5'), url)).split('\n');
      expect(lines).toEqual(['core hello', 'agent hello', 'env hello', 'undici hello']);
      expect(server.log.map(({ host }) => host)).toEqual(Array(4).fill('site.test'));
    } finally {
      await server.close();
      await site.close();
    }
  });
});

/** The first example of each README, and the examples of the first ten sections of the guide that have one. */
const FIRST = ['README.md', ...NAMES.map((name) => `packages/${name.replace('@socksify/', '')}/README.md`)];
const GUIDE = blocksOf('docs/guide.md').filter(isRun);
const QUESTIONS = [...new Set(GUIDE.map(({ heading }) => heading))].slice(0, 10);
const EXAMPLES: readonly Block[] = [
  ...FIRST.flatMap((page) => blocksOf(page).filter(isRun).slice(0, 1)),
  ...GUIDE.filter(({ heading }) => QUESTIONS.includes(heading)),
];

describe('an example, copied as it stands into an empty folder with the tarballs', () => {
  const folder = join(project, 'copied');
  let reader: Reader;
  beforeAll(async () => {
    mkdirSync(join(folder, 'node_modules'), { recursive: true });
    // What the guide has besides ours.
    const axios = realpathSync(join(ROOT, 'examples/node_modules/axios'));
    symlinkSync(axios, join(folder, 'node_modules/axios'));
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    reader = await startReader(folder, join(project, 'node_modules/.bin'));
  });
  afterAll(() => reader.close());

  test('is in every README, and in ten sections of the guide', () => {
    expect(EXAMPLES.filter(({ place }) => !place.startsWith('docs/'))).toHaveLength(NAMES.length + 1);
    expect(QUESTIONS).toHaveLength(10);
  });

  // Each run of the suite has one Node, so that all of them are tried.
  test.each(EXAMPLES.map((block) => [block.place, block.heading, block] as const))(
    'works: %s, %s',
    async (_place, _heading, block) => {
      const outcome = await reader.run(block, process.execPath);
      expect(outcome).toMatchObject({ status: 0, errors: '' });
      expect(outcome.output).toContain(block.notes.get('prints') ?? '');
      expect(outcome.hosts).not.toEqual([]);
    },
  );
});

// There is no Docker here. This does by hand what the instructions say, in an empty folder in place of an image.
test('the Dockerfile of the guide, without Docker: its commands start the program, and the proxy gets the name', async () => {
  const dockerfile = blocksOf('docs/guide.md').find(({ language }) => language === 'dockerfile');
  const instructions = (dockerfile?.code ?? '')
    .trim()
    .split('\n')
    .map((line) => line.split(/ (.*)/s));
  expect(instructions.map(([name]) => name)).toEqual(['FROM', 'RUN', 'ENV', 'ENV', 'COPY', 'CMD']);
  const [from = '', command = '', variable = '', direct = '', copied = '', start = ''] = instructions.map(
    ([, argument]) => argument,
  );
  expect(from).toMatch(/^node:\d+-slim$/);

  const image = join(project, 'image');
  mkdirSync(image);
  const site = await startSite();
  const server = await startServer({ names: { 'site.test': '127.0.0.1' } });
  try {
    const paths = readdirSync(join(project, 'tarballs')).map((file) => join(project, 'tarballs', file));
    // From the tarballs in place of a registry.
    const install = `${command.replace(/\bsocksify$/, paths.join(' '))} --offline --cache ${join(project, 'cache')}`;
    const env = { PATH: `${join(image, 'bin')}:${process.env['PATH']}`, npm_config_prefix: image };
    await promisify(execFile)('sh', ['-ec', install], { cwd: image, env });

    const [source = '', target = ''] = copied.split(' ');
    const program = `fetch('http://site.test:${site.http}/').then((r) => r.text()).then(console.log)`;
    writeFileSync(join(image, target, source), program);
    const [name = '', value = ''] = variable.split('=');
    expect(value).toBe('socks5://proxy.example:1080');
    const [binary = '', ...args] = JSON.parse(start) as string[];
    expect(direct).toBe('NO_PROXY=');
    const started = await promisify(execFile)(binary, args, {
      cwd: image,
      env: {
        PATH: env.PATH,
        [name]: value.replace('proxy.example:1080', `127.0.0.1:${server.port}`),
        NO_PROXY: '',
      },
    });
    expect(started).toEqual({ stdout: 'hello\n', stderr: '' });
    expect(server.log.map(({ host }) => host)).toEqual(['site.test']);

    // What the README of socksify says of the preload after a global install.
    const page = readFileSync(join(installed('socksify'), 'README.md'), 'utf8');
    const [, print = ''] = /`(NODE_PATH=[^`]*)`/.exec(page) ?? [];
    // In the root, because the folder of the image lies below one with the packages.
    const { stdout } = await promisify(execFile)('sh', ['-ec', print], { cwd: '/', env });
    const folder = join(realpathSync(image), 'lib/node_modules/socksify');
    expect(stdout).toBe(`${join(folder, 'dist/preload.cjs')}\n`);
  } finally {
    await server.close();
    await site.close();
  }
}, 60_000);
