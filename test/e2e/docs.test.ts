// The README files and the pages of docs/: every block of code is run or type-checked. The examples in doc comments are
// type-checked.
//
// Blocks of js and sh are run as they stand, against a proxy and a site of doc-blocks.ts; blocks of ts are type-checked. A
// comment in front of a block says more:
//   <!-- not run: REASON -->   the block is type-checked (js, ts), or read only (sh)
//   <!-- run by: TEST, HOW --> another test runs the block
//   <!-- set-up: CODE -->      put in front of the block, for names that the text before it explains
//   <!-- prints: TEXT -->      what the block prints has this text in it
//   <!-- no request -->        the block sends nothing to the proxy

import { execFile } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { blocksOf, fileOf, isRun, sourceOf, startReader } from './doc-blocks.ts';
import type { Block, Outcome } from './doc-blocks.ts';
import type { InteropServer } from './interop/server-traits.ts';
import { SERVERS } from './interop/servers.ts';
import { torNetwork } from './interop/servers/tor-network.ts';
import { list, PAGES, read, ROOT, SOURCES } from './pages.ts';

const NOTES = new Set(['not run', 'run by', 'set-up', 'prints', 'no request']);
const BLOCKS = PAGES.flatMap(blocksOf);
const RUN = BLOCKS.filter(isRun);

/** What examples in doc comments use without a word about it: public names, and those that programs have. */
const EXAMPLE_HEAD = `
import { AsyncLocalStorage } from 'node:async_hooks';
import https from 'node:https';
import { SocksAgent } from '@socksify/agent';
import { connect, parseProxy, proxyGroup, SocksClient } from '@socksify/core';
import { proxyFromEnv } from '@socksify/env';
import { setGlobalDispatcher, socksConnector, SocksDispatcher } from '@socksify/undici';
import { checkProxy, install, startBridge } from 'socksify';
import { Pool } from 'undici';
const account = new AsyncLocalStorage<string>();
const group = proxyGroup(['socks5://a.example']);
`;
const EXAMPLES = SOURCES.filter((path) => /^packages\/\w+\/src\/.*\.ts$/.test(path)).flatMap(examplesOf);
const TYPED = BLOCKS.filter(
  ({ language, notes }) => /^(?:js|cjs|ts)$/.test(language) && !notes.has('run by'),
).concat(EXAMPLES);

/** The examples in the doc comments of a source, each as the body of a function. */
function examplesOf(path: string): Block[] {
  const source = read(path);
  return Array.from(source.matchAll(/^ +?\* @example\b((?:(?!^ *\* @|\*\/)[\s\S])*)/gm), (match) => {
    const body = (match[1] ?? '').replaceAll(/^ *\* ?/gm, '');
    const line = source.slice(0, match.index).split('\n').length;
    const code = `export async function example(): Promise<void> {\n${body}\n}\n`;
    const notes = new Map([['set-up', EXAMPLE_HEAD]]);
    return { place: `${path}:${line}`, heading: '', language: 'ts', code, notes };
  });
}

/** An empty project with our packages and those that the examples use. */
const project = realpathSync(mkdtempSync(join(tmpdir(), 'socksify-docs-')));
const modules = join(project, 'node_modules');
const outcomes = new Map<string, Outcome>();
let types = '';

beforeAll(async () => {
  fillProject();
  const reader = await startReader(project, join(modules, '.bin'));
  try {
    const queue = RUN.values();
    const work = async (): Promise<void> => {
      for (const block of queue) outcomes.set(block.place, await reader.run(block, process.execPath));
    };
    [types] = await Promise.all([checkTypes(), work(), work(), work()]);
  } finally {
    reader.close();
  }
}, 120_000);
afterAll(() => rmSync(project, { recursive: true, force: true }));

function fillProject(): void {
  mkdirSync(join(modules, '@socksify'), { recursive: true });
  mkdirSync(join(modules, '.bin'));
  const link = (name: string, to: string): void => {
    const path = join(modules, name);
    if (existsSync(path)) return;
    mkdirSync(dirname(path), { recursive: true });
    symlinkSync(realpathSync(to), path);
  };
  for (const name of ['agent', 'core', 'env', 'undici'])
    link(`@socksify/${name}`, join(ROOT, 'packages', name));
  link('socksify', join(ROOT, 'packages/socksify'));
  link('@types/node', join(ROOT, 'node_modules/@types/node'));
  for (const name of [
    'axios',
    'got',
    'ioredis',
    'node-fetch',
    'nodemailer',
    'openai',
    'pg',
    'superagent',
    'ws',
  ])
    link(name, join(ROOT, 'examples/node_modules', name));
  link('@types/ws', join(ROOT, 'examples/node_modules/@types/ws'));
  // The version that runs on every Node.
  link('undici', join(ROOT, 'test/e2e/node_modules/undici7'));
  for (const version of ['7', '8'])
    link(`undici${version}`, join(ROOT, `test/e2e/node_modules/undici${version}`));
  writeFileSync(join(project, 'package.json'), '{ "type": "module" }');
  // What npm makes of the `bin` of a package.
  const command = `#!/bin/sh\nexec node ${join(ROOT, 'packages/socksify/dist/command.js')} "$@"\n`;
  writeFileSync(join(modules, '.bin/socksify'), command, { mode: 0o755 });
}

