// Proxies that record what they were requested and how many connections they have accepted. Every name is 127.0.0.1.

import { startServer } from '@socksify/server';
import type { ServerOptions } from '@socksify/server';
import { startRawServer } from '@socksify/support';

export interface RecordedProxy extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** `host:port` of every request. */
  readonly requests: string[];
  readonly accepted: number;
  /** Resolves when so many connections have been accepted. */
  readonly reached: (count: number) => Promise<void>;
  /** Resolves when no connection is open. */
  readonly idle: () => Promise<void>;
}

export async function startProxy(options: ServerOptions = {}): Promise<RecordedProxy> {
  const server = await startServer({ names: { '*': '127.0.0.1' }, ...options });
  const requests: string[] = [];
  server.on('received', ({ host, port }) => requests.push(`${host}:${port}`));
  return {
    url: server.url('socks5'),
    port: server.port,
    requests,
    get accepted() {
      return server.accepted;
    },
    reached: (count) => server.reached(count),
    idle: () => server.idle(),
    [Symbol.asyncDispose]: () => server.close(),
  };
}

/** A proxy that refuses every request with REP 02. */
export function startRefusingProxy(): Promise<RecordedProxy> {
  return startProxy({ allow: () => false });
}

/** A proxy that reads everything and never answers. */
export async function startHangingProxy(): Promise<RecordedProxy> {
  const server = await startRawServer(() => {});
  return {
    url: server.url,
    port: server.port,
    requests: [],
    get accepted() {
      return server.accepted;
    },
    reached: server.reached,
    idle: server.idle,
    [Symbol.asyncDispose]: server.close,
  };
}
