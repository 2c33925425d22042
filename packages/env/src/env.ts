// Finds the proxy that the environment names for a destination. Besides the package socksify, only this file reads
// process.env.

import { parseProxy, proxyGroup, SocksError } from '@socksify/core';
import type { Destination, ProxyGroup, SocksProxy } from '@socksify/core';
import { parseNoProxy } from './no-proxy.ts';

/** A selector that needs nothing but the destination, and answers at once. */
export type EnvironmentSelector = (destination: Destination) => SocksProxy | ProxyGroup | undefined;

/**
 * A selector that obeys, in this order: `SOCKS_PROXY`; `http_proxy`/`HTTP_PROXY` or `https_proxy`/`HTTPS_PROXY` by the
 * protocol of the request (`ws:` counts as `http:`, `wss:` as `https:`); `ALL_PROXY`. Of each, the lower-case name
 * comes first, and an empty value counts as none. A value may be a list of URLs with commas between them: a group, of
 * which the first proxy that answers is used. `NO_PROXY` lists destinations of direct connections. `HTTP_PROXY` in
 * upper case is ignored if `REQUEST_METHOD` is set, because a CGI server makes it from the `Proxy:` header of a request
 * (CVE-2016-5385). Windows does not distinguish case in these names, so on Windows `http_proxy` is ignored too.
 *
 * The environment is read once, now. A value that is no SOCKS URL, such as one of white space only, throws when it
 * would be used, and names its variable; it never turns into a direct connection.
 *
 * @param env Default `process.env`.
 * @throws TypeError `ERR_INVALID_ARG_VALUE` for what is no object of variables; SocksError `ERR_SOCKS_INVALID_PROXY`,
 * `ERR_SOCKS_INVALID_CREDENTIALS`, by the selector
 * @example new SocksAgent(proxyFromEnv())
 */
export function proxyFromEnv(env: NodeJS.ProcessEnv = process.env): EnvironmentSelector {
  // A URL and a Map are objects too, but have no variables.
  const isObject = Object.prototype.toString.call(env) === '[object Object]';
  if (!isObject || Object.values(env).some((value) => typeof (value ?? '') !== 'string')) {
    const message = 'env is an object of texts such as process.env, not the value of one of them';
    throw Object.assign(new TypeError(message), { code: 'ERR_INVALID_ARG_VALUE' });
  }
  return selectorFromEnv(env, process.platform);
}

/** {@link proxyFromEnv} on a given platform. */
export function selectorFromEnv(env: NodeJS.ProcessEnv, platform: NodeJS.Platform): EnvironmentSelector {
  const windows = platform === 'win32';
  const read = (name: string): Variable | undefined => firstSet(env, spellings(env, name, windows));
  const underCgi = Object.keys(env).some((key) => (windows ? key.toUpperCase() : key) === 'REQUEST_METHOD');
  const socks = lazily(read('socks_proxy'));
  const all = lazily(read('all_proxy'));
  const http = underCgi ? (windows ? undefined : firstSet(env, ['http_proxy'])) : read('http_proxy');
  const routes = {
    http: socks ?? lazily(http) ?? all,
    https: socks ?? lazily(read('https_proxy')) ?? all,
    other: socks ?? all,
  };
  const bypasses = parseNoProxy(read('no_proxy')?.value ?? '');
  return (destination) => {
    const route = routes[kindOf(destination.protocol)];
    return route === undefined || bypasses(destination) ? undefined : route();
  };
}

/** Takes any text, because agents and dispatchers of other packages call the selector too. */
function kindOf(protocol: string | undefined): 'http' | 'https' | 'other' {
  if (/^(?:https|wss):?$/i.test(protocol ?? '')) return 'https';
  return /^(?:http|ws):?$/i.test(protocol ?? '') ? 'http' : 'other';
}

interface Variable {
  readonly name: string;
  readonly value: string;
}

/**
 * The spellings that count: lower case, upper case, and on Windows any other. On Windows `process.env` finds any
 * spelling, but a copy of it does not.
 */
function spellings(env: NodeJS.ProcessEnv, name: string, windows: boolean): string[] {
  const others = Object.keys(env).filter((key) => windows && key.toLowerCase() === name);
  return [name, name.toUpperCase(), ...others];
}

function firstSet(env: NodeJS.ProcessEnv, names: readonly string[]): Variable | undefined {
  const name = names.find((spelling) => env[spelling]);
  return name === undefined ? undefined : { name, value: env[name] ?? '' };
}

/** Parses a value when it is first used, so that a bad value fails only the requests that need it. */
function lazily(variable: Variable | undefined): (() => SocksProxy | ProxyGroup) | undefined {
  if (variable === undefined) return undefined;
  let proxy: SocksProxy | ProxyGroup | undefined;
  return () => (proxy ??= parse(variable));
}

/** A comma ends an entry if another URL follows. Any other one is part of the entry: a password may contain it. */
const NEXT_ENTRY = /,(?=\s*[a-z][a-z\d+.-]*:\/\/)/i;

function parseEntry(url: string): SocksProxy {
  const [, , authority = ''] = url.split('/', 3);
  const hosts = authority.slice(authority.lastIndexOf('@') + 1);
  const proxy = hosts.includes(',') ? undefined : parseProxy(url);
  if (proxy && !proxy.path?.endsWith(',')) return proxy;
  const detail =
    'a list has a URL with its scheme behind each comma: socks5://one.example,socks5://two.example';
  throw new SocksError('ERR_SOCKS_INVALID_PROXY', { phase: 'input', detail });
}

function parse({ name, value }: Variable): SocksProxy | ProxyGroup {
  try {
    const [first = '', ...others] = value.split(NEXT_ENTRY);
    return others.length === 0 ? parseEntry(first) : proxyGroup([first, ...others].map(parseEntry));
  } catch (error) {
    if (!(error instanceof SocksError)) throw error;
    const detail = `environment variable ${name}: ${error.detail ?? ''}`;
    throw new SocksError(error.code, { phase: 'input', detail });
  }
}
