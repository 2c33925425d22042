// Builds what the packages ship. For every `dist/NAME.js` in a manifest it bundles `src/NAME.ts` and the files that it
// imports into one JavaScript file and one declaration file. A `dist/NAME.cjs` is a script for require(), with the other
// packages of this repository inside. tsc checks the types; this script does not.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { dts } from 'rolldown-plugin-dts';

// Editors read the documentation from the declarations, so the code goes without. Bundlers learn from `sideEffects` in the
// manifest what they may drop, so it goes without annotations too. Lines stay, because Node prints the line
// of an uncaught error, but not their indentation; names of functions and classes stay for its trace. Names of variables
// are shortened.
const NAMES = { function: true, class: true };
const CODE = {
  comments: { annotation: false, jsdoc: false, legal: false },
  minify: { compress: { keepNames: NAMES }, mangle: { toplevel: true, keepNames: NAMES }, codegen: false },
};

const SCRIPT = { format: 'cjs', entryFileNames: '[name].cjs', exports: 'none' };

const here = fileURLToPath(new URL('.', import.meta.url));
const folders = readdirSync(here).filter((name) => existsSync(join(here, name, 'package.json')));
const SOURCES = Object.fromEntries(
  folders.map((name) => [`@socksify/${name}`, join(here, name, 'src/index.ts')]),
);
await Promise.all(folders.map((name) => build(join(here, name))));

async function build(folder) {
  const { exports, bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const named = JSON.stringify({ exports, bin });
  const inputs = (pattern) =>
    Object.fromEntries(
      Array.from(named.matchAll(pattern), ([, name]) => [name, join(folder, 'src', `${name}.ts`)]),
    );
  const common = { platform: 'node', tsconfig: false };
  const source = { ...common, input: inputs(/\bdist\/([\w-]+)\.js"/g), external: /^[^./]/ };
  const scripts = { ...common, input: inputs(/\bdist\/([\w-]+)\.cjs"/g), external: /^node:/ };
  const output = await Promise.all([
    bundle({ ...source, output: CODE }),
    bundle({ ...source, plugins: [dts({ dtsOnly: true, generator: 'oxc', oxc: { stripInternal: true } })] }),
    bundle({ ...scripts, resolve: { alias: SOURCES }, output: { ...CODE, ...SCRIPT } }),
  ]);
  replace(join(folder, 'dist'), output.flat());
}

async function bundle({ output, ...options }) {
  if (Object.keys(options.input).length === 0) return [];
  // Without a comment in front of the code of each source file: the names of functions say enough in a trace.
  const bundler = await rolldown({ ...options, experimental: { attachDebugInfo: 'none' } });
  const { output: files } = await bundler.generate({ format: 'esm', chunkFileNames: '[name].js', ...output });
  await bundler.close();
  return files;
}

/** Removes files of earlier builds last, so that a program that runs during the build finds every file. */
function replace(dist, files) {
  mkdirSync(dist, { recursive: true });
  // Declarations are indented by spaces, and so are the lines of texts.
  for (const { fileName, code } of files) writeFileSync(join(dist, fileName), code.replaceAll(/^\t+/gm, ''));
  const names = new Set(files.map(({ fileName }) => fileName));
  for (const name of readdirSync(dist)) {
    if (!names.has(name)) rmSync(join(dist, name), { recursive: true });
  }
}
