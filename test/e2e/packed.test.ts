// The packages as npm would install them: packed, unpacked into an empty project, and used there by import, require()
// and TypeScript. Needs no registry.

import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { startServer } from '@socksify/server';
import { startWeb } from '@socksify/origin';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const FOLDERS = readdirSync(join(ROOT, 'packages'));

interface Manifest {
  readonly name: string;
  readonly private?: boolean;
  readonly exports: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: object;
  readonly scripts?: object;
}

const readManifest = (folder: string) =>
  JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;

const run = async (command: string, args: readonly string[], cwd: string): Promise<string> => {
  const env = {
    ...process.env,
    npm_config_update_notifier: 'false',
    npm_config_cache: join(project, 'cache'),
  };
  const { stdout } = await promisify(execFile)(command, args, { cwd, env, maxBuffer: 2 ** 24 });
  return stdout.trim();
};

/** An empty project that has the packed packages and the one dependency they have. */
const project = mkdtempSync(join(tmpdir(), 'socksify-packed-'));
const installed = (name: string) => join(project, 'node_modules', name);
const NAMES = FOLDERS.map((folder) => readManifest(join(ROOT, 'packages', folder)).name);
const files: Record<string, readonly string[]> = {};

beforeAll(async () => {
  const folders = FOLDERS.map((folder) => `./packages/${folder}`);
  const pack = ['pack', '--json', '--offline', '--ignore-scripts', '--pack-destination', project];
  const packed = JSON.parse(await run('npm', [...pack, ...folders], ROOT)) as {
    name: string;
    filename: string;
    files: { path: string }[];
  }[];
  for (const { name, filename, files: contents } of packed) {
    files[name] = contents.map(({ path }) => path);
    mkdirSync(installed(name), { recursive: true });
    await run('tar', ['-xzf', filename, '--strip-components=1', '-C', installed(name)], project);
  }
  const base = realpathSync(join(ROOT, 'packages/agent/node_modules/agent-base'));
  cpSync(base, installed('agent-base'), { recursive: true });
  writeFileSync(join(project, 'package.json'), '{ "private": true }');
});
afterAll(() => rmSync(project, { recursive: true, force: true }));

describe.each(NAMES)('the tarball of %s', (name) => {
  const contents = () => files[name] ?? [];
  const read = (path: string) => readFileSync(join(installed(name), path), 'utf8');
  const exists = (path: string) => existsSync(join(installed(name), path));
  // A file whose source is gone was left by an earlier build of this checkout.
  const built = () => contents().filter((path) => exists(path.replace(/^dist\/([^.]*).*$/, 'src/$1.ts')));

  test('holds code, types and a page to read, and nothing of the workshop', () => {
    expect(contents()).toEqual(
      expect.arrayContaining(['package.json', 'README.md', 'dist/index.js', 'dist/index.d.ts']),
    );
    const others = contents().filter(
      (path) =>
        !/^(?:package\.json|README\.md|LICENSE|src\/.*\.ts|dist\/.*\.(?:js|d\.ts)(?:\.map)?)$/.test(path),
    );
    expect(others).toEqual([]);
    expect(contents().filter((path) => /test|tsbuildinfo/.test(path))).toEqual([]);
  });

  test('names no path of this machine', () => {
    const places = [ROOT, realpathSync(ROOT), `${homedir()}/`, 'file://'];
    for (const path of contents()) {
      const found = places.filter((place) => read(path).includes(place));
      expect(found, path).toEqual([]);
    }
  });

  test('has every file that it exports or refers to', () => {
    const { exports } = readManifest(installed(name));
    const exported = Object.values(exports).flatMap((target) =>
      typeof target === 'string' ? [target] : Object.values(target),
    );
    expect(exported.filter((path) => !exists(path))).toEqual([]);
    for (const path of built().filter((file) => /^dist\/.*\.(?:js|d\.ts)$/.test(file))) {
      const folder = dirname(join(installed(name), path));
      const imports = [...read(path).matchAll(/\b(?:from|import)\s*\(?['"](\.[^'"]+)['"]/g)];
      // Declarations name the sources; TypeScript looks for the declaration beside them.
      const missing = imports
        .map(([, to = '']) => join(folder, path.endsWith('.js') ? to : to.replace(/\.[jt]s$/, '.d.ts')))
        .filter((file) => !existsSync(file));
      expect(missing, path).toEqual([]);
    }
    for (const path of built().filter((file) => file.endsWith('.map'))) {
      const { sources } = JSON.parse(read(path)) as { sources: string[] };
      const folder = dirname(join(installed(name), path));
      expect(sources.filter((source) => !existsSync(join(folder, source)), path)).toEqual([]);
    }
  });

  test('needs nothing but the other packages and agent-base, and runs no script', () => {
    const { dependencies = {}, optionalDependencies, scripts } = readManifest(installed(name));
    const foreign = Object.keys(dependencies).filter((key) => !NAMES.includes(key) && key !== 'agent-base');
    expect({ foreign, optionalDependencies, scripts }).toEqual({ foreign: [] });
  });
});

describe('an empty project with the packages in it', () => {
  const node = (source: string, type: 'module' | 'commonjs', ...args: readonly string[]) =>
    run(process.execPath, [`--input-type=${type}`, '--eval', source, ...args], project);

  test('holds no undici', () => {
    expect(readdirSync(join(project, 'node_modules')).toSorted()).toEqual(['@socksify', 'agent-base']);
  });

  test.each(NAMES)('imports and requires %s', async (name) => {
    const print = (names: string) => `console.log(Object.keys(${names}).sort().join())`;
    const imported = await node(`import * as all from '${name}'; ${print('all')}`, 'module');
    expect(imported).not.toBe('');
    const required = await node(print(`require('${name}')`), 'commonjs');
    expect(
      required
        .split(',')
        .filter((key) => key !== '__esModule' && key !== 'module.exports')
        .join(),
    ).toBe(imported);
  });

  test('sends a request by each way', async () => {
    const web = await startWeb();
    const server = await startServer({ names: { 'origin.test': '127.0.0.1' } });
    try {
      const program = `
        const http = require('node:http');
        const { text } = require('node:stream/consumers');
        const { SocksAgent } = require('@socksify/agent');
        const { connect } = require('@socksify/core');
        const { proxyFromEnv } = require('@socksify/env');
        const { SocksDispatcher } = require('@socksify/undici');
        const [, proxy, url] = process.argv;
        const { hostname: host, port } = new URL(url);
        (async () => {
          const { socket } = await connect(proxy, { host, port: Number(port) });
          socket.end('GET / HTTP/1.0\\r\\n\\r\\n');
          console.log((await text(socket)).split('\\r\\n').pop());
          http.get(url, { agent: new SocksAgent(proxy) }, async (response) => {
            console.log(await text(response));
            const dispatcher = new SocksDispatcher(proxyFromEnv({ ALL_PROXY: proxy }));
            console.log(await (await fetch(url, { dispatcher })).text());
          });
        })();`;
      const url = `http://origin.test:${web.http}/`;
      expect(await node(program, 'commonjs', server.url('socks5'), url)).toBe('hello\nhello\nhello');
      expect(server.log.map(({ host }) => host)).toEqual(['origin.test', 'origin.test', 'origin.test']);
    } finally {
      await server.close();
      await web.close();
    }
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
