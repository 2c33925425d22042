// The clients of socksify that send requests, behind one function each.

import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Socket } from 'node:net';
import { SocksAgent } from '@socksify/agent';
import { connect } from '@socksify/core';
import type { ProxyRoute } from '@socksify/core';
import { SocksDispatcher } from '@socksify/undici';
import { CERTIFICATE } from '@socksify/support';

export interface Reply {
  readonly status: number;
  /** The Host header that the site received. */
  readonly host: string;
  readonly body: Buffer;
}

export interface RequestOptions {
  /** Makes it a POST. */
  readonly body?: Buffer;
  readonly signal?: AbortSignal;
  /** Milliseconds for the tunnel. */
  readonly timeout?: number;
}

export interface Client {
  readonly name: string;
  readonly protocols: readonly ('http' | 'https')[];
  /** Sends one request on a connection of its own. */
  request(route: ProxyRoute, url: string, options?: RequestOptions): Promise<Reply>;
}

const both = ['http', 'https'] as const;

const core: Client = {
  name: 'core connect',
  protocols: both,
  async request(route, url, { body = Buffer.alloc(0), signal, timeout } = {}) {
    const { hostname, port, protocol, host } = new URL(url);
    const { socket } = await connect(
      route,
      { host: hostname, port: Number(port || (protocol === 'https:' ? 443 : 80)) },
      {
        ...(signal && { signal }),
        ...(timeout !== undefined && { timeout }),
        ...(protocol === 'https:' && { tls: { ca: CERTIFICATE } }),
      },
    );
    const method = body.length > 0 ? 'POST' : 'GET';
    socket.write(
      `${method} / HTTP/1.1\r\nhost: ${host}\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n`,
    );
    socket.write(body);
    return parseReply(await readAll(socket));
  },
};

function agent(protocol: 'http' | 'https', send: typeof httpRequest): Client {
  return {
    name: `${protocol}.request`,
    protocols: [protocol],
    async request(route, url, { body, signal, timeout } = {}) {
      const socks = new SocksAgent(route, {
        ca: CERTIFICATE,
        ...(timeout !== undefined && { connectTimeout: timeout }),
      });
      try {
        const request = send(url, { agent: socks, method: body ? 'POST' : 'GET', ...(signal && { signal }) });
        request.end(body);
        const [response] = (await once(request, 'response')) as [IncomingMessage];
        const host = String(response.headers['x-host']);
        return { status: response.statusCode ?? 0, host, body: await readAll(response) };
      } finally {
        socks.destroy();
      }
    },
  };
}

type Undici = typeof import('undici8');
type Fetch = (url: string, options: object) => Promise<Response>;

/**
 * A client that takes a dispatcher.
 * @param Agent that of the npm package; by default the one inside Node
 */
function dispatching(
  name: string,
  send: (url: string, options: object) => Promise<Reply>,
  Agent?: unknown,
): Client {
  return {
    name,
    protocols: both,
    async request(route, url, { body, signal, timeout } = {}) {
      const dispatcher = newDispatcher(route, Agent, timeout);
      try {
        return await send(url, {
          dispatcher,
          ...(body && { method: 'POST', body }),
          ...(signal && { signal }),
        });
      } finally {
        await dispatcher.destroy();
      }
    },
  };
}

function fetching(name: string, fetch: Fetch, Agent?: unknown): Client {
  const send = async (url: string, init: object): Promise<Reply> => {
    const response = await fetch(url, init);
    const host = response.headers.get('x-host') ?? '';
    return { status: response.status, host, body: Buffer.from(await response.arrayBuffer()) };
  };
  return dispatching(name, send, Agent);
}

function requesting(name: string, request: Undici['request'], Agent: unknown): Client {
  const send = async (url: string, options: object): Promise<Reply> => {
    const { statusCode: status, headers, body } = await request(url, options);
    return { status, host: String(headers['x-host']), body: Buffer.from(await body.arrayBuffer()) };
  };
  return dispatching(name, send, Agent);
}

function newDispatcher(route: ProxyRoute, Agent: unknown, timeout: number | undefined): SocksDispatcher {
  const options = {
    connect: { ca: CERTIFICATE },
    ...(timeout !== undefined && { connectTimeout: timeout }),
    ...(Agent !== undefined && { Agent }),
  };
  return new SocksDispatcher(route, options as ConstructorParameters<typeof SocksDispatcher>[1]);
}

/** undici 8 needs Node 22.19. */
const npm: readonly string[] =
  Number(process.versions.node.split('.')[0]) < 22 ? ['6', '7'] : ['6', '7', '8'];

async function undiciClients(): Promise<Client[]> {
  const clients = npm.map(async (version) => {
    const { fetch, request, Agent } = (await import(`undici${version}`)) as Undici;
    return [
      fetching(`fetch of undici ${version}`, fetch, Agent),
      requesting(`request of undici ${version}`, request, Agent),
    ];
  });
  return (await Promise.all(clients)).flat();
}

export const CLIENTS: readonly Client[] = [
  core,
  agent('http', httpRequest),
  agent('https', httpsRequest),
  fetching("Node's fetch", globalThis.fetch),
  ...(await undiciClients()),
];

/** The code that a user would look at, wherever the client puts it. */
export function codeOf(error: unknown): string | undefined {
  const { code, cause } = error as { code?: string; cause?: unknown };
  return code?.startsWith('ERR_SOCKS_') || cause === undefined ? code : (codeOf(cause) ?? code);
}

async function readAll(stream: Socket | IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** A reply with content-length or none, whose connection has ended. */
function parseReply(whole: Buffer): Reply {
  const end = whole.indexOf('\r\n\r\n');
  const head = whole.subarray(0, end).toString('latin1');
  if (end === -1) throw Object.assign(new Error('the tunnel ended without a reply'), { code: 'ended' });
  const host = /^x-host: (.*)$/im.exec(head)?.[1] ?? '';
  return { status: Number(head.split(' ')[1]), host, body: whole.subarray(end + 4) };
}
