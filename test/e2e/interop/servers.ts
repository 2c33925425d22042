// All real servers that the interop tests know, and which of them cannot run here.

import type { InteropServer } from './server-traits.ts';
import { dante, danteUserpass } from './servers/dante.ts';
import { microsocks, microsocksUserpass } from './servers/microsocks.ts';
import { openssh } from './servers/openssh.ts';
import { shadowsocks } from './servers/shadowsocks.ts';
import { stunnel } from './servers/stunnel.ts';
import { tor, torUnix } from './servers/tor.ts';
import { v2ray, v2rayUserpass } from './servers/v2ray.ts';
import { isIsolated, locate } from './server-process.ts';

export type {
  Dialect,
  InteropServer,
  Outcome,
  Outcomes,
  RunningServer,
} from './server-traits.ts';
export { isIsolated } from './server-process.ts';

export const SERVERS: readonly InteropServer[] = [
  dante,
  danteUserpass,
  microsocks,
  microsocksUserpass,
  openssh,
  tor,
  torUnix,
  shadowsocks,
  v2ray,
  v2rayUserpass,
  stunnel,
];

/** Programs that are not installed: of one server, or of all. Empty under a complete installation. */
function missing(servers: readonly InteropServer[] = SERVERS): string[] {
  const needed = new Set(servers.flatMap(({ binaries }) => binaries));
  return [...needed].filter((binary) => locate(binary) === undefined);
}

/**
 * True if a suite has to leave this server out. Prints the reason.
 * @throws instead under CI=true, where nothing may be left out
 */
export function mustSkip(server: InteropServer): boolean {
  const absent = missing([server]);
  const reason = absent.length > 0 ? `not installed: ${absent.join(', ')}` : needsNamespace();
  if (reason === undefined) return false;
  const message = `${server.name}: ${reason}`;
  if (process.env['CI'] === 'true') throw new Error(message);
  console.warn(`SKIPPED ${message}`);
  return true;
}

function needsNamespace(): string | undefined {
  return isIsolated() ? undefined : 'needs a network namespace, run the tests through interop/namespace.sh';
}
