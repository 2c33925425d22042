// `node --import socksify/register`: the preload as an ES module. It is the same script as for `--require`, so that a
// process that gets both runs it once.

// Not imported: an import reads every export of a module of Node, and some of them load much.
process.getBuiltinModule('node:module').createRequire(import.meta.url)('../dist/preload.cjs');
