// A bridge in front of the reference server, which wants a password and alone knows the names; and clients that send
// typed bytes.

import { once } from 'node:events';
import { connect } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { startServer } from '@socksify/server';
import type { ServerOptions, SocksServer } from '@socksify/server';
import { startBridge } from 'socksify';
import type { Bridge, BridgeOptions } from 'socksify';

const NAMES = { 'origin.test': '127.0.0.1', 'other.test': '127.0.0.1' };
const ALICE = { username: 'alice', password: 'secret' };

export interface Bridged {
  readonly bridge: Bridge;
  readonly upstream: SocksServer;
  /** The lines of the bridge's log. */
  readonly lines: string[];
  /** Resolves with the next line that the bridge logs. */
  line(): Promise<string>;
  close(): Promise<void>;
}

export async function startBridged(
  options: Omit<BridgeOptions, 'proxy'> = {},
  server: ServerOptions = {},
  scheme = 'socks5',
): Promise<Bridged> {
  const upstream = await startServer({
    names: NAMES,
    ...(scheme === 'socks5' && { users: { alice: 'secret' } }),
    ...server,
  });
  const lines: string[] = [];
  const waiting: ((line: string) => void)[] = [];
  const bridge = await startBridge({
    proxy: upstream.url(scheme, scheme === 'socks5' ? ALICE : undefined),
    listen: '127.0.0.1:0',
    log: (line) => {
      lines.push(line);
      waiting.shift()?.(line);
    },
    ...options,
  });
  return {
    bridge,
    upstream,
    lines,
    line: () => new Promise((resolve) => waiting.push(resolve)),
    close: async () => {
      await bridge.close();
      await upstream.close();
    },
  };
}

/** Sends the pieces one after the other, ends, and returns all that came back until the other side closed. */
export async function talk(port: number, pieces: string | readonly string[], end = true): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', () => {});
  const ended = Promise.race([once(socket, 'end'), once(socket, 'close')]).catch(() => {});
  for (const piece of typeof pieces === 'string' ? [pieces] : pieces) {
    socket.write(piece, 'latin1');
    await turn();
  }
  if (end) socket.end();
  await ended;
  socket.destroy();
  return Buffer.concat(chunks).toString('latin1');
}