/**
 * What tsc says of all blocks of js and ts without the library of browsers, and of those of ts with it. A block of js may
 * use the types of Node's own fetch, which are others in browsers.
 */
async function checkTypes(): Promise<string> {
  for (const block of TYPED) {
    const end = block.language === 'cjs' ? '' : '\nexport {};\n';
    writeFileSync(join(project, fileOf(block)), sourceOf(block) + end);
  }
  const compilerOptions = {
    strict: true,
    // The examples read properties of what they catch.
    useUnknownInCatchVariables: false,
    exactOptionalPropertyTypes: true,
    allowJs: true,
    checkJs: true,
    noEmit: true,
    skipLibCheck: true,
    module: 'NodeNext',
    target: 'ES2022',
    types: ['node'],
  };
  const compile = async (lib: readonly string[], blocks: readonly Block[]): Promise<string> => {
    const config = join(project, `tsconfig.${lib.length}.json`);
    const content = { compilerOptions: { ...compilerOptions, lib }, files: blocks.map(fileOf) };
    writeFileSync(config, JSON.stringify(content));
    const args = [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', config];
    return promisify(execFile)(process.execPath, args, { cwd: project }).then(
      () => '',
      (error: { stdout: string; stderr: string }) => error.stdout + error.stderr,
    );
  };
  const withDom = BLOCKS.filter(({ language }) => language === 'ts');
  return (await compile(['ES2023'], TYPED)) + (await compile(['ES2023', 'DOM'], withDom));
}

describe('a block of code', () => {
  test.each(RUN.map((block) => [block.place, block] as const))('is run: %s', (place, { notes }) => {
    const outcome = outcomes.get(place);
    expect(outcome).toMatchObject({ status: 0, errors: '' });
    expect(outcome?.output).toContain(notes.get('prints') ?? '');
    // The site has names that this machine does not know, so an answer of it came through the proxy.
    if (notes.has('no request')) expect(outcome?.hosts).toEqual([]);
    else expect(outcome?.hosts).not.toEqual([]);
  });

  test('has types that fit, if it is of js or ts', () => {
    expect(TYPED.length).toBeGreaterThan(5);
    expect(EXAMPLES.length).toBeGreaterThan(5);
    expect(types).toBe('');
  });

  test('says why it is not run, and names its language', () => {
    for (const { place, language, notes } of BLOCKS) {
      expect(['js', 'cjs', 'ts', 'sh', 'text', 'json', 'ini', 'dockerfile'], place).toContain(language);
      expect(
        [...notes.keys()].filter((note) => !NOTES.has(note)),
        place,
      ).toEqual([]);
      if (notes.has('not run')) expect(notes.get('not run'), place).toMatch(/\w+ \w+/);
      const runner = notes.get('run by')?.split(',')[0];
      if (runner !== undefined) expect(existsSync(join(ROOT, runner)), place).toBe(true);
      if (language === 'ts') expect([...notes.keys()], place).toContain('not run');
    }
  });

  test('stands in a fence', () => {
    for (const page of PAGES) {
      const prose = read(page).replaceAll(/^```\w*\n[\s\S]*?^```$/gm, '');
      expect(prose.match(/\n\n {4}\S.*/g) ?? [], page).toEqual([]);
    }
  });

  test('installs packages that are made here', () => {
    const ours = list('packages', /^[a-z]+$/).map((folder) => {
      const manifest = JSON.parse(read(join(folder, 'package.json'))) as { name: string };
      return manifest.name;
    });
    // What a program has for its own development is made by others.
    const installs = BLOCKS.flatMap(({ code }) => code.match(/^npm install (?!--save-dev )(.*)$/gm) ?? []);
    expect(installs.length).toBeGreaterThan(0);
    for (const name of installs.flatMap((line) => line.split(' ').slice(2)))
      if (!name.startsWith('-')) expect(ours).toContain(name);
  });
});

describe('docs/servers.md says of real servers what the tests say of them', () => {
  /** The rows of its tables, cell by cell, by the name of the server in the first cell. */
  const rows = [...read('docs/servers.md').matchAll(/^\| ([\w, `-]+?)(?: \([\d.]+\))? \| (.*) \|$/gm)].map(
    ([, name = '', cells = '']): [string, string[]] => [name, cells.split('|').map((cell) => cell.trim())],
  );
  const cellsOf = (name: string, columns: number): string[] =>
    rows.find(([first, cells]) => first === name && cells.length === columns)?.[1] ?? [];
  const codes = (found: readonly unknown[]): string[] =>
    [...new Set(found.flat().map((outcome) => String(outcome).replace('ERR_SOCKS_', '')))]
      .filter((outcome) => outcome !== 'undefined')
      .toSorted();
  const codesIn = (cell = ''): string[] =>
    codes(cell.includes('the tunnel opens') ? ['ended'] : (cell.match(/(?<=`)[A-Z_]+(?=`)/g) ?? []));

  const named = (pattern: RegExp): InteropServer[] => SERVERS.filter(({ name }) => pattern.test(name));
  const LISTED: readonly [string, readonly InteropServer[]][] = [
    ['dante', named(/^dante/)],
    ['microsocks', named(/^microsocks/)],
    ['OpenSSH, `ssh -D`', named(/^OpenSSH/)],
    ['tor', [torNetwork]],
    ['tor without a network', named(/^tor/)],
    ['shadowsocks, `ss-local`', named(/^ss-local/)],
    ['v2ray', named(/^v2ray/)],
  ];

  test.each(LISTED)('%s', (name, servers) => {
    expect(servers.length).toBeGreaterThan(0);
    if (name !== 'tor without a network') {
      const [socks4, socks4a, socks5, password] = cellsOf(name, 6);
      const supports = ([4, '4a', 5, 'userpass'] as const).map((what) =>
        servers.some((server) => server.supports[what]) ? 'yes' : 'no',
      );
      expect([socks4, socks4a, socks5, password?.replace(/:.*/, '')]).toEqual(supports);
    }
    const traits = servers.map((server) => server.traits);
    expect(cellsOf(name, 4).map((cell) => codesIn(cell))).toEqual([
      codes(traits.flatMap(({ refused }) => Object.values(refused))),
      codes(traits.flatMap(({ unknownName }) => Object.values(unknownName))),
      codes(traits.map(({ badPassword }) => badPassword)),
      codes(traits.map(({ noAcceptableMethod }) => noAcceptableMethod)),
    ]);
  });
});

describe.each(list('packages', /^[a-z]+$/))('the README of %s', (folder) => {
  const page = join(folder, 'README.md');

  test('has a sentence, the install, an example of ten lines and the Node on its first screen', () => {
    const [, sentence = ''] = read(page).split('\n').filter(Boolean);
    expect(sentence).toMatch(/^[A-Z].*\.$/);
    expect(blocksOf(page)[0]?.code).toMatch(/^npm install /);
    const example = blocksOf(page).find(isRun);
    expect(example?.code.trim().split('\n').filter(Boolean).length).toBeLessThanOrEqual(10);
    const [before] = read(page).split(/^## /m);
    expect(before).toContain(example?.code);
    expect(before).toContain('Needs Node 20.19 or later.');
  });

  test('ends with its errors and its links', () => {
    const headings = (read(page).match(/^## .*$/gm) ?? []).map((line) => line.slice(3));
    expect(headings.slice(-2)).toEqual(['Errors', 'More']);
    expect(headings.length).toBeGreaterThan(2);
  });
});

describe('the README', () => {
  test('says in its first lines what to install, and shows a fetch of at most four lines', () => {
    const first = blocksOf('README.md').filter(({ language }) => language === 'js' || language === 'sh');
    expect(first[0]?.code).toMatch(/^npm install @socksify\/undici\n$/);
    expect(first[1]?.code.trim().split('\n').filter(Boolean).length).toBeLessThanOrEqual(4);
    expect(first[1]?.code).toContain('await fetch(');
  });

  test('names the command that runs the tests, which .ci/run runs', () => {
    expect(read('README.md')).toContain('npx -y pnpm@12 test');
    expect(read('CONTRIBUTING.md')).toContain('npx -y pnpm@12 test');
    const script = read('.ci/run');
    expect(script).toContain('pnpm() { npx -y pnpm@12 "$@"; }');
    expect(script).toMatch(/^pnpm test /m);
  });

  test('has no figure that docs/performance.md does not have', () => {
    const [, figures = ''] = /<!-- figures -->([\s\S]*?)<!-- \/figures -->/.exec(read('README.md')) ?? [];
    const numbersIn = (text: string): string[] => text.match(/\d+(?:[.,]\d+)*/g) ?? [];
    expect(numbersIn(figures).length).toBeGreaterThan(1);
    const known = new Set(numbersIn(read('docs/performance.md')));
    expect(numbersIn(figures).filter((number) => !known.has(number))).toEqual([]);
  });

  test('names the oldest Node that the packages take', () => {
    for (const folder of list('packages', /^[a-z]+$/)) {
      const { engines } = JSON.parse(read(join(folder, 'package.json'))) as { engines: { node: string } };
      expect(engines.node, folder).toBe('>=20.19');
    }
    expect(read('README.md')).toContain('Node 20.19');
  });
});

describe('a release', () => {
  const manifests = list('packages', /^[a-z]+$/).map(
    (folder) => JSON.parse(read(join(folder, 'package.json'))) as { name: string; version: string },
  );

  test('has the same version for all packages, which CHANGELOG.md names first', () => {
    const [, newest] = /^## (\d+\.\d+\.\d+)/m.exec(read('CHANGELOG.md')) ?? [];
    for (const { name, version } of manifests) expect(version, name).toBe(newest);
  });

  test('gives all packages their next version together', () => {
    const { fixed } = JSON.parse(read('.changeset/config.json')) as { fixed: string[][] };
    expect(fixed.map((names) => names.toSorted())).toEqual([manifests.map(({ name }) => name).toSorted()]);
  });
});
