// Installs what the demo needs (what the root depends on, without what only tests and checks need), builds that, and runs
// the demo. Where everything is installed, everything is kept.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const isComplete = existsSync(`${root}node_modules/vitest`);

// Without --trust-lockfile pnpm looks up the age of every package of the workspace: ten times the download.
run(
  'pnpm',
  'install',
  ...(isComplete ? [] : ['--prod', '--trust-lockfile', '--filter', 'socksify-workspace...']),
);
run('node', 'packages/build.js');
run('tsc', '-b', 'test/origin', 'test/server');
run('node', 'test/e2e/demo.js');

function run(command, ...args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) throw error;
  if (status !== 0) process.exit(status ?? 1);
}
