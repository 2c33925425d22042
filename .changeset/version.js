// Gives all packages their next version, as the files of this folder say, and moves the texts of these files to
// CHANGELOG.md. `changeset version` would write a changelog for each package, but all of them have the same version.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const CHANGELOG = `${here}../CHANGELOG.md`;
const KINDS = ['major', 'minor', 'patch'];

const changes = readdirSync(here)
  .filter((name) => name.endsWith('.md') && name !== 'README.md')
  .map((name) => readChange(readFileSync(here + name, 'utf8')))
  .filter(({ packages }) => packages.length > 0)
  .toSorted((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));
if (changes.length === 0) throw new Error('there is no change to release: run `pnpm changeset` first');

execFileSync('changeset', ['version'], { stdio: 'inherit' });
const { version } = JSON.parse(readFileSync(`${here}../packages/core/package.json`, 'utf8'));
const section = `## ${version}\n\n${changes.map(({ item }) => item).join('')}\n`;
const text = readFileSync(CHANGELOG, 'utf8');
const first = text.indexOf('## ');
writeFileSync(CHANGELOG, text.slice(0, first) + section + text.slice(first));
execFileSync('pnpm', ['install', '--lockfile-only'], { stdio: 'inherit' });

/** A file begins with lines such as `"socksify": minor` between two lines of dashes; the text comes after them. */
function readChange(source) {
  const [, head = '', body = ''] = /^---\n([\s\S]*?)---\n([\s\S]*)$/.exec(source) ?? [];
  const releases = Array.from(head.matchAll(/^["']?([^"'\n]+)["']?: (\w+)$/gm), ([, name, kind]) => ({
    name,
    kind,
  }));
  const packages = releases.map(({ name }) => name);
  const kind = KINDS.find((one) => releases.some((release) => release.kind === one));
  const lines = body.trim().replaceAll('\n', '\n  ').replaceAll(/^ +$/gm, '');
  return { packages, kind, item: `- ${packages.map((name) => `\`${name}\``).join(', ')}: ${lines}\n` };
}
