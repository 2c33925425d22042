// Measures which lines and branches of packages/*/src the suites run, in Vitest and in the programs that tests start, and
// fails below the limits. Node runs the sources themselves: it blanks out the types, so that every position that V8
// counts is a position in the source. Arguments go to Vitest; `--from DIR` reports what NODE_V8_COVERAGE has left in DIR.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { mergeProcessCovs } from '@bcoe/v8-coverage';
import { convert } from 'ast-v8-to-istanbul';
import coverage from 'istanbul-lib-coverage';
import { parseAst } from 'rolldown/parseAst';

/** In percent, over all packages. */
const LIMITS = { lines: 98, branches: 95 };

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PACKAGES = join(ROOT, 'packages');
const packages = readdirSync(PACKAGES).filter((name) => existsSync(join(PACKAGES, name, 'package.json')));

/** The sources without types, by path. */
const codes = new Map();

const options = { from: { type: 'string' } };
const { values, positionals } = parseArgs({ options, allowPositionals: true, strict: false });
const counted = values.from ?? mkdtempSync(join(tmpdir(), 'socksify-coverage-'));
const status = values.from === undefined ? run(process.argv.slice(2)) : 0;
const enough = await report();
if (values.from === undefined) rmSync(counted, { recursive: true });
process.exitCode = status === 0 && (enough || positionals.length > 0) ? 0 : 1;

/** Runs the suites with packages whose built files lead to their sources. */
function run(args) {
  // An interrupt ends Vitest; what was built has to come back after that.
  process.on('SIGINT', () => {});
  for (const name of packages) writeStubs(join(PACKAGES, name));
  try {
    const namespace = join(ROOT, 'test/e2e/interop/namespace.sh');
    const vitest = [process.execPath, join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run'];
    const config = ['--config', join(ROOT, 'test/coverage/vitest.config.ts')];
    const env = { ...process.env, NODE_V8_COVERAGE: counted };
    const settings = { cwd: ROOT, stdio: 'inherit', env };
    return spawnSync('sh', [namespace, ...vitest, ...config, ...args], settings).status;
  } finally {
    spawnSync(process.execPath, [join(PACKAGES, 'build.js')], { stdio: 'inherit' });
  }
}

/** Tests and programs load the built files, and each of these becomes one line that loads its source. */
function writeStubs(folder) {
  for (const file of readdirSync(join(folder, 'dist'))) {
    const [, name, extension] = /^(.*)\.(js|cjs)$/.exec(file) ?? [];
    const source = `../src/${name}.ts`;
    if (name === undefined || !existsSync(join(folder, 'dist', source))) continue;
    const line = extension === 'cjs' ? `require('${source}');` : `export * from '${source}';`;
    writeFileSync(join(folder, 'dist', file), `${line}\n`);
  }
}

async function report() {
  const scripts = readCounts();
  const total = coverage.createCoverageSummary();
  for (const name of packages) {
    const folder = join(PACKAGES, name, 'src');
    const sum = coverage.createCoverageSummary();
    const gaps = [];
    for (const path of readdirSync(folder, { recursive: true })) {
      const file = path.endsWith('.ts') ? await ofFile(join(folder, path), scripts) : undefined;
      if (file === undefined) continue;
      sum.merge(file.toSummary());
      gaps.push(...gapsOf(file));
    }
    total.merge(sum);
    print(name, sum);
    for (const gap of gaps) console.log(`  ${gap}`);
  }
  print('all', total);
  return Object.entries(LIMITS).every(([what, limit]) => total.data[what].pct >= limit);
}

function print(name, { data: { lines, branches } }) {
  const [ofLines, ofBranches] = [lines, branches].map(
    ({ covered, total, pct }) => `${pct.toFixed(1)} % (${covered} of ${total})`,
  );
  console.log(`${name.padEnd(10)} lines ${ofLines}, branches ${ofBranches}`);
}

/** What V8 has counted in all processes, by the path of the source. */
function readCounts() {
  let merged = { result: [] };
  for (const name of readdirSync(counted)) {
    const result = parse(readFileSync(join(counted, name), 'utf8'))
      .map(({ scriptId, url, functions }) => ({ scriptId, url: url.replace(/\?.*/, ''), functions }))
      .filter(isSource);
    if (result.length > 0) merged = mergeProcessCovs([merged, { result }]);
  }
  return new Map(merged.result.map((script) => [fileURLToPath(script.url), script]));
}

/** False for what Vite has made of a source, for a test that wants a second copy: its positions are others. */
function isSource({ url, functions }) {
  if (!url.startsWith(pathToFileURL(`${PACKAGES}/`).href) || !/\/src\/.*\.ts$/.test(url)) return false;
  const surplus = functions[0].ranges[0].endOffset - codeOf(fileURLToPath(url)).length;
  // Node adds a comment with the URL.
  return surplus >= 0 && surplus < url.length + 50;
}

function codeOf(path) {
  if (!codes.has(path)) codes.set(path, stripTypeScriptTypes(readFileSync(path, 'utf8')));
  return codes.get(path);
}

/** A process that was killed while it wrote has left a part of its counts. They are left out. */
function parse(text) {
  try {
    return JSON.parse(text).result;
  } catch {
    return [];
  }
}

/**
 * True for `value ?? ''` and the like, with an empty text, list or object, 0 or -1: the type checker wants that behind
 * each index, and it never runs. Such a pair of branches counts neither as taken nor as missing.
 */
function isForTypes(node, type) {
  if (type !== 'branch' || node.type !== 'LogicalExpression' || node.operator !== '??') return false;
  const { right } = node;
  if (right.type === 'ArrayExpression') return right.elements.length === 0;
  if (right.type === 'ObjectExpression') return right.properties.length === 0;
  if (right.type === 'UnaryExpression') return right.operator === '-' && right.argument.value === 1;
  return right.type === 'Literal' && (right.value === '' || right.value === 0);
}

async function ofFile(path, scripts) {
  const code = codeOf(path);
  const whole = { startOffset: 0, endOffset: code.length, count: 0 };
  const never = { functionName: '', isBlockCoverage: true, ranges: [whole] };
  const { functions = [never] } = scripts.get(path) ?? {};
  const url = pathToFileURL(path).href;
  const counts = { url, functions };
  const data = await convert({ code, ast: parseAst(code), coverage: counts, ignoreNode: isForTypes });
  const [file] = Object.values(data);
  return file && coverage.createFileCoverage(file);
}

function gapsOf(file) {
  const path = relative(ROOT, file.path);
  const gaps = file.getUncoveredLines().map((line) => `${path}:${line} does not run`);
  for (const [id, counts] of Object.entries(file.b)) {
    const { type, loc, locations } = file.branchMap[id];
    for (const [i, count] of counts.entries()) {
      if (count > 0) continue;
      // An `if` without `else` has no position for the latter.
      const { line = loc.start.line, column = loc.start.column } = locations[i].start;
      gaps.push(`${path}:${line}:${column + 1} ${type}: branch ${i + 1} of ${counts.length} is not taken`);
    }
  }
  return gaps;
}
