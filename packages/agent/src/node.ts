// The parts of Node's http that are not public, all in one place. test/node.test.ts fails when Node renames one.

import type { ClientRequest } from 'node:http';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

export type Created = (error: Error | null, socket?: Duplex) => void;

/** The methods and tables of `http.Agent` that @types/node does not declare, or declares read-only. */
export interface NodeAgent {
  addRequest(req: ClientRequest, options: object): void;
  createSocket(req: ClientRequest, options: object, created: Created): void;
  removeSocket(socket: object, options: object): void;
  readonly sockets: Record<string, object[]>;
  readonly requests: Record<string, ClientRequest[]>;
  totalSocketCount: number;
}

/** The methods of Node's own agent, without those of agent-base between it and SocksAgent. */
export const nodeAgent: NodeAgent = HttpAgent.prototype as unknown as NodeAgent;

/**
 * Public, but different in `http.Agent` and `https.Agent`: only the latter gives up a socket that a request checked
 * with a `checkServerIdentity` of its own.
 */
export const keepSocketAlive: (this: object, socket: Duplex) => boolean = (
  HttpsAgent.prototype as unknown as { keepSocketAlive: (socket: Duplex) => boolean }
).keepSocketAlive;

interface RequestParts {
  onSocket(socket: null, error?: unknown): void;
  /** Milliseconds, from the `timeout` option. `setTimeout()` does not change it. */
  readonly timeout?: number;
  /** The listener by which Node passes the timeout of a socket on to its request; there is one at most. */
  readonly timeoutCb: (() => void) | null;
  readonly _closed: boolean;
  /** The head as text, once it is made. */
  readonly _header: string | null;
  /** What was written before there was a socket. */
  readonly outputData: { data: string | Buffer }[];
}

const partsOf = (req: ClientRequest): RequestParts => req as unknown as RequestParts;

/** Ends a request that has no socket, with its `error` and `close` events. Without an error: "socket hang up". */
export function endRequest(req: ClientRequest, error?: unknown): void {
  partsOf(req).onSocket(null, error);
}

/** The same for an error that is `undefined`, `null` or another value that Node takes for "no error". */
export function endWithFalsyError(req: ClientRequest, error: unknown): void {
  process.nextTick(() => {
    req.destroyed = true;
    req.emit('error', error as Error);
    Object.assign(partsOf(req), { _closed: true } satisfies Partial<RequestParts>);
    req.emit('close');
  });
}

/** The `timeout` option of a request. */
export function timeoutOf(req: ClientRequest): number | undefined {
  return partsOf(req).timeout;
}

/** The request has reported its timeout already: its socket must not report a second one. */
export function silenceTimeout(req: ClientRequest, socket: Socket): void {
  const { timeoutCb } = partsOf(req);
  if (timeoutCb) socket.off('timeout', timeoutCb);
}

/** Changes a head that Node has put into the outgoing data already, as it does with `Expect: 100-continue`. */
export function rewriteHead(req: ClientRequest, rewrite: (head: string) => string): void {
  const { _header: head, outputData } = partsOf(req);
  Object.assign(req, { _header: rewrite(String(head)) } satisfies Partial<RequestParts>);
  for (const piece of outputData) if (typeof piece.data === 'string') piece.data = rewrite(piece.data);
}

/**
 * The protocol of the module that made the request. Only `https.request` names its default agent in the options, and the
 * global agent that stands there may be one for both protocols.
 */
export function moduleProtocol(options: object): string | undefined {
  const { _defaultAgent: agent } = options as { readonly _defaultAgent?: { readonly protocol?: string } };
  return agent && (agent.protocol ?? 'https:');
}

/**
 * Node's mark (22 and later) on a request with a `checkServerIdentity` of its own: its socket serves no other request.
 */
export function ownCheckMark(options: object): symbol | undefined {
  return Object.getOwnPropertySymbols(options).find(
    ({ description }) => description === 'per-request checkServerIdentity',
  );
}
