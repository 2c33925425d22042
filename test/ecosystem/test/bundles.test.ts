// A program with agent, dispatcher and environment in it, bundled by each bundler as an ES module and as CommonJS, with
// nothing but Node's own modules left outside, and run on the oldest and the newest Node.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeResolve } from '@rollup/plugin-node-resolve';
import * as esbuild from 'esbuild';
import { rollup } from 'rollup';
import { build as viteBuild } from 'vite';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import webpack from 'webpack';
import { here, run, startProxiedSite } from './proxied-site.ts';

type Format = 'esm' | 'cjs';
type Bundler = (input: string, output: string, format: Format) => Promise<unknown>;

const PROGRAM = here('../programs/bundled.js');
const BUILTINS = new Set([...builtinModules, ...builtinModules.map((name) => `node:${name}`)]);
/** The oldest and the newest, where test/runtimes has them: on Linux. Else the one that runs this. */
const NODES = ['20', '26']
  .map((version) => [version, here(`../../runtimes/node_modules/node${version}/bin/node`)] as const)
  .filter(([, path]) => existsSync(path));
if (NODES.length === 0) NODES.push([process.version, process.execPath]);
const FORMATS: readonly Format[] = ['esm', 'cjs'];

const BUNDLERS: Readonly<Record<string, Bundler>> = {
  esbuild: (input, outfile, format) =>
    esbuild.build({ entryPoints: [input], outfile, format, bundle: true, minify: true, platform: 'node' }),

  async Rollup(input, file, format) {
    const bundle = await rollup({ input, external: (id) => BUILTINS.has(id), plugins: [nodeResolve()] });
    await bundle.write({ file, format });
    await bundle.close();
  },

  async webpack(input, output, format) {
    const compiler = webpack({
      mode: 'production',
      target: 'node20',
      entry: input,
      output: {
        path: join(output, '..'),
        filename: output.slice(join(output, '../').length),
        ...(format === 'esm' && { module: true, library: { type: 'module' } }),
      },
      ...(format === 'esm' && { experiments: { outputModule: true } }),
    });
    if (!compiler) throw new Error('webpack gave no compiler');
    const stats = await new Promise<webpack.Stats | undefined>((resolve, reject) => {
      compiler.run((error, result) => (error ? reject(error) : resolve(result)));
    });
    await new Promise((resolve) => compiler.close(resolve));
    expect(stats?.toJson('errors-warnings')).toMatchObject({ errors: [], warnings: [] });
  },

  'Vite SSR': (input, output, format) =>
    viteBuild({
      configFile: false,
      logLevel: 'silent',
      root: here('..'),
      ssr: { noExternal: true },
      build: {
        ssr: input,
        outDir: join(output, '..'),
        emptyOutDir: false,
        rollupOptions: {
          output: { format, entryFileNames: output.slice(join(output, '../').length) },
        },
      },
    }),
};

const folder = mkdtempSync(join(tmpdir(), 'socksify-bundles-'));
const rows = Object.entries(BUNDLERS).flatMap(([name, bundle]) =>
  FORMATS.map((format) => ({
    name,
    format,
    bundle,
    file: join(folder, name.replace(' ', ''), `program.${format === 'esm' ? 'mjs' : 'cjs'}`),
  })),
);

beforeAll(async () => {
  for (const { bundle, format, file } of rows) {
    mkdirSync(join(file, '..'), { recursive: true });
    await bundle(PROGRAM, file, format);
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(rows)('the bundle of $name as $format', ({ file }) => {
  test('imports modules of Node alone', () => {
    const code = readFileSync(file, 'utf8');
    const named = [...code.matchAll(/(?:\bfrom|\bimport|\brequire\()\s*["'`]([^"'`]+)["'`]/g)].map(
      ([, specifier]) => specifier,
    );
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((specifier = '') => !BUILTINS.has(specifier))).toEqual([]);
  });

  test.each(NODES)('sends its requests through the proxy on Node %s', async (_, node) => {
    await using site = await startProxiedSite();
    const output = await run(node, [file, site.http], { SOCKS_PROXY: site.proxy });
    expect(output.split('\n')).toEqual([
      'agent 200 hello',
      'dispatcher 200 hello',
      'global 200 hello',
      'SocksError ERR_SOCKS_HOST_UNREACHABLE',
    ]);
    site.expectProxied('http', 'http', 'http', 'unknown');
  });
});
