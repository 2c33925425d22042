// Fails if a package that users get with ours has a licence that is not in the list.

import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const ALLOWED = new Set(['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT']);

const root = fileURLToPath(new URL('..', import.meta.url));
const args = ['--filter', './packages/*', 'licenses', 'list', '--prod', '--json'];
const found = JSON.parse(execFileSync('pnpm', args, { cwd: root, encoding: 'utf8' }));
const names = (packages) => packages.map(({ name, versions }) => `${name} ${versions.join(', ')}`).join('; ');

const licences = Object.entries(found);
if (licences.length === 0) throw new Error('pnpm lists no package, so nothing was checked');
for (const [licence, packages] of licences) {
  const isAllowed = ALLOWED.has(licence);
  if (!isAllowed) process.exitCode = 1;
  console.log(`${isAllowed ? 'allowed' : 'NOT ALLOWED'}: ${licence}: ${names(packages)}`);
}
