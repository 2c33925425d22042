// Dials a proxy, or a destination directly, over TCP or a Unix socket.

import { connect } from 'node:net';
import type { Socket } from 'node:net';
import type { Destination } from '../destination.ts';
import { invalidOption } from '../errors.ts';
import { codeOf } from '../given.ts';
import type { Attempt } from './attempt.ts';
import { Connection } from './connection.ts';
import { lookUpToDial } from './lookup.ts';

/** The error of dialling a proxy or of TLS to it, or the reason of the attempt, if it has stopped. */
export function toProxyError(error: unknown, attempt: Attempt): unknown {
  // The attempt may have stopped after the connection failed.
  attempt.throwIfStopped();
  const { progress } = attempt;
  const detail = codeOf(error);
  const isDial = progress.phase === 'dial';
  if (isDial && detail === 'ERR_INVALID_ARG_VALUE') return error;
  const code = isDial ? 'ERR_SOCKS_PROXY_UNREACHABLE' : 'ERR_SOCKS_PROXY_TLS';
  return progress.error(code, { cause: error, detail, hint: tlsHint(detail) });
}

/** What to write instead, by the code of Node's or OpenSSL's error. */
function tlsHint(code: string | undefined): string | undefined {
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER') return 'the proxy answers without TLS: use socks5://';
  if (code === 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED')
    return 'the proxy wants a client certificate: give it as tls: { cert, key } of the proxy object';
  // All of OpenSSL's names for an issuer that is not trusted; an expired certificate has another one.
  return /SELF_SIGNED|LEAF_SIGNATURE|ISSUER_CERT/.test(code ?? '')
    ? 'give the certificate authority of the proxy as tls: { ca } of the proxy object'
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
  const { tcp, lookup = tcp?.lookup } = attempt.options;
  attempt.throwIfStopped();
  const options = {
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
    ...tcp,
    ...(lookup && { lookup: lookUpToDial(lookup) }),
    host,
    port,
    path,
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
  return attempt.own(new Connection(socket));
}
