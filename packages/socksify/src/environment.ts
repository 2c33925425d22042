// The proxy that the environment names, for everything that NO_PROXY does not list.

import { parseProxy, SocksError } from '@socksify/core';
import type { Destination, ProxyChoice, ProxySelector, SocksProxy } from '@socksify/core';
import { proxyFromEnv } from '@socksify/env';
import { isObject } from './unknown.ts';

export interface EnvironmentRoute {
  /** Throws for a protocol for which no variable names a proxy: a missing variable never means a direct connection. */
  readonly route: ProxySelector;
  /** Those with a host and a port. */
  readonly proxies: readonly SocksProxy[];
  readonly noProxy: string;
}

const PROBE = { host: 'probe.invalid', port: 443 };
const PROBES = [{ ...PROBE, protocol: 'http:' }, { ...PROBE, protocol: 'https:' }, PROBE] as const;

/**
 * Reads every variable that can be used later, so that a bad one is found now.
 *
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS`; the detail names the variable
 */
export function routeFromEnvironment(env: NodeJS.ProcessEnv): EnvironmentRoute {
  const entries = Object.entries(env);
  const select = proxyFromEnv(Object.fromEntries(entries.filter((entry) => !isNoProxy(entry))));
  const choices = PROBES.map((probe) => select(probe));
  if (choices.every((choice) => choice === undefined))
    throw missing('no proxy is set', 'SOCKS_PROXY=socks5://host:1080');
  const route = (destination: Destination): ProxyChoice | Promise<ProxyChoice> => {
    const choice = select(destination);
    if (choice !== undefined) return choice;
    throw missing(`no proxy is set for ${destination.protocol ?? 'tcp:'}`, 'SOCKS_PROXY or ALL_PROXY');
  };
  const noProxy = env['no_proxy'] || entries.find((entry) => isNoProxy(entry) && entry[1])?.[1] || '';
  return { route, proxies: choices.flatMap(proxiesOf), noProxy };
}

/**
 * The proxies to which this machine connects itself: several if the variable holds a list. Those of a Unix socket are left
 * out: host and port of such a proxy stand for nothing.
 */
function proxiesOf(choice: ProxyChoice | Promise<ProxyChoice>): readonly SocksProxy[] {
  if (choice === undefined) return [];
  if (typeof choice !== 'function') return isProxy(choice) && choice.path === undefined ? [choice] : [];
  const printed = choice.state().map(({ proxies: [first = ''] }) => first);
  return printed.filter((url) => !/^[a-z\d]+:\/\/localhost\//.test(url)).map((url) => parseProxy(url));
}

function isProxy(choice: unknown): choice is SocksProxy {
  return isObject(choice) && 'version' in choice && 'dns' in choice;
}

function isNoProxy([name]: readonly [string, unknown]): boolean {
  return name === 'no_proxy' || (process.platform === 'win32' ? name.toUpperCase() : name) === 'NO_PROXY';
}

function missing(detail: string, example: string): SocksError {
  return new SocksError('ERR_SOCKS_INVALID_PROXY', { phase: 'input', detail, hint: `set ${example}` });
}
