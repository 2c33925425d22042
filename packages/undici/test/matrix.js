// Prints which Agent works under which consumer on which Node: matrix.test.ts on every Node, as a table.

import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'matrix-'));
const consumers = [
  'the fetch of Node',
  ...[5, 6, 7, 8].flatMap((n) => [`the fetch of undici ${n}`, `the request of undici ${n}`]),
];
const rows = [];
const failures = [];

for (const version of [20, 22, 24, 26]) {
  const node = join(root, `test/runtimes/node_modules/node${version}/bin/node`);
  // Without the binaries of test/runtimes, which are for Linux on x64, the Node at hand stands for its own version.
  const own = process.versions.node.startsWith(`${version}.`);
  if (!existsSync(node) && !own) {
    failures.push(`Node ${version} is not installed in test/runtimes`);
    continue;
  }
  const tests = await run(existsSync(node) ? node : process.execPath, String(version));
  for (const agent of ["Node's", 'undici 5', 'undici 6', 'undici 7', 'undici 8']) {
    const ofAgent = tests.filter(({ ancestorTitles: [title] }) =>
      title.replace(`Node ${version}'s`, "Node's").includes(agent),
    );
    rows.push([`Node ${version}, ${agent}`, ...consumers.map((consumer) => cell(ofAgent, consumer))]);
  }
}
rmSync(scratch, { recursive: true });

const head = ['', 'Node fetch', ...[5, 6, 7, 8].flatMap((n) => [`${n} fetch`, `${n} request`])];
const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i].length)));
const line = (cells) => console.log(`| ${cells.map((text, i) => text.padEnd(widths[i])).join(' | ')} |`);
line(head);
line(widths.map((width) => '-'.repeat(width)));
rows.forEach(line);
console.log(
  '\nA cell: tests passed. –: does not exist, undici 8 needs Node 22.19. Node 20 has no WebSocket of its own.',
);
for (const failure of failures) console.log(`FAILED: ${failure}`);
process.exitCode = failures.length > 0 ? 1 : 0;

function cell(tests, consumer) {
  const own = tests.filter(({ ancestorTitles: [, title] }) => title.includes(consumer));
  if (own.length === 0) return '–';
  const count = (status) => own.filter((test) => test.status === status).length;
  for (const { status, fullName } of own) if (status === 'failed') failures.push(fullName);
  return count('failed') === 0 ? `${count('passed')}` : `${count('failed')} FAILED`;
}

async function run(node, name) {
  const report = join(scratch, `${name}.json`);
  const args = [
    'node_modules/vitest/vitest.mjs',
    'run',
    '--config',
    'test/vitest.config.ts',
    '--reporter=json',
  ];
  const child = spawn(node, [...args, `--outputFile=${report}`, 'packages/undici/test/matrix.test.ts'], {
    cwd: root,
    stdio: 'ignore',
  });
  const code = await new Promise((resolve) => child.once('exit', resolve));
  const results = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')).testResults : [];
  const tests = results.flatMap(({ assertionResults }) => assertionResults);
  if (code !== 0 && !tests.some(({ status }) => status === 'failed'))
    failures.push(`Node ${name}: the run ended with ${code}`);
  return tests;
}
