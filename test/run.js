// Runs the whole suite, on this Node or on those named by --node, where nothing but the loopback exists; ends with
// one line that counts the tests of all runs. Other arguments go to Vitest: `pnpm test packages/core`.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

const { values, positionals } = parseArgs({
  options: { node: { type: 'string', multiple: true, default: [] } },
  allowPositionals: true,
});

const binaries = values.node.length === 0 ? [process.execPath] : values.node.map(binaryOf);
const namespace = namespaceCommand();
const scratch = mkdtempSync(join(tmpdir(), 'socksify-'));
const total = { passed: 0, failed: 0, skipped: 0 };
const failures = [];
for (const [i, node] of binaries.entries()) {
  const version = spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim();
  console.log(`\n# ${version}`);
  const report = join(scratch, `${i}.json`);
  const vitest = [here('../node_modules/vitest/vitest.mjs'), 'run', '--config', here('vitest.config.ts')];
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const [command, ...args] = [...namespace, node, ...vitest, ...reporters, ...positionals];
  const { status } = spawnSync(command, args, { stdio: 'inherit' });
  const failed = count(report, version);
  // A run that dies without a failing test (an unhandled rejection, a crash) has failed all the same.
  if (status !== 0 && failed === 0) {
    total.failed += 1;
    failures.push(`${version}: Vitest ended with ${status}, no test failed`);
  }
}
rmSync(scratch, { recursive: true });
// Once more at the end: of a long log often only that is kept.
for (const failure of failures) console.log(`\nFAILED ${failure}`);
const skipped = total.skipped > 0 ? `, ${total.skipped} skipped` : '';
console.log(`\n${total.passed} passed, ${total.failed} failed${skipped}`);
process.exitCode = total.failed > 0 ? 1 : 0;

function count(report, version) {
  if (!existsSync(report)) return 0;
  const { numPassedTests, numFailedTests, numPendingTests, testResults } = JSON.parse(
    readFileSync(report, 'utf8'),
  );
  const broken = testResults.filter(
    (file) => file.status === 'failed' && file.assertionResults.length === 0,
  ).length;
  total.passed += numPassedTests;
  total.failed += numFailedTests + broken;
  total.skipped += numPendingTests;
  for (const { name, message, assertionResults } of testResults) {
    const file = relative(here('..'), name);
    if (message) failures.push(`${version}: ${file}: ${message}`);
    for (const { status, fullName, failureMessages } of assertionResults) {
      if (status === 'failed')
        failures.push(`${version}: ${file}: ${fullName}\n${failureMessages.join('\n')}`);
    }
  }
  return numFailedTests + broken;
}

function binaryOf(version) {
  const path = here(`runtimes/node_modules/node${version}/bin/node`);
  if (!existsSync(path))
    throw new Error(`Node ${version} is not installed in test/runtimes (Linux on x64 only)`);
  return path;
}

/** The real servers and their names live in a namespace; without one, their tests are skipped. */
function namespaceCommand() {
  const command = ['sh', here('e2e/interop/namespace.sh')];
  if (spawnSync(command[0], [...command.slice(1), 'true']).status === 0) return command;
  if (process.env.CI === 'true') throw new Error('CI needs network namespaces');
  console.warn('SKIPPED: no network namespace to be had here, so no test runs against a real server');
  return [];
}
