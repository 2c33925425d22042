// The destination of the tests and the demo: an http and an https origin on both families of the loopback.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import type { RequestListener, Server } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';

export const CERTIFICATE: Buffer = readFileSync(new URL('../certificate/cert.pem', import.meta.url));
const KEY = readFileSync(new URL('../certificate/key.pem', import.meta.url));
export const TLS: { readonly cert: Buffer; readonly key: Buffer } = { cert: CERTIFICATE, key: KEY };

export interface Web {
  readonly http: number;
  readonly https: number;
  /** The remote ports of all connections ever accepted, on either origin. */
  readonly hits: readonly number[];
  close(): Promise<void>;
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

/** @param listener answers the requests in place of the default, which says hello and echoes what is posted */
export async function startWeb(listener: RequestListener = answer): Promise<Web> {
  const hits: number[] = [];
  const servers = [createHttpServer(listener), createHttpsServer(TLS, listener)] as const;
  for (const server of servers) {
    server.on('connection', ({ remotePort = 0 }) => hits.push(remotePort));
    await new Promise<void>((resolve) => server.listen(0, '::', resolve));
  }
  return {
    http: portOf(servers[0]),
    https: portOf(servers[1]),
    hits,
    close: async () => {
      for (const server of servers) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
      }
    },
  };
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
