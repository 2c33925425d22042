// Every link of a page leads to a file and heading that exist. Every page and test that a page or a comment names exists,
// and so does every case that a page runs. Addresses of other sites are not looked up.

import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { list, PAGES, read, ROOT, SOURCES } from './pages.ts';

const HOMEPAGE = 'https://github.com/socksify/socksify/';

describe.each(PAGES)('%s: its links', (page) => {
  const prose = read(page).replaceAll(/^```\w*\n[\s\S]*?^```$/gm, '');
  const links = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link);

  test('lead to files and headings that exist', () => {
    const dead = links.filter((link) => {
      const [path = '', heading] = link.split('#');
      if (/^(?:https?|mailto):/.test(link) && !link.startsWith(HOMEPAGE)) return false;
      const inTree = path.replace(/^https:\/\/github\.com\/socksify\/socksify\/(?:blob|tree)\/main\//, '');
      if (inTree !== path) return !isThere(inTree, heading);
      if (link.startsWith(HOMEPAGE))
        return !/^(?:issues|security\/advisories\/new)?$/.test(link.slice(HOMEPAGE.length));
      return !isThere(path === '' ? page : join(dirname(page), path), heading);
    });
    expect(dead).toEqual([]);
  });

  test('are written in one form, so that all of them are followed', () => {
    expect(prose.match(/^\[[^\]]+\]: .*$|<https?:.*>/gm) ?? []).toEqual([]);
  });

  test('and the files that it names, exist', () => {
    const named = [...prose.matchAll(/`([\w./-]+\.ts)`/g)].map(([, path = '']) => path);
    const missing = named.filter((path) => {
      const ends = path.endsWith('.test.ts') ? [join(dirname(page), path), path] : [`/${path}`];
      return !ends.some((end) =>
        end.startsWith('/') ? SOURCES.some((file) => file.endsWith(end)) : isThere(end),
      );
    });
    expect(missing).toEqual([]);
  });
});

test('the pages and tests that comments name exist', () => {
  const dead = SOURCES.filter((path) => /\.(?:[cm]?[jt]s|sh)$/.test(path)).flatMap((path) => {
    const comments = read(path).match(/^\s*(?:\/\/|\/?\*|#).*$/gm) ?? [];
    const named = comments.join('\n').matchAll(/[\w./-]*\w\.(?:md|test\.ts)(?:#[\w-]+)?/g);
    return Array.from(named, ([name]) => name)
      .filter((name) => !isNamedRightly(name, path))
      .map((name) => `${path}: ${name}`);
  });
  expect(dead).toEqual([]);
});

test('the cases that pages run by name exist', () => {
  const dead = PAGES.flatMap((path) => {
    const named = read(path).matchAll(/([\w./-]+\.test\.ts) -t '([^']+)'/g);
    return Array.from(named, ([, file = '', name = '']) => ({ file, name }))
      .filter(({ file, name }) => !isThere(file) || !read(file).includes(name))
      .map(({ file, name }) => `${path}: ${file}: ${name}`);
  });
  expect(dead).toEqual([]);
});

test('the scripts that pages and workflows name exist', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Readonly<Record<string, string>> };
  const workflows = list('.github/workflows', /\.yml$/);
  const dead = [...PAGES, ...workflows, ...list('.ci', /./)].flatMap((path) => {
    const named = read(path).matchAll(/\bpnpm(?:@12)? run ([\w:]+)/g);
    return Array.from(named, ([, name = '']) => name)
      .filter((name) => !(name in scripts))
      .map((name) => `${path}: ${name}`);
  });
  expect(dead).toEqual([]);
});

/** Comments name a file from the root, from their own folder, or by the end of its path. */
function isNamedRightly(name: string, from: string): boolean {
  const [path = '', heading] = name.split('#');
  const places = [path, join(dirname(from), path)];
  if (places.some((place) => isThere(place, heading))) return true;
  return heading === undefined && [...SOURCES, ...PAGES].some((file) => file.endsWith(`/${path}`));
}

function isThere(path: string, heading?: string): boolean {
  if (!existsSync(join(ROOT, path))) return false;
  if (heading === undefined || !path.endsWith('.md')) return true;
  const headings = read(path).match(/^#{1,6} .*$/gm) ?? [];
  return headings.some((line) => slugOf(line.replace(/^#+ /, '')) === heading);
}

/** The anchor that GitHub gives to a heading. */
function slugOf(heading: string): string {
  return heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(/\s/g, '-');
}
