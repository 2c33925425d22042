// Decides which destinations are direct, and makes the errors for connections that are refused.

import { isIP } from 'node:net';
import { SocksError } from '@socksify/core';
import type { Destination, ProxyRoute } from '@socksify/core';
import { proxyFromEnv } from '@socksify/env';
import { codeOf } from './unknown.ts';

// Not imported: an import reads every export of a module of Node, and some of them load much.
const path = process.getBuiltinModule('node:path');

/** True for a destination that is listed, by name or by address. */
type Listed = (destination: Destination) => boolean;

export interface PolicyOptions {
  /** The route to every destination that is not listed. */
  readonly route: ProxyRoute;
  /** The value of NO_PROXY. */
  readonly noProxy: string;
  /** Entries as in NO_PROXY, and absolute paths of Unix sockets. */
  readonly allow: readonly string[];
  /** `host:port` of each proxy: the program may connect to the proxy itself. */
  readonly proxies: ReadonlySet<string>;
}

export class Policy {
  readonly route: ProxyRoute;
  readonly #isListed: Listed;
  readonly #paths: readonly string[];
  readonly #proxies: ReadonlySet<string>;

  constructor({ route, noProxy, allow, proxies }: PolicyOptions) {
    this.route = route;
    this.#paths = allow.filter(isPath);
    this.#isListed = listOf([noProxy, ...allow.filter((entry) => !isPath(entry))].join(','));
    this.#proxies = proxies;
  }

  /** True if the program may connect without the proxy. */
  isDirect(destination: Destination): boolean {
    return this.#isListed(destination) || this.#proxies.has(print(destination).toLowerCase());
  }

  /** True if the name may be looked up: it is listed, for one port at least. */
  mayLookUp(host: string): boolean {
    return (
      isIP(host) !== 0 || this.#isListed({ host, port: 0 }) || this.#proxyNames().has(host.toLowerCase())
    );
  }

  /** True if the program may connect to this Unix socket. An entry that ends with a slash lists a folder. */
  isDirectPath(given: string): boolean {
    // An abstract socket has a name, which begins with NUL, in place of a path.
    const full = given.startsWith('\0') ? given : path.resolve(given);
    return this.#paths.some((entry) =>
      entry.endsWith('/') ? full.startsWith(entry) : full === path.resolve(entry),
    );
  }

  /**
   * True if the program may connect to this address, which its own look-up function gave for a listed name. The address
   * has to be listed too, because such a function can give any address. For a name of the loopback, every address of
   * the loopback is allowed.
   */
  isDirectAddress(destination: Destination, address: string): boolean {
    if (this.isDirect({ ...destination, host: address })) return true;
    return isLoopback(destination.host) && isLoopback(address);
  }

  #proxyNames(): Set<string> {
    return new Set([...this.#proxies].map((proxy) => proxy.replace(/:\d+$/, '')));
  }
}

/** @param what such as `a connection` */
export function refusal(what: string, destination: string, hint: string): SocksError {
  return new SocksError('ERR_SOCKS_BYPASS', {
    phase: 'input',
    destination,
    detail: what,
    hint,
  });
}

/** How to allow a TCP connection. */
export function connectionHint(host: string, strict: boolean): string {
  const list = isLoopback(host)
    ? 'list the loopback: NO_PROXY=localhost,127.0.0.1,::1'
    : `list it: NO_PROXY=${host}, or allow: '${host}'`;
  return strict ? `${list}; or tunnel all of TCP: strict: 'tcp' (SOCKSIFY_STRICT=tcp)` : list;
}

/** Adds to an error of a tunnel what to change about the settings of socksify. */
export function explain(error: unknown, { host }: Destination): unknown {
  if (!(error instanceof SocksError)) return error;
  const { code, phase, proxy, destination, detail, reply, cause, blame, errors } = error;
  let hint: string;
  // A tunnel to the loopback ends at the machine of the proxy, and most programs mean their own machine.
  if (isLoopback(host))
    hint = `the proxy connects to the loopback of its own machine; to connect to that of this machine, ${connectionHint(host, false)}`;
  else if (code === 'ERR_SOCKS_LOOKUP' && codeOf(cause) === 'ERR_SOCKS_BYPASS')
    hint =
      'strict refuses look-ups on this machine: write socks4a:// or socks5://, whose proxies look names up';
  else return error;
  const explained = new SocksError(code, { phase, proxy, destination, detail, reply, cause, blame, hint });
  // What each member of a group failed with; the last one is the error itself.
  if (errors) {
    const value = Object.freeze([...errors.slice(0, -1), explained]);
    Object.defineProperty(explained, 'errors', { value, configurable: true });
  }
  return explained;
}

let loopback: Listed | undefined;

export function isLoopback(host: string): boolean {
  // Made when it is first needed, because it makes Node compile the long patterns of isIPv6().
  loopback ??= listOf('localhost,127.0.0.0/8,::1');
  return loopback({ host, port: 0 });
}

export function print({ host, port }: Destination): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function isPath(entry: string): boolean {
  return entry.startsWith('/') || entry.startsWith('\\\\');
}

/** How many answers of a list are remembered. */
const REMEMBERED = 1000;

/** Only proxyFromEnv() reads lists, from an environment. Its answers do not change, so the last ones are remembered. */
function listOf(entries: string): Listed {
  const select = proxyFromEnv({ socks_proxy: 'socks5://list.invalid', no_proxy: entries });
  const answers = new Map<string, boolean>();
  return ({ host, port }) => {
    const key = `${port} ${host}`;
    const known = answers.get(key);
    if (known !== undefined) return known;
    const listed = select({ host, port }) === undefined;
    if (answers.size >= REMEMBERED) answers.clear();
    answers.set(key, listed);
    return listed;
  };
}
