// The options of one request, as Node hands them to its agent.

import type { TcpNetConnectOpts } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { SocksError } from '@socksify/core';
import type { Destination, Selection } from '@socksify/core';
import { HTTP_PORT, HTTPS_PORT } from './default-port.ts';
import type { PortOptions } from './default-port.ts';
import type { Opening } from './opening.ts';

export const SELECTED: unique symbol = Symbol('socksify.selected');
export const OPENING: unique symbol = Symbol('socksify.opening');

/** Those that are used here. */
export interface RequestOptions
  extends PortOptions,
    Partial<Omit<TcpNetConnectOpts, 'port'>>,
    Omit<ConnectionOptions, 'port'> {
  readonly socketPath?: string | null | undefined;
  readonly timeout?: number | undefined;
  readonly highWaterMark?: number | undefined;
  [SELECTED]?: Selected;
  [OPENING]?: OpeningSlot | undefined;
}

/**
 * The opening of a socket; empty when the socket is open. Node and subclasses keep the options, or copies of them, as long
 * as the socket, and an opening would keep its request.
 */
export interface OpeningSlot {
  opening?: Opening | Handed | undefined;
}

/** The opening of a socket for a caller that handles timeouts and TLS itself. */
interface Handed {
  readonly request: undefined;
  readonly signal: AbortSignal;
}

/** What a selector chose for one request, and how many milliseconds its promise took. */
interface Selected {
  readonly chain: Selection;
  readonly waited: number;
}

/** Options of the dial. A request can have them, and the agent can have them for all requests. */
export const DIAL_OPTIONS = [
  'family',
  'localAddress',
  'localPort',
  'hints',
  'highWaterMark',
  'autoSelectFamily',
  'autoSelectFamilyAttemptTimeout',
  'noDelay',
] as const;

export function toDestination({ host, port }: RequestOptions, secure: boolean): Destination {
  const protocol = secure ? 'https:' : 'http:';
  return {
    host: host || 'localhost',
    port: Number(port || port === 0 ? port : secure ? HTTPS_PORT : HTTP_PORT),
    protocol,
  };
}

export function withoutUndefined<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

export function unixSocket(): SocksError {
  const detail = 'a request to a Unix socket (socketPath) cannot go through a proxy';
  return new SocksError('ERR_SOCKS_INVALID_DESTINATION', { phase: 'input', detail });
}
