// The real Bun and the real Deno, which ignore dispatchers: there everything throws before a request leaves.

import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { listen, outputOf } from '@socksify/support';
import { expect, test } from 'vitest';
import { startProxy } from './recorded-proxy.ts';

const child = fileURLToPath(new URL('other-runtime.js', import.meta.url));
const runtimes = [
  ['Bun', 'bun', '@oven/bun-linux-x64', 'bin/bun', [child]],
  [
    'Deno',
    'deno',
    '@deno/linux-x64-glibc',
    'deno',
    ['run', '--allow-all', '--node-modules-dir=manual', '--no-lock', child],
  ],
] as const;

for (const [name, launcher, platform, path, args] of runtimes) {
  const binary = find(launcher, platform, path);
  if (!binary) {
    if (process.env['CI'] === 'true') throw new Error(`CI needs ${name}: ${platform} is not installed`);
    console.warn(`SKIPPED: no ${name} here (${platform} is not installed), so its refusal is not tested`);
  }

  test.skipIf(!binary)(`${name} gets an error instead of direct requests`, async () => {
    await using proxy = await startProxy();
    const seen: (string | undefined)[] = [];
    const site = createServer((request, response) => {
      seen.push(request.url);
      response.end();
    });
    const url = `http://127.0.0.1:${await listen(site)}`;
    const env = { PATH: '', DENO_NO_UPDATE_CHECK: '1', NO_COLOR: '1' };
    const stdout = await outputOf(binary as string, [...args, proxy.url, url], { env });
    const code = 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM';
    expect(JSON.parse(stdout)).toEqual({ results: [code, code], used: false });
    // The last one is the runtime's own doing, and the reason for the refusal.
    expect(seen).toEqual(['/ignored']);
    expect(proxy.accepted).toBe(0);
    site.close();
  });
}

/** The binary is in a package for its platform; the launcher of the same name needs an install script to find it. */
function find(launcher: string, platform: string, path: string): string | undefined {
  try {
    const require = createRequire(import.meta.resolve(`${launcher}/package.json`));
    const binary = require.resolve(`${platform}/package.json`).replace(/package\.json$/, path);
    return existsSync(binary) ? binary : undefined;
  } catch {
    return undefined;
  }
}
