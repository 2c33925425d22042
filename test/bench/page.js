// Writes the figures of a run into docs/performance.md and README.md, between their marks, and draws the charts.
//
//     node test/bench/page.js FILE    the file that `bench.js --json FILE --profile` has written

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { drawChart } from './chart.js';

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error('name the file that bench.js --json has written');
const run = JSON.parse(readFileSync(file, 'utf8'));
const root = new URL('../../', import.meta.url);
const figures = new Map(run.results.map((result) => [result.name, result]));

mkdirSync(new URL('docs/performance/', root), { recursive: true });
let page = readFileSync(new URL('docs/performance.md', root), 'utf8');
page = between(page, 'run', runText());
for (const result of run.results) {
  if (!page.includes(`<!-- figure: ${result.name} -->`)) continue;
  const parts = [tableOf(result), profileOf(result)];
  if (isDrawn(result)) {
    const path = `performance/${result.name}.svg`;
    writeFileSync(new URL(`docs/${path}`, root), drawChart(result));
    parts.unshift(`![${result.title}](${path})\n`);
  }
  page = between(page, `figure: ${result.name}`, parts.filter(Boolean).join('\n'), 'figure');
}
writeFileSync(new URL('docs/performance.md', root), page);

const readme = new URL('README.md', root);
if (['connections', 'requests', 'trips'].every((name) => figures.has(name))) {
  writeFileSync(readme, between(readFileSync(readme, 'utf8'), 'figures', readmeText()));
}
console.log(`docs/performance.md, docs/performance/*.svg and README.md have the figures of ${file}`);

/** Replaces what stands between `<!-- START -->` and `<!-- /END -->`. */
function between(text, start, content, end = start) {
  const [open, close] = [`<!-- ${start} -->`, `<!-- /${end} -->`];
  const from = text.indexOf(open);
  const to = text.indexOf(close, from);
  if (from === -1 || to === -1) throw new Error(`there is no ${open} ${close}`);
  return `${text.slice(0, from + open.length)}\n${content.trimEnd()}\n${text.slice(to)}`;
}

function runText() {
  const minutes = Math.round(run.seconds / 60);
  return `These are the figures of one run of ${minutes} minutes: Node ${run.node}, ${run.cores} cores of ${run.cpu}, ${run.date.slice(0, 10)}.`;
}

/** Counts that differ by nothing need no chart. */
function isDrawn({ rows, by }) {
  return by === 'quotient' || rows.length > 4;
}

function tableOf({ rows, digits, by }) {
  const isCompared = by !== 'itself';
  const lines = rows.map(({ row, low, median, high, noise, goal, missed }) => {
    const [a, b, c] = [low, median, high].map((value) => shown(value, digits));
    const cells = [row, `**${b}**`, a === c ? '' : `${a} to ${c}`];
    if (isCompared) cells.push(shown(noise, digits));
    cells.push(goal === undefined ? '' : `${goal}${missed ? ', missed' : ''}`);
    return `| ${cells.join(' | ')} |`;
  });
  const head = ['', 'median', 'quartiles', ...(isCompared ? ['noise'] : []), 'goal'];
  return [`| ${head.join(' | ')} |`, `|${head.map(() => '---').join('|')}|`, ...lines, ''].join('\n');
}

function shown(value, digits) {
  // No figure is worth more than two digits behind the point.
  const text = value.toFixed(Math.min(digits, 2));
  return Number(text) === 0 ? text.replace('-', '') : text;
}

/** Where the time of the rows that miss their goal goes, beside that of their control. */
function profileOf({ rows, profiles = {} }) {
  const lines = [];
  for (const { row, control } of rows) {
    const [of, its] = [profiles[row], profiles[control]];
    if (!of || !its) continue;
    const areas = [...new Set([...Object.keys(of.areas), ...Object.keys(its.areas)])];
    for (const area of areas) {
      const [mine, others] = [of.areas[area] ?? 0, its.areas[area] ?? 0];
      if (Math.max(mine, others) >= 1)
        lines.push(`| ${row} | ${area} | ${mine.toFixed(0)} | ${others.toFixed(0)} |`);
    }
    const functions = Object.entries(of.functions)
      .filter(([name]) => name.length > 2)
      .slice(0, 5);
    const named = functions.map(([name, time]) => `\`${name}\` ${time.toFixed(1)}`).join(', ');
    lines.push(`| ${row} | the largest of socksify | ${named} | |`);
  }
  if (lines.length === 0) return '';
  const head = '| missed by | microseconds of one operation in | here | in the control |';
  return `Where the time goes, from a profile:\n\n${head}\n|---|---|---|---|\n${lines.join('\n')}\n`;
}

/** The three figures of the README. */
function readmeText() {
  return `- **A new connection** takes ${medianOf('connections', 'http: agent')} times the CPU of the least code that can open one;
  socks-proxy-agent takes ${medianOf('connections', 'http: socks-proxy-agent')} times as much.
- **A request over a connection that was kept alive** takes ${medianOf('requests', 'http: agent')} times the CPU of Node's own agent;
  socks-proxy-agent takes ${medianOf('requests', 'http: socks-proxy-agent')} times as much.
- **As few round trips as without a proxy**, with \`standby\`: ${medianOf('trips', 'http: agent')} until the first byte of an answer comes.
  With a new tunnel and a password there are 5, and 3 with \`pipeline\`.`;
}

function medianOf(name, row) {
  const { rows, digits } = figures.get(name) ?? { rows: [] };
  const found = rows.find((one) => one.row === row);
  if (!found) throw new Error(`the run has no figure ${name}: ${row}`);
  return shown(found.median, digits);
}
