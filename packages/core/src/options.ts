// The options of a tunnel: what they mean, and the checks that come before any IO.

import type { LookupFunction, TcpNetConnectOpts } from 'node:net';
import type { Duplex } from 'node:stream';
import { invalidOption } from './errors.ts';
import { describe, isFunction, withoutUndefined } from './given.ts';
import { checkAuth } from './protocol/method.ts';
import type { AuthPolicy } from './protocol/method.ts';
import { isChecked } from './proxy.ts';
import type { Chain } from './chain.ts';
import { Alternatives } from './group/group.ts';
import type { Selection } from './route.ts';
import type { SecureOptions } from './tunnel/secure.ts';

/** An option that is `undefined` was not given. */
export interface SocksOptions {
  /**
   * Milliseconds from the call to the open tunnel: the selector's promise, look-ups, all hops and TLS included.
   * Default 30000; 0: none. Time in which the process is too busy to look at its sockets does not count.
   */
  timeout?: number | undefined;
  /**
   * Replaces `dns.lookup` where this machine looks a name up: the name of the proxy, the destination with `dns: 'local'`,
   * the destination of a direct connection. It has to answer with IP literals.
   */
  lookup?: LookupFunction | undefined;
  /** How to dial: `localAddress`, `family`, `autoSelectFamily`, `keepAlive` and so on, as in `net.connect`. */
  tcp?: Partial<TcpNetConnectOpts> | undefined;
  /**
   * Default `auto`: with credentials offer methods 02 and 00. `required` offers 02 alone; a list offers its methods.
   */
  auth?: AuthPolicy | undefined;
  /**
   * Send greeting, authentication and request of the last hop in one segment (SOCKS5). Default false. The password is
   * then sent before the proxy has sent a byte.
   *
   * Some servers drop what comes with the greeting, and the client cannot tell that from a slow destination. So a second
   * attempt begins beside the first, message by message and on a new connection. It begins when no answer came within a
   * second or four dial times, whichever is longer; or at once when the proxy closes without an answer or accepts no
   * method. The first answer wins. A slow destination can therefore see two connections.
   */
  pipeline?: boolean | undefined;
}

/** The options of {@link connect}. */
export interface ConnectOptions extends SocksOptions {
  /** Ends the attempt: the promise rejects with `signal.reason`, the proxy's socket is destroyed. */
  signal?: AbortSignal | undefined;
  /**
   * A connection to the (first) proxy that exists already; nothing is dialled. `connect()` takes ownership and destroys
   * it on failure, invalid input included. Refused for a direct connection.
   */
  socket?: Duplex | undefined;
  /** What `SocksClient.select()` chose for this destination. Default: the chain is selected now. */
  chain?: Selection | undefined;
  /**
   * Speak TLS to the destination through the tunnel, with these options; `tunnel.socket` is then a `TLSSocket`. A
   * function gets the chain that leads to the destination, because a TLS session is for one chain only.
   */
  tls?: SecureOptions | ((chain: Chain) => SecureOptions) | undefined;
  /**
   * Called with the open socket before `connect()` resolves; a promise is waited for. What it throws or rejects with closes
   * the tunnel and rejects.
   */
  prepare?: ((socket: import('node:net').Socket) => void | Promise<void>) | undefined;
}

export const DEFAULT_TIMEOUT = 30_000;
const MAX_TIMEOUT = 2 ** 31 - 1;
const FAMILIES: ReadonlySet<unknown> = new Set([undefined, 0, 4, 6, 'IPv4', 'IPv6']);

type Fields = Readonly<Record<string, unknown>>;

/** What each option has to be: its types, in words, and as a test where its type does not say enough. */
const CHECKS: readonly (readonly [
  name: string,
  types: string,
  meaning: string,
  isValid?: (value: never) => boolean,
])[] = [
  ['timeout', 'number', `0 to ${MAX_TIMEOUT} milliseconds`, (ms: number) => ms >= 0 && ms <= MAX_TIMEOUT],
  ['lookup', 'function', 'a function such as dns.lookup'],
  [
    'tcp',
    'object',
    'an object of options of net.connect: lookup a function, family 0, 4 or 6, no encoding and no onread',
    // The socket has to give bytes, and to give them to the handshake.
    ({ lookup, family, encoding, onread }: Fields) =>
      (!lookup || isFunction(lookup)) && FAMILIES.has(family) && !encoding && !onread,
  ],
  ['pipeline', 'boolean', 'true or false'],
  [
    'signal',
    'object',
    'an AbortSignal',
    ({ addEventListener: on, removeEventListener: off }: Fields) =>
      typeof on === 'function' && typeof off === 'function',
  ],
  [
    'socket',
    'object',
    'a Duplex of bytes (without setEncoding() or objectMode) that is connected to the proxy',
    (socket: Fields) =>
      ['read', 'on', 'destroy', 'write'].every((method) => typeof socket[method] === 'function') &&
      !socket['readableEncoding'] &&
      !socket['readableObjectMode'],
  ],
  [
    'chain',
    'string object',
    'what select() gave',
    (chain: unknown) =>
      chain === 'direct' ||
      chain instanceof Alternatives ||
      (Array.isArray(chain) && chain.length > 0 && chain.every(isChecked)),
  ],
  ['tls', 'object function', 'an object of options of tls.connect, or a function that returns one'],
  ['prepare', 'function', 'a function'],
  ['standby', 'number', '0 to 1000 connections', (n: number) => Number.isInteger(n) && n >= 0 && n <= 1000],
];

/**
 * Checks the options, and returns a copy of those that were given.
 *
 * @throws TypeError `ERR_INVALID_ARG_VALUE`
 */
export function checkOptions<T extends ConnectOptions>(options: T): T {
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw invalidOption(`options are an object, not ${describe(options)}`);
  const given = withoutUndefined<T>(options);
  for (const { 0: name, 1: types, 2: meaning, 3: isValid } of CHECKS) {
    const value: unknown = Reflect.get(given, name);
    if (value === undefined) continue;
    const isRight = value !== null && types.includes(typeof value) && isValid?.(value as never) !== false;
    if (!isRight) throw invalidOption(`${name} is ${meaning}, not ${describe(value)}`);
  }
  if (given.auth !== undefined) checkAuth(given.auth);
  if (given.tcp !== undefined) given.tcp = withoutUndefined(given.tcp);
  return given;
}
