// checkProxy(): loaded when it is called, because most programs never call it.

import type { ProxyLike } from '@socksify/core';
import type { CheckOptions } from './check/check.ts';
import type { CheckReport } from './check/report.ts';

/**
 * Finds out what a proxy is and what it can do: what `socksify check` prints. Without `target`, nothing beyond the proxy
 * is contacted. A password is sent only to a server that chose method 02.
 *
 * A proxy that is not usable is not an error of this function: the `errors` of the report say what is wrong.
 *
 * @throws (as a rejection) SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS`,
 * `ERR_SOCKS_INVALID_DESTINATION`; TypeError `ERR_INVALID_ARG_VALUE`; `signal.reason`
 * @example
 * const { usable, errors } = await checkProxy('socks5://127.0.0.1:1080', { target: { host: 'example.com', port: 443 } });
 */
export async function checkProxy(proxy: ProxyLike, options?: CheckOptions): Promise<CheckReport> {
  const { check } = await import('./check/check.ts');
  return check(proxy, options);
}
