// Measures every figure of `figures.js`, each row against its control in one interleaved run: every candidate has a
// process of its own, and each round runs one batch of each, in random order. Rows and controls are compared within a
// round, so that a busy machine slows both sides. A second process of each control shows what the noise comes to. Where
// CPU is measured, every candidate gets a fresh process after some rounds.
//
//     node test/bench/bench.js [--only NAME]... [--rounds 25] [--json FILE] [--check] [--small] [--profile]
//         [--before FOLDER]
//
// `--before` names a built checkout of this repository, with an earlier version of the packages. Each row with a goal or a
// limit is then also measured there, in the same rounds, and compared with that, but for those of `tunnels` and `origins`.
//
// With `--check` the status is 1 when a row is above its limit by more than the noise; without a limit of its own, its
// limit is its goal. A row misses its goal when its median is above it, be it by less than the noise. `--profile` says of
// such a row where its time goes. `--small` takes about a minute: counts, memory and a few quotients.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { FIGURES } from './figures.js';
import { shuffled, summarize } from './statistics.js';

/** How a row is compared with its control. */
const COMPARISONS = {
  quotient: (value, control) => value / control,
  difference: (value, control) => value - control,
};
/** Milliseconds after which a batch must have ended, however busy the machine is. */
const HANG = 120_000;

const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: FIGURES.map(({ name }) => name) },
    rounds: { type: 'string' },
    json: { type: 'string' },
    check: { type: 'boolean', default: false },
    small: { type: 'boolean', default: false },
    profile: { type: 'boolean', default: false },
    before: { type: 'string' },
  },
});
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const unknown = values.only.filter((name) => !FIGURES.some((figure) => figure.name === name));
if (unknown.length > 0) {
  console.error(`no figure is called ${unknown.join(', ')}: ${FIGURES.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

const began = performance.now();
const servers = fork(here('servers.js'));
const [ports] = await once(servers, 'message');
const results = [];
for (const figure of FIGURES.filter(({ name }) => values.only.includes(name))) {
  if (!values.small) results.push(await measure(figure));
  else if (figure.small) results.push(await measure({ ...figure, ...figure.small }));
}
servers.disconnect();
const seconds = Math.round((performance.now() - began) / 1000);
console.log(`\n${seconds} s`);

if (values.json !== undefined) {
  const { node, undici } = process.versions;
  const [{ model }, { length }] = [cpus()[0], cpus()];
  const run = { node, undici, cpu: model, cores: length, date: new Date().toISOString(), seconds, results };
  mkdirSync(dirname(values.json), { recursive: true });
  writeFileSync(values.json, `${JSON.stringify(run, null, 2)}\n`);
}
const over = results.flatMap(({ title, rows }) =>
  rows
    .filter((row) => row.over)
    .map(({ row, median, limit }) => `OVER ITS LIMIT: ${title}: ${row}: ${median} > ${limit}`),
);
for (const line of over) console.error(line);
if (values.check && over.length > 0) process.exitCode = 1;

async function measure({
  name,
  title,
  by = 'quotient',
  file,
  size,
  warm,
  rounds,
  renew = Infinity,
  crowded = false,
  digits = 3,
  execArgv,
  rows,
}) {
  const compare = COMPARISONS[by];
  const controls = compare ? new Set(rows.map(({ control }) => control)) : [];
  const candidates = [
    ...rows.map(({ row }) => ({ key: row, row })),
    ...[...controls].flatMap((row) => [
      { key: row, row },
      { key: `${row} again`, row },
    ]),
    ...rows
      .filter(({ goal, limit = goal }) => values.before !== undefined && !crowded && limit !== undefined)
      .map(({ row }) => ({ key: `${row} before`, row, folder: join(values.before, 'test/bench') })),
  ];
  const running = new Map();
  const stop = () => {
    for (const batch of running.values()) batch.stop();
  };
  const samples = new Map(candidates.map(({ key }) => [key, []]));
  /** One batch of each candidate. */
  const runAll = async (use) => {
    for (const key of shuffled([...running.keys()])) use(key, await running.get(key)(size));
  };
  const count = Number(values.rounds ?? rounds);
  for (let round = 1; round <= count; round++) {
    if (round === 1 || (round - 1) % renew === 0) {
      stop();
      for (const { key, row, folder } of shuffled(candidates))
        running.set(key, await start(row, { file, execArgv, folder }));
      for (let warmed = 0; warmed < warm; warmed += size) await runAll(() => {});
    }
    progress(`${name}: round ${round} of ${count}`);
    await runAll((key, value) => samples.get(key).push(value));
  }
  progress('');

  const compared = (row, control) =>
    samples.get(row).map((value, i) => compare(value, samples.get(control)[i]));
  const summaries = rows.map(({ row, control, goal, limit = goal }) => {
    const figure = summarize(compare ? compared(row, control) : samples.get(row));
    const noise = compare && noiseOf(compared(`${control} again`, control), compare(1, 1));
    const least = figure.median - 2 * figure.error - (noise ?? 0);
    const earlier = samples.get(`${row} before`);
    const change = earlier?.map((value, i) =>
      (compare ?? COMPARISONS.difference)(samples.get(row)[i], value),
    );
    return {
      row,
      ...(control !== undefined && { control }),
      ...(goal !== undefined && { goal, missed: figure.median > goal }),
      ...(limit !== undefined && { limit, over: least > limit }),
      ...(noise !== undefined && { noise }),
      ...figure,
      ...(change && { change: summarize(change) }),
    };
  });
  console.log(`\n${title}\n`);
  for (const summary of summaries) print(summary, digits);

  const profiles = {};
  if (values.profile && by === 'quotient' && file !== 'memory') {
    for (const { row, control } of summaries.filter(({ missed }) => missed)) {
      for (const key of [row, control]) profiles[key] ??= await running.get(key)({ profile: 4 * size });
    }
  }
  stop();
  return { name, title, by, digits, rounds: count, rows: summaries, profiles };
}

/** How far a control can be from itself: what its median is off by, and twice the error of the median. */
function noiseOf(found, none) {
  const { median, error } = summarize(found);
  return Math.abs(median - none) + 2 * error;
}

function print({ row, noise, goal, limit, missed, over: isOver, change, ...figure }, digits) {
  const spread = ({ low, median, high }) => {
    const [a, b, c] = [low, median, high].map((value) => value.toFixed(digits));
    return `${b} (${a} to ${c})`;
  };
  const parts = [`  ${row.padEnd(40)} ${spread(figure)}`];
  if (noise !== undefined) parts.push(`noise ${noise.toFixed(digits)}`);
  if (goal !== undefined) parts.push(`goal ${goal}${missed ? ': missed' : ''}`);
  if (limit !== undefined && limit !== goal) parts.push(`limit ${limit}`);
  if (change) parts.push(`against before ${spread(change)}`);
  console.log(`${parts.join(', ')}${isOver ? ': OVER' : ''}`);
}

/**
 * Starts a candidate in a process of its own. V8's memory reducer would make the young generation smaller in each process
 * that waits long for the others, and such a process is slower by a quarter for the rest of its life.
 */
async function start(row, { file, execArgv = [], folder = here('.') }) {
  const flags = ['--expose-gc', '--no-warnings', '--no-memory-reducer', ...execArgv];
  const child = fork(join(folder, 'candidate.js'), [file, row, JSON.stringify(ports)], { execArgv: flags });
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
