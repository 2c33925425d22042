// The pages of the documentation, and the files of the repository that they speak of.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT: string = fileURLToPath(new URL('../..', import.meta.url));

/** What a folder of the repository holds. */
export const list = (folder: string, pattern: RegExp): string[] =>
  readdirSync(join(ROOT, folder))
    .filter((name) => pattern.test(name))
    .map((name) => join(folder, name));

export const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8');

/** Every file of a folder, without those that are installed, built, or made by a test that runs. */
const filesIn = (folder: string): string[] =>
  readdirSync(join(ROOT, folder), { withFileTypes: true }).flatMap((entry) => {
    if (entry.isFile()) return join(folder, entry.name);
    return /^(?:node_modules|dist|html|\..*)$/.test(entry.name) ? [] : filesIn(join(folder, entry.name));
  });

export const PAGES: readonly string[] = [
  ...list('.', /\.md$/),
  ...filesIn('docs').filter((path) => path.endsWith('.md')),
  ...list('examples', /\.md$/),
  ...list('packages', /^[a-z]+$/).map((folder) => join(folder, 'README.md')),
  ...['.github', '.changeset'].flatMap((folder) => (existsSync(join(ROOT, folder)) ? filesIn(folder) : [])),
].filter((page) => page.endsWith('.md') && existsSync(join(ROOT, page)));

export const SOURCES: readonly string[] = [
  ...list('packages', /^[a-z]+$/),
  'test',
  'examples',
  'docs',
].flatMap((folder) => filesIn(folder));
