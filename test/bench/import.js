// What importing each package costs: the CPU time of a process that imports it besides net, tls, http and https, minus
// that of one that imports those alone. Each round runs every program once, in random order, and differences are taken
// within a round, so that a busy machine slows both sides. The plain program runs twice in a round: a package is compared
// with the mean of both, and what the two differ by is noise.
//
//     node test/bench/import.js [--node 20]... [--rounds 40] [--folder packages] [--check]

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { shuffled, summarize } from './statistics.js';

/** What `--check` allows, in milliseconds. */
const LIMITS = { core: 5, env: 8, agent: 9, undici: 9 };

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const { values } = parseArgs({
  options: {
    node: { type: 'string', multiple: true, default: [] },
    rounds: { type: 'string', default: '40' },
    folder: { type: 'string', default: here('../../packages') },
    check: { type: 'boolean', default: false },
  },
});

const binaries = values.node.map((version) => here(`../runtimes/node_modules/node${version}/bin/node`));
let failed = false;
for (const binary of binaries.length > 0 ? binaries : [process.execPath]) measure(binary);
if (values.check && failed) process.exitCode = 1;

function measure(binary) {
  if (!existsSync(binary)) throw new Error(`${binary} is not installed`);
  const plain = ['net', 'tls', 'http', 'https'].map((name) => `import 'node:${name}';`).join('');
  const programs = { plain, control: plain };
  for (const name of Object.keys(LIMITS)) {
    const { href } = pathToFileURL(join(values.folder, name, 'dist/index.js'));
    programs[name] = `${plain}import '${href}';`;
  }
  const names = Object.keys(programs);
  for (const name of names) cpuOf(binary, programs[name]); // fills the caches of the file system

  const differences = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < Number(values.rounds); round += 1) {
    const cost = {};
    for (const name of shuffled(names)) cost[name] = cpuOf(binary, programs[name]);
    for (const name of names) {
      const base = name === 'control' ? cost.plain : (cost.plain + cost.control) / 2;
      differences[name].push(cost[name] - base);
    }
  }

  const noise = Math.abs(summarize(differences.control).median);
  const version = spawnSync(binary, ['--version'], { encoding: 'utf8' }).stdout.trim();
  console.log(
    `${version}, ${values.rounds} rounds: milliseconds of CPU, median (quartiles) ± error of the median`,
  );
  for (const name of ['control', ...Object.keys(LIMITS)]) {
    const { low, median, high, error } = summarize(differences[name]);
    const limit = LIMITS[name];
    // Fails only what is over the limit beyond doubt: two errors of the median and what the control is off by.
    const over = limit !== undefined && median - 2 * error - noise > limit;
    const verdict = limit === undefined ? '' : `  limit ${limit}${over ? ': OVER' : ''}`;
    console.log(
      `  ${name.padEnd(8)} ${sign(median)} (${sign(low)} to ${sign(high)}) ± ${error.toFixed(1)}${verdict}`,
    );
    failed ||= over;
  }
}

/** Milliseconds of user and system time, of all threads, up to the end of the program. */
function cpuOf(binary, program) {
  const report = `process.on('exit', () => { const { user, system } = process.cpuUsage(); console.log(user + system); });`;
  const args = ['--input-type=module', '--eval', program + report];
  const { status, stdout, stderr } = spawnSync(binary, args, { encoding: 'utf8', env: {} });
  if (status !== 0) throw new Error(`${binary} ended with ${status}: ${stderr}`);
  return Number(stdout) / 1000;
}

function sign(number) {
  return `${number < 0 ? '' : '+'}${number.toFixed(1)}`;
}
