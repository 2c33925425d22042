// A site under a name that only the proxy knows, the proxy, and the check that each connection to the site came from the
// proxy. Every test here uses them.

import type { RequestListener } from 'node:http';
import http from 'node:http';
import https from 'node:https';
import type { RequestOptions } from 'node:https';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { outputOf, startSite } from '@socksify/support';
import { startServer } from '@socksify/server';
import { expect } from 'vitest';

const NAME = 'origin.test';

export interface ProxiedSite extends AsyncDisposable {
  /** `socks5://127.0.0.1:port` */
  readonly proxy: string;
  /** Of the site, ending in a slash. */
  readonly http: string;
  readonly https: string;
  /** The paths that the site was requested. */
  readonly paths: readonly string[];
  /**
   * The proxy was requests for these destinations and no others, in this order, and the site has had no other connection.
   * `unknown` is the name unknown.test, which does not exist.
   */
  expectProxied(...requests: readonly ('http' | 'https' | 'unknown' | { ip: string })[]): void;
}

export async function startProxiedSite(): Promise<ProxiedSite> {
  const paths: string[] = [];
  const refused = new Set<string>();
  const site = await startSite((request, response) => {
    paths.push(request.url ?? '');
    answer(refused, site.https)(request, response);
  });
  const server = await startServer({ names: { [NAME]: '127.0.0.1' } });
  return {
    proxy: server.url('socks5'),
    http: `http://${NAME}:${site.http}/`,
    https: `https://${NAME}:${site.https}/`,
    paths,
    expectProxied(...requests) {
      const expected = requests.map((one) => {
        if (one === 'unknown') return '5 connect name unknown.test:80 4';
        return typeof one === 'string'
          ? `5 connect name ${NAME}:${site[one]} 0`
          : `5 connect ipv4 ${one.ip}:${site.http} 0`;
      });
      expect(
        server.log.map((entry) => {
          const { form, command, atyp, host, port, reply } = entry;
          return `${form} ${command} ${atyp} ${host}:${port} ${reply}`;
        }),
      ).toEqual(expected);
      const fromProxy = new Set(
        server.log.map(({ outgoingPort }) => outgoingPort).filter((port) => port !== undefined),
      );
      expect(new Set(site.hits), 'ports of the connections that the site accepted').toEqual(fromProxy);
      expect(server.refusals).toEqual([]);
    },
    async [Symbol.asyncDispose]() {
      await server.close();
      await site.close();
    },
  };
}

/** The site: `/redirect`, `/to-https`, `/gzip`, `/cached`, `/fails-once` and its like, and a greeting for the rest. */
function answer(refused: Set<string>, secure: number): RequestListener {
  return (request, response) => {
    const url = request.url ?? '';
    if (url === '/redirect') response.writeHead(302, { location: '/' }).end('gone');
    else if (url === '/to-https')
      response.writeHead(302, { location: `https://${NAME}:${secure}/` }).end('gone');
    else if (url === '/gzip') response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('zipped'));
    else if (url === '/cached') response.writeHead(200, { 'cache-control': 'max-age=60' }).end('cached');
    else if (url === '/missing') response.writeHead(404).end('missing');
    else if (url.startsWith('/fails-once') && !refused.has(url)) {
      refused.add(url);
      response.writeHead(503, { 'retry-after': '0' }).end('later');
    } else
      response.writeHead(200, { 'content-type': 'text/plain', 'x-host': request.headers.host }).end('hello');
  };
}

export function here(path: string): string {
  return fileURLToPath(new URL(path, import.meta.url));
}

/** `200 hello` */
export async function get(
  url: string,
  options: RequestOptions & { readonly agents?: object } = {},
  modules: { readonly http: typeof http; readonly https: typeof https } = { http, https },
): Promise<string> {
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    (url.startsWith('https:') ? modules.https : modules.http).get(url, options, resolve).on('error', reject);
  });
  return `${response.statusCode} ${await text(response)}`;
}

/** Runs a program to its end and gives what it printed. */
export async function run(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  return (await outputOf(command, args, { env: { ...process.env, NO_COLOR: '1', ...env } })).trim();
}
