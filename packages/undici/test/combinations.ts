// The consumers and the Agents that are combined. undici 8 needs Node 22.19, so on Node 20 its combinations do not exist.

import { nodeAgent } from '../src/base-agent.ts';
import type { AgentClass, AgentLike } from '../src/index.ts';

export type WebSocketClass = new (url: string, options?: any) => WebSocket;
export type EventSourceClass = new (url: string, options?: any) => EventTarget & { close(): void };
export type FormDataClass = new () => { append(name: string, value: string): void };

/** A copy of undici, as far as the tests use it: each version has types of its own. */
export interface Undici {
  readonly Agent: AgentClass;
  readonly Pool: AgentClass;
  readonly Client: AgentClass;
  readonly BalancedPool: AgentClass;
  readonly fetch: (url: string, init?: any) => Promise<Response>;
  readonly request: (url: string, options?: any) => Promise<any>;
  readonly WebSocket: WebSocketClass;
  /** undici 5 has none. */
  readonly EventSource?: EventSourceClass;
  /** undici 5 has none; that of 6 is not used here. */
  readonly RetryAgent?: new (
    dispatcher: any,
    options?: any,
  ) => AgentLike;
  readonly FormData: FormDataClass;
  /** undici 5 has none that `compose` could take. */
  readonly interceptors?: Record<
    'retry' | 'redirect' | 'decompress' | 'dump',
    (options?: any) => (dispatch: any) => any
  >;
  readonly getGlobalDispatcher: () => unknown;
}

export const nodeMajor: number = Number(process.versions.node.split('.')[0]);

/** Found before undici 8 is imported, which on Node 22 puts its own in the place of Node's. */
const NodeAgent = nodeAgent();

export const undicis: ReadonlyMap<string, Undici> = new Map<string, Undici>([
  ['undici 5', (await import('undici5')) as unknown as Undici],
  ['undici 6', (await import('undici6')) as unknown as Undici],
  ['undici 7', (await import('undici7')) as unknown as Undici],
  ...(nodeMajor >= 22 ? [['undici 8', (await import('undici8')) as unknown as Undici] as const] : []),
]);

export const agents: readonly (readonly [string, AgentClass])[] = [
  [`Node ${nodeMajor}'s Agent`, NodeAgent],
  ...[...undicis].map(([name, { Agent }]) => [`the Agent of ${name}`, Agent] as const),
];

export interface Answer {
  readonly status: number;
  readonly cookies: readonly string[];
  header(name: string): string | null;
  bytes(): Promise<Uint8Array>;
  chunks(): AsyncIterable<Uint8Array>;
  text(): Promise<string>;
}

export interface Consumer {
  readonly name: string;
  /** fetch follows redirects and unzips; request does neither. */
  readonly isFetch: boolean;
  readonly send: (url: string, options: any) => Promise<Answer>;
  readonly FormData: FormDataClass;
  /** Node 20 has none. */
  readonly WebSocket: WebSocketClass | undefined;
}

export const consumers: readonly Consumer[] = [
  consumerOfFetch(`the fetch of Node ${nodeMajor}`, {
    fetch: (url, init) => globalThis.fetch(url, init),
    FormData,
    WebSocket: nodeMajor >= 22 ? WebSocket : undefined,
  }),
  ...[...undicis].flatMap(([name, undici]) => [
    consumerOfFetch(`the fetch of ${name}`, undici),
    consumerOfRequest(`the request of ${name}`, undici),
  ]),
];

function consumerOfFetch(
  name: string,
  { fetch, ...classes }: Pick<Undici, 'fetch' | 'FormData'> & Pick<Consumer, 'WebSocket'>,
): Consumer {
  return {
    name,
    FormData: classes.FormData,
    WebSocket: classes.WebSocket,
    isFetch: true,
    async send(url, options) {
      const response = await fetch(url, options.body ? { ...options, duplex: 'half' } : options);
      return {
        status: response.status,
        cookies: response.headers.getSetCookie(),
        header: (header) => response.headers.get(header),
        bytes: async () => new Uint8Array(await response.arrayBuffer()),
        chunks: () => response.body as ReadableStream<Uint8Array> & AsyncIterable<Uint8Array>,
        text: () => response.text(),
      };
    },
  };
}

function consumerOfRequest(name: string, { request, FormData, WebSocket }: Undici): Consumer {
  return {
    name,
    FormData,
    WebSocket,
    isFetch: false,
    async send(url, options) {
      const { statusCode, headers, body } = await request(url, options);
      return {
        status: statusCode,
        cookies: headers['set-cookie'] ?? [],
        header: (header) => headers[header] ?? null,
        bytes: async () => new Uint8Array(await body.arrayBuffer()),
        chunks: () => body,
        text: () => body.text(),
      };
    },
  };
}
