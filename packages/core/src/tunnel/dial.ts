// Dials a proxy, or a destination directly, over TCP or a Unix socket; then speaks TLS to the proxy if it has to.

import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { Destination } from '../destination.ts';
import { invalidOption } from '../errors.ts';
import type { SocksErrorCode } from '../errors.ts';
import { reveal } from '../hidden.ts';
import { codeOf } from '../given.ts';
import type { SocksProxy } from '../proxy.ts';
import type { Attempt } from './attempt.ts';
import { Connection } from './connection.ts';
import { lookUpToDial } from './lookup.ts';
import { secure, withSecureContext } from './secure.ts';

/**
 * Dials a proxy, unless there is a connection to it already, and speaks TLS to it if it has to.
 *
 * @throws SocksError `ERR_SOCKS_PROXY_UNREACHABLE`, `ERR_SOCKS_PROXY_TLS`; the reason of the attempt, if it has stopped
 */
export async function connectToProxy(
  existing: Connection | undefined,
  proxy: SocksProxy,
  attempt: Attempt,
): Promise<Connection> {
  let code: SocksErrorCode = 'ERR_SOCKS_PROXY_UNREACHABLE';
  try {
    const connection = existing ?? dial(proxy, attempt);
    if (!existing) await connection.until(['connect']);
    if (proxy.tls) {
      code = 'ERR_SOCKS_PROXY_TLS';
      attempt.progress.enter('proxy-tls');
      await secure(connection, proxy, withSecureContext(reveal(proxy.tls)));
    }
    return connection;
  } catch (error) {
    // The attempt may have stopped after the connection failed.
    attempt.throwIfStopped();
    const detail = codeOf(error);
    if (detail === 'ERR_INVALID_ARG_VALUE') throw error;
    throw attempt.progress.error(code, { cause: error, detail, hint: tlsHint(detail) });
  }
}

/** What to write instead, by the code of Node's or OpenSSL's error. */
function tlsHint(code: string | undefined): string | undefined {
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER') return 'the proxy answers without TLS: use socks5://';
  // All of OpenSSL's names for an issuer that is not trusted; an expired certificate has another one.
  return /SELF_SIGNED|LEAF_SIGNATURE|ISSUER_CERT/.test(code ?? '')
    ? 'give the certificate authority of the proxy as tls: { ca }'
    : undefined;
}

/**
 * Dials as Node does (all addresses, RFC 8305), without the delay of Nagle's algorithm. The connection is open at its
 * event `connect`.
 *
 * @throws the system's own error; TypeError `ERR_INVALID_ARG_VALUE` for options that Node refuses
 */
export function dial(
  { host, port, path }: Destination & { readonly path?: string },
  attempt: Attempt,
): Connection {
  const { lookup, tcp } = attempt.options;
  attempt.throwIfStopped();
  const options = {
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
    ...(lookup && { lookup: lookUpToDial(lookup) }),
    ...tcp,
    host,
    port,
    ...(path !== undefined && { path }),
  };
  let socket: Socket;
  try {
    socket = connect(options);
  } catch (error) {
    throw invalidOption(`tcp: ${(error as Error).message}`, error);
  }
  if (attempt.background) {
    // Each further address is dialled with a new handle, which does not inherit the unref().
    const unref = (): void => void socket.unref();
    socket.on('connectionAttempt', unref).unref();
    socket.once('connect', () => socket.off('connectionAttempt', unref));
  }
  return new Connection(socket).belongTo(attempt);
}
