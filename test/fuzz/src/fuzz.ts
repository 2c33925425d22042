// The command: runs all properties in turn until the time is over, or until one of them fails; then says how to see
// that again. Seeds count up from the first, so that a run can be repeated from its first line.

import { inspect, parseArgs } from 'node:util';
import fc from 'fast-check';
import type { RunDetails } from 'fast-check';
import { PROPERTIES } from './properties.ts';
import type { Property } from './property.ts';

const USAGE = `fuzz [--minutes N] [--seed S] [--only TEXT] [--path P]

  --minutes N   how long to look (default 1); every property is run once at least
  --seed S      the seed of the first round, any integer of 32 bits (default: by chance)
  --only TEXT   only properties with this in their names
  --path P      replay a counterexample, with the --seed and --only that were printed with it`;

/** Runs of one property in one round: small against a second, large against what starting them costs. */
const ROUND = 250;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Math.trunc((Math.random() - 0.5) * 2 ** 32)) },
    only: { type: 'string', default: '' },
    path: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

const seed = Number(values.seed) | 0;
const minutes = Number(values.minutes);
const properties = PROPERTIES.filter(({ name }) => name.includes(values.only));
const runs = new Map<Property, number>(properties.map((property) => [property, 0]));
let current: { readonly property: Property; readonly seed: number } | undefined;

if (
  values.help ||
  !Number.isFinite(minutes) ||
  !Number.isInteger(Number(values.seed)) ||
  properties.length === 0
) {
  console.log(USAGE);
  process.exitCode = values.help ? 0 : 2;
} else {
  console.log(`seed ${seed}`);
  // An error that nobody waits for is a finding like any other.
  process.on('unhandledRejection', (error) => stray('unhandled rejection', error));
  process.on('uncaughtException', (error) => stray('uncaught exception', error));
  process.exitCode = (await look()) ? 1 : 0;
}

/** Is there a counterexample? */
async function look(): Promise<boolean> {
  const until = performance.now() + minutes * 60_000;
  for (let round = 0; round === 0 || performance.now() < until; round++) {
    for (const property of properties) {
      if (round > 0 && performance.now() > until) break;
      const details = await run(property, (seed + round) | 0);
      runs.set(property, (runs.get(property) ?? 0) + details.numRuns);
      if (!details.failed) continue;
      await report(property, details);
      return true;
    }
    if (values.path !== undefined) break;
  }
  summarise();
  console.log('nothing found');
  return false;
}

async function run(property: Property, from: number): Promise<RunDetails<unknown>> {
  current = { property, seed: from };
  const { path } = values;
  return fc.check(property.check, { seed: from, numRuns: ROUND, ...(path !== undefined && { path }) });
}

async function report(property: Property, details: RunDetails<unknown>): Promise<void> {
  summarise();
  console.log(`\nfound: ${property.name}\n`);
  console.log(await fc.asyncDefaultReportMessage(details));
  console.log(inspect(details.errorInstance));
  console.log(
    `\nagain: --only '${property.name}' --seed ${details.seed} --path ${details.counterexamplePath}`,
  );
}

function stray(kind: string, error: unknown): void {
  summarise();
  console.log(`\nfound: ${kind} during "${current?.property.name}"\n${inspect(error)}`);
  console.log(`\nagain: --only '${current?.property.name}' --seed ${current?.seed}`);
  process.exit(1);
}

function summarise(): void {
  for (const [{ name, ends }, count] of runs) {
    const list = Object.entries(ends).map(([end, times]) => `${end} ${times}`);
    console.log(`${String(count).padStart(9)}  ${name}${list.length > 0 ? ` (${list.join(', ')})` : ''}`);
  }
}
