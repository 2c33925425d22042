// The web server of the tests and of the demo: http and https on both families of the loopback.

import { createHash } from 'node:crypto';
import { createServer as createHttpServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { TLS } from './certificate.ts';
import { listen } from './port.ts';

export interface Site {
  readonly http: number;
  readonly https: number;
  /** The remote ports of all connections that either server has accepted. */
  readonly hits: readonly number[];
  readonly close: () => Promise<void>;
}

export function sha256(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex');
}

// Answers with the Host header and the hash of the body, then the body itself.
const answer: RequestListener = (request, response) => {
  const body: Buffer[] = [];
  request.on('data', (chunk: Buffer) => body.push(chunk));
  request.on('end', () => {
    const whole = Buffer.concat(body);
    response.setHeader('x-host', request.headers.host ?? '');
    response.setHeader('x-sha256', sha256(whole));
    response.end(request.method === 'POST' ? whole : 'hello');
  });
};

/** @param listener answers the requests in place of the default, which says hello and sends back what is posted */
export async function startSite(listener: RequestListener = answer): Promise<Site> {
  const hits: number[] = [];
  const servers = [createHttpServer(listener), createHttpsServer(TLS, listener)] as const;
  for (const server of servers) server.on('connection', ({ remotePort = 0 }) => hits.push(remotePort));
  return {
    http: await listen(servers[0], '::'),
    https: await listen(servers[1], '::'),
    hits,
    close: async () => {
      for (const server of servers) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    },
  };
}
