// `node --import socksify/register`: the preload as an ES module. It is the same script as for `--require`, so that a
// process that gets both runs it once.

// children.ts reads this. The preload of --require runs first if there are both.
if (!(Symbol.for('socksify.inherited') in globalThis))
  Object.defineProperty(globalThis, Symbol.for('socksify.imported'), { value: true });
// Not imported: an import reads every export of a module of Node, and some of them load much.
process.getBuiltinModule('node:module').createRequire(import.meta.url)('../dist/preload.cjs');
