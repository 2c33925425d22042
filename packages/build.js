// Builds what the packages ship. For every `dist/NAME.js` in a manifest it bundles `src/NAME.ts` and the files that it
// imports into one JavaScript file and one declaration file. tsc checks the types; this script does not.

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';
import { dts } from 'rolldown-plugin-dts';

// Editors read the documentation from the declarations, so the code goes without. Lines stay, because Node prints the line
// of an uncaught error; names of functions and classes stay for its trace. Names of variables are shortened.
const NAMES = { function: true, class: true };
const CODE = {
  comments: { jsdoc: false, legal: false },
  minify: { compress: { keepNames: NAMES }, mangle: { toplevel: true, keepNames: NAMES }, codegen: false },
};

const here = fileURLToPath(new URL('.', import.meta.url));
const folders = readdirSync(here).filter((name) => existsSync(join(here, name, 'package.json')));
await Promise.all(folders.map((name) => build(join(here, name))));

async function build(folder) {
  const { exports, bin } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  const outputs = new Set(JSON.stringify({ exports, bin }).match(/(?<=\bdist\/)[\w-]+(?=\.js")/g));
  const input = Object.fromEntries([...outputs].map((name) => [name, join(folder, 'src', `${name}.ts`)]));
  const source = { input, external: /^[^./]/, platform: 'node', tsconfig: false };
  const [code, types] = await Promise.all([
    bundle({ ...source, output: CODE }),
    bundle({ ...source, plugins: [dts({ dtsOnly: true, generator: 'oxc' })] }),
  ]);
  replace(join(folder, 'dist'), [...code, ...types]);
}

async function bundle({ output, ...options }) {
  const bundler = await rolldown(options);
  const { output: files } = await bundler.generate({ format: 'esm', chunkFileNames: '[name].js', ...output });
  await bundler.close();
  return files;
}

/** Removes files of earlier builds last, so that a program that runs during the build finds every file. */
function replace(dist, files) {
  mkdirSync(dist, { recursive: true });
  for (const { fileName, code } of files) writeFileSync(join(dist, fileName), code);
  const names = new Set(files.map(({ fileName }) => fileName));
  for (const name of readdirSync(dist)) {
    if (!names.has(name)) rmSync(join(dist, name), { recursive: true });
  }
}
