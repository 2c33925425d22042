// Measures every figure of `figures.js`, each row against its control in one interleaved run: every candidate has a
// process of its own, and each round runs one batch of each, in random order. Quotients are taken within a round, so
// that a busy machine slows both sides. A second process of each control shows what the noise comes to.
//
//     node test/bench/bench.js [--only NAME]... [--rounds 25] [--json FILE] [--check]
//
// With `--check` the status is 1 when a goal is missed by more than the noise.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { FIGURES } from './figures.js';
import { shuffled, summarize } from './statistics.js';

/** Milliseconds after which a batch must have ended, however busy the machine is. */
const HANG = 120_000;

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: FIGURES.map(({ name }) => name) },
    rounds: { type: 'string', default: '25' },
    json: { type: 'string' },
    check: { type: 'boolean', default: false },
  },
});
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const unknown = values.only.filter((name) => !FIGURES.some((figure) => figure.name === name));
if (unknown.length > 0) {
  console.error(`no figure is called ${unknown.join(', ')}: ${FIGURES.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

const servers = fork(here('servers.js'));
const [ports] = await once(servers, 'message');
const results = [];
for (const figure of FIGURES.filter(({ name }) => values.only.includes(name))) {
  results.push(await measure(figure));
}
servers.disconnect();

if (values.json !== undefined) {
  const { node, undici } = process.versions;
  writeFileSync(
    values.json,
    `${JSON.stringify({ node, undici, rounds: Number(values.rounds), results }, null, 2)}\n`,
  );
}
const missed = results.flatMap(({ rows }) => rows.filter((row) => row.missed));
if (values.check && missed.length > 0) process.exitCode = 1;

async function measure({ name, title, file, size, warm, absolute = false, digits = 3, rows }) {
  const controls = absolute ? [] : new Set(rows.map(({ control }) => control));
  const candidates = [
    ...rows.map(({ row }) => ({ key: row, row })),
    ...[...controls].flatMap((row) => [
      { key: row, row },
      { key: `${row} again`, row },
    ]),
  ];
  const running = new Map();
  for (const { key, row } of candidates) running.set(key, await start(file, row));
  const samples = new Map(candidates.map(({ key }) => [key, []]));
  for (const batch of running.values()) await batch(warm);
  const rounds = Number(values.rounds);
  for (let round = 1; round <= rounds; round++) {
    progress(`${name}: round ${round} of ${rounds}`);
    for (const key of shuffled([...running.keys()])) samples.get(key).push(await running.get(key)(size));
  }
  for (const batch of running.values()) batch.stop();
  progress('');

  const quotients = (row, control) => samples.get(row).map((value, i) => value / samples.get(control)[i]);
  const summaries = rows.map(({ row, control, goal }) => {
    const figure = summarize(absolute ? samples.get(row) : quotients(row, control));
    const noise = absolute
      ? undefined
      : Math.abs(summarize(quotients(`${control} again`, control)).median - 1);
    const over = goal !== undefined && figure.median - 2 * figure.error - (noise ?? 0) > goal;
    return { row, control, goal, noise, missed: over, ...figure };
  });
  console.log(`\n${title}\n`);
  for (const summary of summaries) print(summary, digits);
  return { name, title, rows: summaries };
}

function print({ row, low, median, high, noise, goal, missed: over }, digits) {
  const [a, b, c] = [low, median, high].map((value) => value.toFixed(digits));
  const floor = noise === undefined ? '' : `, noise ${noise.toFixed(digits)}`;
  const verdict = goal === undefined ? '' : `, goal ${goal}${over ? ': MISSED' : ''}`;
  console.log(`  ${row.padEnd(36)} ${b} (${a} to ${c})${floor}${verdict}`);
}

/** Starts a candidate in a process of its own. */
async function start(file, row) {
  const execArgv = ['--expose-gc', '--no-warnings'];
  const child = fork(here('candidate.js'), [file, row, JSON.stringify(ports)], { execArgv });
  const ended = once(child, 'exit').then(([status]) => {
    throw new Error(`${row} ended with ${status}`);
  });
  ended.catch(() => {});
  await Promise.race([once(child, 'message'), ended]);
  const batch = async (size) => {
    child.send(size);
    const signal = AbortSignal.timeout(HANG);
    const [value] = await Promise.race([once(child, 'message', { signal }), ended]);
    return value;
  };
  batch.stop = () => child.disconnect();
  return batch;
}

/** A line that the next one replaces, on a terminal only. */
function progress(line) {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001B[K${line}`);
}
