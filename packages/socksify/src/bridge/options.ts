// The options of a bridge: what they mean, and the checks that come before it listens.

import { BlockList, isIPv4, isIPv6 } from 'node:net';
import { SocksClient } from '@socksify/core';
import type { ProxyRoute, ProxySelector } from '@socksify/core';
import { proxyFromEnv } from '@socksify/env';
import type { EnvironmentRoute } from '../environment.ts';
import { invalid } from './invalid.ts';
import { User } from './user.ts';

/** An option that is `undefined` was not given. */
export interface BridgeOptions {
  /** A proxy, a chain (first hop first), or a selector. Default: what the environment names, as in `proxyFromEnv()`. */
  proxy?: ProxyRoute | undefined;
  /**
   * `HOST:PORT` or `[IPv6]:PORT`. Default `127.0.0.1:1080`; port 0 takes a free one. Beyond the loopback, `user` is needed.
   */
  listen?: string | undefined;
  /**
   * What to connect to directly: entries as in NO_PROXY. Default: NO_PROXY when the proxy comes from the environment, else
   * nothing. A destination that is listed by name is looked up locally; no other name is.
   */
  noProxy?: string | readonly string[] | undefined;
  /** `name:password` that clients have to send, each 1 to 255 bytes. SOCKS4 clients cannot, and are refused. */
  user?: string | undefined;
  /** Clients at a time. Default 4096. The next ones wait until one leaves. */
  maxConnections?: number | undefined;
  /** Called with one line for each connection. */
  log?: ((line: string) => void) | undefined;
}

export interface Settings {
  readonly route: ProxyRoute;
  readonly host: string;
  readonly port: number;
  readonly user: User | undefined;
  readonly maxConnections: number;
  readonly log: ((line: string) => void) | undefined;
}

/**
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS`; TypeError `ERR_INVALID_ARG_VALUE`. No
 * message repeats a password
 */
export function checkBridgeOptions(
  options: BridgeOptions,
  fromEnvironment: () => EnvironmentRoute,
): Settings {
  if (typeof options !== 'object' || options === null) throw invalid('options are an object');
  const { proxy, listen = '127.0.0.1:1080', noProxy, maxConnections = 4096, log } = options;
  const { host, port } = parseListen(listen);
  const user = options.user === undefined ? undefined : new User(options.user);
  if (!user && !isLoopback(host)) {
    throw invalid(
      `listen is ${listen}, beyond the loopback: add --user NAME:PASSWORD (user: 'name:password'), or listen on 127.0.0.1 or [::1]`,
    );
  }
  if (!Number.isInteger(maxConnections) || maxConnections < 1 || maxConnections > 1_000_000)
    throw invalid('maxConnections is a number from 1 to 1000000');
  if (log !== undefined && typeof log !== 'function') throw invalid('log is a function that takes a line');
  return { route: routeOf(proxy, noProxy, fromEnvironment), host, port, user, maxConnections, log };
}

function parseListen(listen: unknown): { readonly host: string; readonly port: number } {
  const [, bracketed, plain, digits] =
    (typeof listen === 'string' && /^(?:\[([\da-f:.]+)\]|([^:[\]\s*/@]+)):(\d{1,5})$/i.exec(listen)) || [];
  const host = bracketed ?? plain ?? '';
  const port = Number(digits);
  const isHost = bracketed === undefined ? isIPv4(host) || /[a-z]/i.test(host) : isIPv6(host);
  if (!isHost || port > 65535)
    throw invalid('listen is HOST:PORT or [IPv6]:PORT, such as 127.0.0.1:1080; port 0 takes a free one');
  // A name server could say that localhost is an address beyond the loopback.
  return { host: host.toLowerCase() === 'localhost' ? '127.0.0.1' : host, port };
}

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet('127.0.0.0', 8, 'ipv4');
LOOPBACK.addAddress('::1', 'ipv6');

/** True for an address of the loopback. */
function isLoopback(host: string): boolean {
  return LOOPBACK.check(host, 'ipv4') || LOOPBACK.check(host, 'ipv6');
}

function routeOf(
  proxy: ProxyRoute | undefined,
  noProxy: BridgeOptions['noProxy'],
  fromEnvironment: () => EnvironmentRoute,
): ProxyRoute {
  const list = Array.isArray(noProxy) ? noProxy.join(',') : noProxy;
  if (list !== undefined && typeof list !== 'string')
    throw invalid('noProxy is text, or an array of entries');
  if (proxy === undefined) {
    const { route, noProxy: ofEnvironment } = fromEnvironment();
    return except(list ?? ofEnvironment, route);
  }
  // Checks the route now, so that a bad one is found before the bridge listens.
  const client = new SocksClient(proxy);
  if (!list) return proxy;
  const selector = typeof proxy === 'function' ? proxy : undefined;
  return except(list, selector ?? ((destination) => client.select(destination)));
}

/** The route for destinations that are not listed. Only proxyFromEnv() reads lists, from an environment. */
function except(list: string, route: ProxySelector): ProxySelector {
  const select = proxyFromEnv({ socks_proxy: 'socks5://list.invalid', no_proxy: list });
  return (...args) => (select(args[0]) === undefined ? undefined : route(...args));
}
