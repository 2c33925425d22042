// Run by realm.test.ts with --experimental-vm-modules: loads the built package into a vm context, as Jest and the
// vmThreads of vitest do, and prints what `run` there returns.

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import vm from 'node:vm';

const [proxy, url, code] = process.argv.slice(2);
// jest-environment-node copies the globals of Node; their functions still belong to the main context.
const names =
  `fetch Headers Request Response FormData URL AbortController AbortSignal EventTarget DOMException
  TextDecoder TextEncoder Buffer process console performance queueMicrotask setTimeout clearTimeout setImmediate
  clearImmediate`.split(/\s+/);
const context = vm.createContext({ proxy, url });
for (const name of names) {
  const descriptor = Object.getOwnPropertyDescriptor(globalThis, name);
  if (descriptor) Object.defineProperty(context, name, descriptor);
}

const modules = new Map();
async function load(specifier, parent) {
  const resolved = specifier.startsWith('node:')
    ? specifier
    : pathToFileURL(createRequire(parent).resolve(specifier)).href;
  if (!modules.has(resolved)) modules.set(resolved, await create(resolved));
  return modules.get(resolved);
}
async function create(resolved) {
  if (!resolved.startsWith('node:')) {
    return new vm.SourceTextModule(readFileSync(new URL(resolved), 'utf8'), {
      context,
      identifier: resolved,
    });
  }
  const exports = await import(resolved);
  const keys = Object.keys(exports);
  return new vm.SyntheticModule(
    keys,
    function set() {
      for (const key of keys) this.setExport(key, exports[key]);
    },
    { context, identifier: resolved },
  );
}

const main = new vm.SourceTextModule(
  `import { setGlobalDispatcher, SocksDispatcher } from '../dist/index.js'; ${code}`,
  { context, identifier: import.meta.url },
);
await main.link((specifier, parent) => load(specifier, parent.identifier));
await main.evaluate();
