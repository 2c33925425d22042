// install(): installs the parts, checks that they took effect, and undoes them.

import { syncBuiltinESMExports } from 'node:module';
import { Socket } from 'node:net';
import { SocksClient } from '@socksify/core';
import type { ProxyRoute, SocksProxy } from '@socksify/core';
import { passesOn, passOn } from './children.ts';
import { routeFromEnvironment } from './environment.ts';
import { watchHttp } from './http-clients.ts';
import type { Check } from './http-clients.ts';
import { watchNative } from './native.ts';
import { Patches } from './patches.ts';
import { Placeholders } from './placeholders.ts';
import { Policy, print } from './policy.ts';
import { watchDns } from './dns.ts';
import { settingsOf } from './settings.ts';
import type { Environment } from './settings.ts';
import { watchSockets } from './sockets.ts';
import type { Sockets, Strict } from './sockets.ts';
import { Tunnels } from './tunnels.ts';
import { watchUdp } from './udp.ts';
import { watchUndici } from './undici-clients.ts';
import { fieldOf, isFunction, isObject } from './unknown.ts';

/** The options of {@link install}. */
export interface InstallOptions {
  /** A proxy, a chain, or a selector. Default: what the environment names, as in `proxyFromEnv()` of `@socksify/env`. */
  proxy?: ProxyRoute | undefined;
  /**
   * What may be direct: entries as in NO_PROXY, and paths of Unix sockets (one that ends with a slash lists the folder).
   * NO_PROXY counts as well when the proxy comes from the environment. Default: nothing, the loopback neither.
   */
  allow?: string | readonly string[] | undefined;
  /**
   * `true`: refuse, with a SocksError `ERR_SOCKS_BYPASS`, whatever would bypass the proxy: TCP, TLS and HTTP/2 of the
   * program's own, Unix sockets, DNS, UDP. `tcp`: tunnel TCP of the program's own too, by name, and refuse the rest; a
   * look-up then gives an address of 198.18.0.0/15 that stands for the name. Default false.
   */
  strict?: Strict | undefined;
}

/** The key of the global undo of the last installation. Every copy of this package finds it. */
const INSTALLED = Symbol.for('socksify.installed');

/**
 * Sends everything through the proxy that Node's http and https clients, `fetch`, `WebSocket`, `EventSource` and every
 * undici connect to, also with agents, pools and dispatchers of the program's own. These clients connect directly only
 * to what is listed. Other sockets are left alone.
 *
 * With `strict`, workers and the Node programs that this program starts are covered too. They get the proxy by the
 * variable SOCKS_PROXY, so it has to be a URL: with any other proxy they end at their start. Without `strict` they connect
 * directly: for them, start the program with `--import socksify/register` or the command `socksify`. A second call
 * replaces the first.
 *
 * @returns undo: puts everything back; connections that are open stay open
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS`; TypeError `ERR_INVALID_ARG_VALUE` for an
 * option; Error `ERR_FEATURE_UNAVAILABLE_ON_PLATFORM` on Bun and Deno; Error `ERR_INVALID_STATE` when it did not take
 * effect. Nothing is changed then.
 * @example
 * const undo = install({ proxy: 'socks5://127.0.0.1:1080' });
 */
export function install(options: InstallOptions = {}): () => void {
  return installFrom(process.env, options, false);
}

/**
 * @param env the variables that name the proxy, if the options do not
 * @param isPreload the caller passes its settings on to workers and children itself
 */
