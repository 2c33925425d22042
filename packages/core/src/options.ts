// The options of a tunnel: what they mean, and the checks that come before any IO.

import type { LookupFunction, TcpNetConnectOpts } from 'node:net';
import type { Duplex } from 'node:stream';
import { invalidOption } from './errors.ts';
import { describe, withoutUndefined } from './given.ts';
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
   * Replaces `dns.lookup` where this side looks a name up: the name of the proxy, the destination with `dns: 'local'`,
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
   * Some servers drop what comes with the greeting, and this side cannot tell that from a slow destination. So a second
   * attempt begins beside the first, message by message and on a new connection. It begins when no answer came within a
   * second or four dial times, whichever is longer; or at once when the proxy closes without an answer or accepts no
   * method. The first answer wins. A slow destination can therefore see two connections.
   */
  pipeline?: boolean | undefined;
}

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
  /** Called with the open socket before `connect()` resolves. What it throws closes the tunnel and rejects. */
  prepare?: ((socket: import('node:net').Socket) => void) | undefined;
}

export const DEFAULT_TIMEOUT = 30_000;
const MAX_TIMEOUT = 2 ** 31 - 1;
const FAMILIES: ReadonlySet<unknown> = new Set([undefined, 0, 4, 6, 'IPv4', 'IPv6']);

interface Check {
  readonly name: string;
  readonly meaning: string;
  readonly types: readonly string[];
  readonly methods?: readonly string[];
  readonly isValid?: (value: never) => boolean;
}
type Fields = Readonly<Record<string, unknown>>;

/** What each option has to be, in words and as a test. */
const CHECKS: readonly Check[] = [
  {
    name: 'timeout',
    meaning: `0 to ${MAX_TIMEOUT} milliseconds`,
    types: ['number'],
    isValid: (ms: number) => ms >= 0 && ms <= MAX_TIMEOUT,
  },
  { name: 'lookup', meaning: 'a function such as dns.lookup', types: ['function'] },
  {
    name: 'tcp',
    meaning: 'an object of options of net.connect, with family 0, 4 or 6, and without encoding and onread',
    types: ['object'],
    // The socket has to give bytes, and to give them to the handshake.
    isValid: ({ family, encoding, onread }: Fields) => FAMILIES.has(family) && !encoding && !onread,
  },
  { name: 'pipeline', meaning: 'true or false', types: ['boolean'] },
  {
    name: 'signal',
    meaning: 'an AbortSignal',
    types: ['object'],
    methods: ['addEventListener', 'removeEventListener'],
  },
  {
    name: 'socket',
    meaning: 'a Duplex of bytes (without setEncoding() or objectMode) that is connected to the proxy',
    types: ['object'],
    methods: ['read', 'on', 'destroy', 'write'],
    isValid: (socket: Duplex) => !socket.readableEncoding && !socket.readableObjectMode,
  },
  {
    name: 'chain',
    meaning: 'what select() gave',
    types: ['string', 'object'],
    isValid: (chain: unknown) =>
      chain === 'direct' ||
      chain instanceof Alternatives ||
      (Array.isArray(chain) && chain.length > 0 && chain.every(isChecked)),
  },
  {
    name: 'tls',
    meaning: 'an object of options of tls.connect, or a function that returns one',
    types: ['object', 'function'],
  },
  { name: 'prepare', meaning: 'a function', types: ['function'] },
  {
    name: 'standby',
    meaning: '0 to 1000 connections',
    types: ['number'],
    isValid: (n: number) => Number.isInteger(n) && n >= 0 && n <= 1000,
  },
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
  for (const { name, meaning, types, methods = [], isValid } of CHECKS) {
    const value: unknown = Reflect.get(given, name);
    if (value === undefined) continue;
    let isRight = value !== null && types.includes(typeof value);
    for (const method of methods) isRight &&= typeof Reflect.get(value as object, method) === 'function';
    if (!isRight || isValid?.(value as never) === false)
      throw invalidOption(`${name} is ${meaning}, not ${describe(value)}`);
  }
  if (given.auth !== undefined) checkAuth(given.auth);
  if (given.tcp !== undefined) given.tcp = withoutUndefined(given.tcp);
  return given;
}
