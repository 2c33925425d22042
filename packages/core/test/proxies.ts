// Proxies for one test: the reference server, a server that follows a script, a server that the test writes. Whatever a
// test has started, or has given to `atEnd()`, is closed at its end in reverse order.

import { startScript, startServer } from '@socksify/server';
import type { ScriptedServer, ScriptStep, ServerOptions, SocksServer } from '@socksify/server';
import { startRawServer } from '@socksify/support';
import type { RawServer, Read } from '@socksify/support';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import { afterEach } from 'vitest';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

export function atEnd(close: () => unknown): void {
  closing.push(close);
}

/** The reply of a SOCKS5 proxy that grants the request, bound to 0.0.0.0:0. */
export const GRANTED = '05000001000000000000';
/** Grants a request over SOCKS5 without authentication, to an IPv4 destination. */
export const SUCCESS = [{ read: 3 }, { send: '0500' }, { read: 10 }, { send: GRANTED }] as const;

export async function startProxy(options: ServerOptions = {}): Promise<SocksServer> {
  const server = await startServer(options);
  atEnd(() => server.close());
  return server;
}

/** A proxy that follows this script for each connection. */
export function startScripted(...script: readonly ScriptStep[]): Promise<ScriptedServer> {
  return startScripts(() => script);
}

/** A proxy that follows another script for each connection, by its number from 0. */
export async function startScripts(
  scriptOf: (index: number) => readonly ScriptStep[],
): Promise<ScriptedServer> {
  const server = await startScript(scriptOf);
  atEnd(() => server.close());
  return server;
}

/** A proxy whose connections are served by this function, for answers that no script can give. */
export async function startRawProxy(
  serve: (socket: Socket, read: Read, index: number) => unknown,
): Promise<RawServer> {
  const server = await startRawServer(serve);
  atEnd(server.close);
  return server;
}

/** The sockets that this process dials, from now to the end of the test. */
export function watchDials(): readonly Socket[] {
  const dialled: Socket[] = [];
  const listener = (message: unknown): void => void dialled.push((message as { socket: Socket }).socket);
  subscribe('net.client.socket', listener);
  atEnd(() => unsubscribe('net.client.socket', listener));
  return dialled;
}

/** True if the socket keeps the process alive. */
export function keepsAlive(socket: Socket): boolean {
  const handle = Reflect.get(socket, '_handle') as { hasRef: () => boolean } | null;
  return handle?.hasRef() ?? false;
}
