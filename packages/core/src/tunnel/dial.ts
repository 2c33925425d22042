// Dials a proxy, or a destination directly, over TCP or a Unix socket; then speaks TLS to the proxy if it has to.

import { connect } from 'node:net';
import type { NetConnectOpts, Socket } from 'node:net';
import type { Destination } from '../destination.ts';
import { invalidOption } from '../errors.ts';
import type { SocksErrorCode } from '../errors.ts';
import { reveal } from '../hidden.ts';
import { withoutUndefined } from '../given.ts';
import type { SocksProxy } from '../proxy.ts';
import type { Attempt } from './attempt.ts';
import { Connection } from './connection.ts';
import { lookUpToDial } from './lookup.ts';
import { secure, withSecureContext } from './secure.ts';

/** @throws SocksError `ERR_SOCKS_PROXY_UNREACHABLE` */
export async function dialProxy(proxy: SocksProxy, attempt: Attempt): Promise<Connection> {
  try {
    return await dial(proxy, attempt);
  } catch (error) {
    throw toProxyError('ERR_SOCKS_PROXY_UNREACHABLE', error, attempt);
  }
}

/** @throws SocksError `ERR_SOCKS_PROXY_TLS` */
export async function secureProxy(
  connection: Connection,
  proxy: SocksProxy,
  attempt: Attempt,
): Promise<void> {
  attempt.progress.enter('proxy-tls');
  try {
    await secure(connection, proxy, withSecureContext(reveal(proxy.tls ?? {})));
  } catch (error) {
    throw toProxyError('ERR_SOCKS_PROXY_TLS', error, attempt);
  }
}

/**
 * Dials as Node does (all addresses, RFC 8305), without the delay of Nagle's algorithm.
 *
 * @throws the system's own error; TypeError `ERR_INVALID_ARG_VALUE` for options that Node refuses
 */
export async function dial(
  { host, port, path }: Destination & { readonly path?: string },
  attempt: Attempt,
): Promise<Connection> {
  const { lookup, tcp } = attempt.options;
  attempt.throwIfStopped();
  const options = {
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
    ...(lookup && { lookup: lookUpToDial(lookup) }),
    ...(tcp && withoutUndefined(tcp)),
    ...(path === undefined ? { host, port, path } : { path }),
  };
  let socket: Socket;
  try {
    socket = connect(options as NetConnectOpts);
  } catch (error) {
    throw invalidOption(`tcp: ${(error as Error).message}`, error);
  }
  const connection = new Connection(socket).belongTo(attempt);
  // Each further address is dialled with a new handle, which does not inherit the unref().
  const unref = (): void => void socket.unref();
  if (attempt.background) socket.on('connectionAttempt', unref).unref();
  await connection.opened('connect');
  socket.off('connectionAttempt', unref);
  return connection;
}

/** @throws the reason of the attempt, if it has stopped, which it may have done after the connection failed */
function toProxyError(code: SocksErrorCode, cause: unknown, attempt: Attempt): unknown {
  attempt.throwIfStopped();
  const { code: detail } = cause as NodeJS.ErrnoException;
  if (detail === 'ERR_INVALID_ARG_VALUE') return cause;
  const plain =
    detail === 'ERR_SSL_WRONG_VERSION_NUMBER' ? 'the proxy answers without TLS: use socks5://' : undefined;
  return attempt.progress.error(code, { cause, detail, hint: plain });
}
