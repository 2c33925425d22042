// Connections that are not tunnels yet: to the proxy, over TCP or a Unix socket, with TLS where it wants it.

import { connect as dialSocket } from 'node:net';
import type { LookupFunction, NetConnectOpts, Socket, TcpNetConnectOpts } from 'node:net';
import type { Duplex } from 'node:stream';
import type { SocksError, SocksErrorCode } from '../errors.ts';
import type { Target } from '../protocol/step.ts';
import type { SocksProxy } from '../proxy.ts';
import type { Deadline } from './deadline.ts';
import { abandon, secure } from './secure.ts';

export interface DialOptions {
  readonly tcp?: Partial<TcpNetConnectOpts>;
  readonly lookup?: LookupFunction;
}

/** @throws SocksError `ERR_SOCKS_PROXY_UNREACHABLE` */
export async function dialProxy(
  proxy: SocksProxy,
  options: DialOptions,
  deadline: Deadline,
): Promise<Socket> {
  try {
    return await dial(proxy.path === undefined ? proxy : { path: proxy.path }, options, deadline);
  } catch (error) {
    throw deadline.stopped ? error : failure('ERR_SOCKS_PROXY_UNREACHABLE', error, deadline);
  }
}

/** @throws SocksError `ERR_SOCKS_PROXY_TLS` */
export async function secureProxy(stream: Duplex, proxy: SocksProxy, deadline: Deadline): Promise<Duplex> {
  deadline.progress.enter('proxy-tls');
  try {
    return await secure(stream, proxy, proxy.tls ?? {}, deadline);
  } catch (error) {
    throw deadline.stopped ? error : failure('ERR_SOCKS_PROXY_TLS', error, deadline);
  }
}

/** Node's own dialling (RFC 8305 over all addresses), without Nagle's delay. */
export function dial(
  to: Target | { readonly path: string },
  { tcp, lookup }: DialOptions,
  deadline: Deadline,
): Promise<Socket> {
  return deadline.step<Socket>((resolve, reject) => {
    const socket = dialSocket({
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: 60_000,
      ...(lookup && { lookup }),
      ...tcp,
      ...('path' in to ? { path: to.path } : { host: to.host, port: to.port }),
    } as NetConnectOpts);
    if (deadline.background) socket.unref();
    let connected = false;
    const onConnect = (): void => {
      connected = true;
      resolve(socket);
    };
    socket.on('connect', onConnect).on('error', reject);
    return () => {
      socket.off('connect', onConnect).off('error', reject);
      if (!connected) abandon(socket);
    };
  });
}

function failure(code: SocksErrorCode, cause: unknown, { progress }: Deadline): SocksError {
  const { code: reason } = cause as NodeJS.ErrnoException;
  return progress.failure(code, { cause, ...(reason !== undefined && { detail: reason }) });
}
