// A site whose name only the proxies know, and two proxies that want a password, one of them behind TLS.

import { createSecureServer } from 'node:http2';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { listen, startSite, TLS } from '@socksify/support';
import type { Site } from '@socksify/support';

export const ALICE = { username: 'alice', password: 'secret' };

export interface Network {
  readonly web: Site;
  /** The port of HTTP/2 over TLS, which answers `h2`. */
  readonly h2: number;
  readonly proxy: SocksServer;
  /** The URL of the proxy, with the password. */
  readonly url: string;
  readonly tlsProxy: SocksServer;
  /** How many connections came to the site that no proxy made. */
  direct(): number;
  close(): Promise<void>;
}

export async function startNetwork(): Promise<Network> {
  const web = await startSite();
  const h2 = createSecureServer(TLS);
  const ports: number[] = [];
  h2.on('connection', ({ remotePort = 0 }) => ports.push(remotePort));
  h2.on('stream', (stream) => {
    stream.respond({ ':status': 200 });
    stream.end('h2');
  });
  const h2Port = await listen(h2, '::');
  const names = { 'origin.test': '127.0.0.1' };
  const proxy = await startServer({ names, users: { alice: 'secret' } });
  const tlsProxy = await startServer({ names, tls: TLS, users: { alice: 'secret' } });
  let compared = 0;
  let direct = 0;
  return {
    web,
    h2: h2Port,
    proxy,
    url: proxy.url('socks5', ALICE),
    tlsProxy,
    direct: () => {
      const outgoing = new Set([...proxy.log, ...tlsProxy.log].map(({ outgoingPort }) => outgoingPort));
      // A later tunnel may have the port of an earlier one, so each connection is compared once.
      const fresh = [...web.hits.slice(compared), ...ports.splice(0)];
      compared = web.hits.length;
      direct += fresh.filter((port) => !outgoing.has(port)).length;
      return direct;
    },
    close: async () => {
      h2.close();
      await Promise.all([proxy.close(), tlsProxy.close(), web.close()]);
    },
  };
}
