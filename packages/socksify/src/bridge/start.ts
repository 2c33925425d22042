// startBridge() of the package: loads the bridge when it is first used, so that other programs need not wait for it.

import { routeFromEnvironment } from '../environment.ts';
import type { Bridge } from './bridge.ts';
import type { BridgeOptions } from './options.ts';

/**
 * Starts a bridge: a port on this machine that speaks SOCKS4, SOCKS4A, SOCKS5 and HTTP, and sends everything through the
 * proxy, which resolves the names.
 *
 * Rejects with a SocksError `ERR_SOCKS_INVALID_PROXY` or `ERR_SOCKS_INVALID_CREDENTIALS`, with a TypeError
 * `ERR_INVALID_ARG_VALUE` for an option, or with the system's error when it cannot listen.
 *
 * @example
 * const bridge = await startBridge({ proxy: 'socks5://user:password@proxy.example', listen: '127.0.0.1:0' });
 * console.log(`http://127.0.0.1:${bridge.port}`);
 * await bridge.close({ drain: 10_000 });
 */
export async function startBridge(options: BridgeOptions = {}): Promise<Bridge> {
  const bridge = await import('./bridge.ts');
  return bridge.startBridge(options, () => routeFromEnvironment(process.env));
}
