// Installs the packages that the demo needs, without those that only tests and checks need; builds them, and runs the
// demo. If everything is installed already, nothing is removed.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const isComplete = existsSync(`${root}node_modules/vitest`);

// Without --trust-lockfile pnpm looks up the age of every package of the workspace, which downloads ten times as much.
run(
  'pnpm',
  'install',
  ...(isComplete ? [] : ['--prod', '--trust-lockfile', '--filter', 'socksify-workspace...']),
);
run('node', 'packages/build.js');
run('tsc', '-b', 'test/support', 'test/server');
run('node', 'test/e2e/demo.js');

function run(command, ...args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
