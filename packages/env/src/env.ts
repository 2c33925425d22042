// Which proxy the environment names for a destination. The one place, besides the command, that reads process.env.

import { parseProxy, SocksError } from '@socksify/core';
import type { ProxySelector, SocksProxy } from '@socksify/core';
import { parseNoProxy } from './no-proxy.ts';

/**
 * A selector that obeys, in this order: `SOCKS_PROXY`; `http_proxy`/`HTTP_PROXY` or `https_proxy`/`HTTPS_PROXY` by
 * the protocol of the request; `ALL_PROXY`. Of each, the lower-case name comes first, and an empty value counts as
 * none. `NO_PROXY` lists what to reach directly. `HTTP_PROXY` in upper case is ignored where `REQUEST_METHOD` is
 * set: there it may be a request's own `Proxy:` header (CVE-2016-5385).
 *
 * The environment is read once, now. A value that is no SOCKS URL throws when it would be used, and names its
 * variable; it never turns into a direct connection.
 *
 * @param env Default `process.env`.
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS`, by the selector
 * @example new SocksAgent(proxyFromEnv())
 */
export function proxyFromEnv(env: NodeJS.ProcessEnv = process.env): ProxySelector {
  const bypasses = parseNoProxy(read(env, 'no_proxy', 'NO_PROXY')?.value ?? '');
  const routes = {
    'http:': chosen(env, 'http_proxy', ...('REQUEST_METHOD' in env ? [] : ['HTTP_PROXY'])),
    'https:': chosen(env, 'https_proxy', 'HTTPS_PROXY'),
    other: chosen(env),
  };
  return (destination) => {
    const route = routes[destination.protocol ?? 'other'];
    return route === undefined || bypasses(destination) ? undefined : route();
  };
}

interface Variable {
  readonly name: string;
  readonly value: string;
}

function read(env: NodeJS.ProcessEnv, ...names: readonly string[]): Variable | undefined {
  for (const name of names) {
    const value = env[name]?.trim();
    if (value) return { name, value };
  }
  return undefined;
}

/** The first variable that is set; parsed when it is first used, so that a bad value harms nobody else. */
function chosen(env: NodeJS.ProcessEnv, ...scheme: readonly string[]): (() => SocksProxy) | undefined {
  const variable = read(env, 'socks_proxy', 'SOCKS_PROXY', ...scheme, 'all_proxy', 'ALL_PROXY');
  if (variable === undefined) return undefined;
  let proxy: SocksProxy | undefined;
  return () => (proxy ??= parse(variable));
}

function parse({ name, value }: Variable): SocksProxy {
  try {
    return parseProxy(value);
  } catch (error) {
    if (!(error instanceof SocksError)) throw error;
    const detail = `environment variable ${name}${error.detail === undefined ? '' : `: ${error.detail}`}`;
    throw new SocksError(error.code, { phase: 'input', detail });
  }
}
