// Changes the code of the parts that parts.ts names, one place at a time, and counts the changes that no test notices:
// `pnpm run mutants` for all parts, or `pnpm run mutants env protocol` for these. It fails when fewer than LIMIT percent
// of the changes in logic are noticed, and when one that is not noticed has no reason in survivors.ts. Changed texts are
// counted apart: most of them are sentences for people, which no test should repeat.

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { PARTS } from './parts.ts';
import { SURVIVORS } from './survivors.ts';

const LIMIT = 90;

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const STRYKER = here('node_modules/@stryker-mutator/core/bin/stryker.js');

const names = process.argv.length > 2 ? process.argv.slice(2) : Object.keys(PARTS);
const logic = { noticed: 0, all: 0 };
const texts = { noticed: 0, all: 0 };
const unlisted = [];
const outdated = [];
for (const name of names) {
  if (!(name in PARTS)) throw new Error(`${name} is none of ${Object.keys(PARTS).join(', ')}`);
  const args = [STRYKER, 'run', here('stryker.config.js')];
  const env = { ...process.env, MUTANTS: name };
  const { status } = spawnSync(process.execPath, args, { cwd: here('../..'), stdio: 'inherit', env });
  if (status !== 0) process.exit(1);
  const report = JSON.parse(readFileSync(here(`reports/${name}.json`), 'utf8'));
  for (const [file, { source, mutants }] of Object.entries(report.files)) count(file, source, mutants);
}
print('all', logic, texts);
for (const survivor of unlisted) console.log(`NO REASON ${survivor}`);
for (const survivor of outdated) console.log(`listed, but noticed by a test: ${survivor}`);
process.exitCode = percent(logic) < LIMIT || unlisted.length > 0 ? 1 : 0;

function count(file, source, mutants) {
  const lines = source.split('\n');
  const own = { logic: { noticed: 0, all: 0 }, texts: { noticed: 0, all: 0 } };
  const reasons = Object.values(SURVIVORS[file] ?? {}).flat();
  const survivors = new Set();
  for (const { mutatorName, status, location, replacement } of mutants) {
    if (['Ignored', 'CompileError', 'RuntimeError'].includes(status)) continue;
    const noticed = status === 'Killed' || status === 'Timeout';
    const isText = mutatorName === 'StringLiteral';
    for (const sum of isText ? [own.texts, texts] : [own.logic, logic]) {
      sum.all += 1;
      if (noticed) sum.noticed += 1;
    }
    if (noticed || isText) continue;
    const change = `${short(textAt(lines, location))} => ${short(replacement)}`;
    survivors.add(change);
    if (!reasons.includes(change)) unlisted.push(`${file}:${location.start.line} ${change}`);
  }
  outdated.push(...reasons.filter((change) => !survivors.has(change)).map((change) => `${file} ${change}`));
  print(file, own.logic, own.texts);
}

function textAt(lines, { start, end }) {
  const part = lines.slice(start.line - 1, end.line);
  part[part.length - 1] = part.at(-1).slice(0, end.column - 1);
  part[0] = part[0].slice(start.column - 1);
  return part.join(' ');
}

function short(text) {
  const line = text.replaceAll(/\s+/g, ' ');
  return line.length > 120 ? `${line.slice(0, 119)}…` : line;
}

function percent({ noticed, all }) {
  return all === 0 ? 100 : (100 * noticed) / all;
}

function print(name, ...sums) {
  const [ofLogic, ofTexts] = sums.map((sum) => `${percent(sum).toFixed(1)} % (${sum.noticed} of ${sum.all})`);
  console.log(`${name}: logic ${ofLogic}, texts ${ofTexts}`);
}