export function installFrom(env: NodeJS.ProcessEnv, options: InstallOptions, isPreload = true): () => void {
  checkRuntime();
  if (!isObject(options))
    throw invalid("options are an object, such as { proxy: 'socks5://127.0.0.1:1080' }");
  const { strict = false, allow = [] } = options;
  if (![true, false, 'tcp'].includes(strict)) throw invalid("strict is true, false or 'tcp'");
  if ([allow].flat().some((entry) => typeof entry !== 'string'))
    throw invalid('allow is text, or an array of entries');
  const policy = policyOf(env, options);
  const earlier = fieldOf(globalThis, INSTALLED);
  // Connections that the earlier installation tunnelled stay open, and may be used.
  const known = fieldOf(earlier, 'approved');
  const approved: WeakSet<object> = known instanceof WeakSet ? known : new WeakSet();
  if (isFunction(earlier)) earlier();

  const patches = new Patches();
  try {
    // The function of Node, before it is replaced: a placeholder would mean nothing to a proxy.
    const lookup = strict === 'tcp' ? process.getBuiltinModule('node:dns').lookup : undefined;
    const tunnels = new Tunnels(policy, lookup);
    patches.onUndo(() => tunnels.close());
    const check: Check = (socket, client) => sockets.check(socket, client);
    const http = watchHttp(patches, check);
    const undici = watchUndici(patches, check);
    const client = (): ReturnType<typeof undici.take> => undici.take() ?? http.current();
    // oxlint-disable-next-line typescript/unbound-method -- called with its socket
    const { connect } = Socket.prototype;
    const placeholders = strict === 'tcp' ? new Placeholders() : undefined;
    const parts = { patches, policy, tunnels, strict, placeholders, client, approved };
    const sockets: Sockets = watchSockets(parts);
    if (strict !== false) {
      // Runs last at undo, when the functions are restored.
      patches.onUndo(syncBuiltinESMExports);
      watchNative(patches, connect, (socket) => sockets.mayConnect(socket));
      watchDns({ patches, policy, placeholders, isConnecting: (name) => sockets.isConnecting(name) });
      watchUdp(patches, policy);
      refuseReportLookups(patches);
      syncBuiltinESMExports();
      if (!isPreload && !passesOn()) patches.onUndo(passOn(settingsFor(env, options), false));
    }
    // The next installation, of this copy or another one, calls this, and takes over the sockets that a client may use.
    const undo = Object.assign(() => patches.undo(), { approved });
    patches.define(globalThis, INSTALLED, { value: undo, configurable: true });
    const failed = patches.failed();
    if (failed !== undefined) {
      throw Object.assign(new Error(`socksify did not take effect: ${failed} cannot be replaced`), {
        code: 'ERR_INVALID_STATE',
      });
    }
    return undo;
  } catch (error) {
    patches.undo();
    throw error;
  }
}

/**
 * The variables with which a worker or a child installs the same. Only a URL can be passed on: without SOCKS_PROXY, the
 * preload ends a worker or a child before its program starts.
 */
function settingsFor(env: NodeJS.ProcessEnv, { proxy, allow = [], strict }: InstallOptions): Environment {
  const isUrl = typeof proxy === 'string' || proxy instanceof URL;
  return {
    ...(proxy === undefined ? settingsOf(env) : isUrl && { SOCKS_PROXY: String(proxy) }),
    SOCKSIFY_ALLOW: [allow].flat().join(','),
    SOCKSIFY_STRICT: strict === 'tcp' ? 'tcp' : '1',
  };
}

function invalid(detail: string): TypeError {
  return Object.assign(new TypeError(detail), { code: 'ERR_INVALID_ARG_VALUE' });
}

/** Without this, a diagnostic report looks up the names of all addresses to which sockets lead. */
function refuseReportLookups(patches: Patches): void {
  const { report } = process;
  const before = fieldOf(report, 'excludeNetwork');
  if (before === undefined) return;
  Reflect.set(report, 'excludeNetwork', true);
  patches.onUndo(() => Reflect.set(report, 'excludeNetwork', before));
}

function policyOf(env: NodeJS.ProcessEnv, { proxy, allow = [] }: InstallOptions): Policy {
  const entries = (typeof allow === 'string' ? allow.split(/[\s,]+/) : allow).filter((entry) => entry !== '');
  if (proxy === undefined) {
    const { route, proxies, noProxy } = routeFromEnvironment(env);
    return new Policy({
      route,
      noProxy,
      allow: entries,
      proxies: new Set(proxies.map((each) => print(each))),
    });
  }
  const addresses = new Set(firstOf(proxy).map((each) => print(each)));
  return new Policy({ route: proxy, noProxy: '', allow: entries, proxies: addresses });
}

/**
 * The proxy to which this machine connects itself, unless it is a Unix socket. A selector answers later, for each
 * destination.
 */
function firstOf(route: ProxyRoute): readonly SocksProxy[] {
  if (typeof route === 'function') return [];
  const chain = new SocksClient(route).select({ host: 'first.invalid', port: 80 });
  const [first]: readonly SocksProxy[] = Array.isArray(chain) ? chain : [];
  return first && first.path === undefined ? [first] : [];
}

/** On Bun and Deno the changes have no effect, and everything would be direct. */
function checkRuntime(): void {
  const runtime = process.versions['bun'] ? 'Bun' : 'Deno' in globalThis ? 'Deno' : undefined;
  if (runtime === undefined) return;
  throw Object.assign(
    new Error(`socksify: ${runtime} has sockets of its own, which would bypass the proxy`),
    {
      code: 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM',
    },
  );
}
