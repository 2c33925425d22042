// Refuses the runtimes that ignore a dispatcher, because every request would connect directly on them.

import { withCode } from './errors.ts';

/** @throws Error `ERR_FEATURE_UNAVAILABLE_ON_PLATFORM` on Bun and Deno */
export function checkRuntime(name: string): void {
  const runtime = process.versions['bun'] ? 'Bun' : 'Deno' in globalThis ? 'Deno' : undefined;
  if (runtime === undefined) return;
  throw withCode(
    new Error(
      `${name}: ${runtime} ignores dispatchers, its requests would bypass the proxy; use node:http with an agent`,
    ),
    'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM',
  );
}
