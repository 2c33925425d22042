// Speaks TLS over a connection: to a proxy, or through the tunnel to the destination. Errors are those of Node,
// unchanged.

import { isIP, Socket } from 'node:net';
import type { ConnectionOptions, TLSSocket } from 'node:tls';
import type { Destination } from '../destination.ts';
import { invalidOption } from '../errors.ts';
import { isObject, withoutUndefined } from '../given.ts';
import { createContext } from '../secure-contexts.ts';
import { StreamClosed } from './connection.ts';
import type { Connection } from './connection.ts';

/** The options of `tls.connect`, and one for pools. */
export interface SecureOptions extends ConnectionOptions {
  /** Called with the socket before its handshake, for events that come early, such as `keylog` and `session`. */
  onSocket?: ((socket: TLSSocket) => void) | undefined;
}

/**
 * Reads certificates, keys and versions before anything is dialled.
 *
 * @throws what Node throws for options that it refuses; TypeError `ERR_INVALID_ARG_VALUE` for what is no object
 */
export function withSecureContext(options: SecureOptions): SecureOptions {
  // A function of the caller may return anything; the options in a promise would be left out.
  const value: unknown = options;
  if (!isObject(value) || 'then' in value)
    throw invalidOption('tls is an object of options of tls.connect, or a function that returns one');
  const given = withoutUndefined(options);
  // Loaded here, because most tunnels need no TLS and the module is slow to load.
  const tls = process.getBuiltinModule('node:tls');
  const secureContext = given.secureContext ?? createContext({ ciphers: tls.DEFAULT_CIPHERS, ...given });
  // A TLSSocket keeps its options, and prints them: keys stay in the SecureContext alone.
  const { key: _, passphrase: __, pfx: ___, ...shown } = given;
  return { ...shown, secureContext };
}

/** Resolves once the handshake is done and the certificate has been checked. */
export async function secure(
  connection: Connection,
  { host, port }: Destination,
  { onSocket, ...options }: SecureOptions,
): Promise<void> {
  const { stream } = connection;
  const { checkServerIdentity: check } = options;
  const listeners = stream.listenerCount('close');
  let secured: TLSSocket;
  try {
    secured = process.getBuiltinModule('node:tls').connect({
      host,
      port,
      // An IP address is no SNI name (RFC 6066 section 3).
      ...(isIP(host) === 0 && { servername: host.replace(/\.$/, '') }),
      ...options,
      ...(check && { checkServerIdentity: (name, cert) => caught(() => check(name, cert)) }),
      socket: stream,
    });
  } catch (error) {
    // A TLSSocket whose constructor threw still listens to the socket below, and would throw again when that closes.
    const added = stream.listeners('close').slice(listeners);
    for (const listener of added) stream.off('close', listener as () => void);
    throw error;
  }
  if (!(stream instanceof Socket)) passOnRef(secured, stream);
  connection.wrap(secured);
  onSocket?.(secured);
  try {
    await connection.until(['secureConnect']);
  } catch (error) {
    if (!(error instanceof StreamClosed)) throw error;
    // The same error as that of Node when the stream below closes during the handshake.
    const message = 'Client network socket disconnected before secure TLS connection was established';
    throw Object.assign(new Error(message), { code: error.code, host, port });
  }
}

/** What the function of the caller returns or throws: Node calls it where an exception would be uncaught. */
function caught(check: () => Error | undefined): Error | undefined {
  try {
    return check();
  } catch (error) {
    // Whatever was thrown, the certificate is refused.
    return error instanceof Error ? error : new Error('checkServerIdentity() failed', { cause: error });
  }
}

/** A TLSSocket passes ref() and unref() to the handle of a net.Socket, but not to any other stream below. This does. */
function passOnRef(secured: TLSSocket, below: Partial<Socket>): void {
  for (const name of ['ref', 'unref'] as const) {
    secured[name] = () => {
      below[name]?.();
      return secured;
    };
  }
}
