// docs/recipes.md as data: the rows of its table, and the parts of its blocks. A part is the code of one library; with the
// head of its block it is a program.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const PAGE: string = readFileSync(here('../../docs/recipes.md'), 'utf8');

export interface Part {
  /** As the comment above it says: the name of the library, and what more there is to say. */
  readonly title: string;
  /** The name of the library alone. */
  readonly library: string;
  /** The whole program: the head of the block and the part. */
  readonly source: string;
  /** Started by the command, because the library takes nothing of ours. */
  readonly byCommand: boolean;
}

export const PARTS: readonly Part[] = [...PAGE.matchAll(/^<!-- (.*) -->\n```js\n([\s\S]*?)^```$/gm)].flatMap(
  ([, note = '', block = '']) => {
    const pieces = block.split(/^(?=\/\/ )/m);
    const head = block.startsWith('// ') ? '' : pieces.shift();
    const byCommand = note.endsWith('under the command');
    return pieces.map((part) => {
      const title = part.slice(3, part.indexOf('\n'));
      return { title, library: title.split(' ')[0] ?? '', source: `${head}${part}`, byCommand };
    });
  },
);

export interface Row {
  readonly library: string;
  readonly release: string;
  readonly how: string;
  readonly test: string;
}

export const ROWS: readonly Row[] = [...PAGE.matchAll(/^\| (.+) \| (.+) \| (.+) \| (.+) \|$/gm)].map(
  ([, library = '', release = '', how = '', test = '']) => ({ library, release, how, test }),
);

/** A folder from which the programs find the libraries. */
export function createFolder(): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(here('.run-'));
  return { path, remove: () => rmSync(path, { recursive: true }) };
}

/**
 * Writes the program of a part. Only texts that depend on the machine are others than on the page.
 * @param texts what stands on the page, and what the program has in its place
 */
export function writeProgram(folder: string, title: string, texts: Readonly<Record<string, string>>): string {
  const part = PARTS.find((each) => each.title === title);
  if (!part) throw new Error(`docs/recipes.md has no part ${title}`);
  const file = join(folder, `${title.replaceAll(/\W+/g, '-')}.mjs`);
  const source = Object.entries(texts).reduce((text, [from, to]) => text.replaceAll(from, to), part.source);
  writeFileSync(file, source);
  return file;
}
