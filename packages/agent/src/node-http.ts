// The parts of Node's http that are not public, all in one place. test/node.test.ts fails when Node renames one.

import type { EventEmitter } from 'node:events';
import type { ClientRequest } from 'node:http';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

export type Created = (error: Error | null, socket?: Duplex) => void;

/** Methods and tables of `http.Agent` that @types/node does not declare, or declares differently. */
export interface NodeAgent {
  addRequest(req: NodeRequest, options: object): void;
  createSocket(req: NodeRequest, options: object, created: Created): void;
  removeSocket(socket: object, options: object): void;
  getName(options: object): string;
  keepSocketAlive: (socket: Duplex) => boolean;
  readonly sockets: Record<string, object[]>;
  readonly requests: Record<string, NodeRequest[]>;
  totalSocketCount: number;
}

const methodsOf = ({ prototype }: { readonly prototype: any }): NodeAgent => prototype;

/** The methods of Node's own agents, without those of agent-base between them and SocksAgent. */
export const nodeAgent: NodeAgent = methodsOf(HttpAgent);
export const nodeHttpsAgent: NodeAgent = methodsOf(HttpsAgent);

/** A request with the parts that @types/node does not declare. */
export interface NodeRequest extends ClientRequest {
  onSocket(socket: Socket | null, error?: unknown): void;
  /** Milliseconds, from the `timeout` option. `setTimeout()` does not change it. */
  readonly timeout?: number;
  /** The listener by which Node passes the timeout of a socket on to its request; there is one at most. */
  readonly timeoutCb?: (() => void) | null;
  readonly _closed?: boolean;
  /** The head as text, once it is made. */
  readonly _header?: string | null;
  /** What was written before there was a socket. */
  readonly outputData?: { data: string | Buffer }[];
}

/** Ends a request that has no socket, with its `error` and `close` events. Without an error: "socket hang up". */
export function endRequest(req: NodeRequest, error?: unknown): void {
  req.onSocket(null, error);
}

/**
 * Ends a request that has no socket with what was thrown, whatever that is. Node takes `undefined`, `null` and some other
 * values for "no error".
 */
export function failRequest(req: NodeRequest, error: unknown): void {
  if (error || req.destroyed) {
    endRequest(req, error);
    return;
  }
  const emitter: EventEmitter = req;
  process.nextTick(() => {
    req.destroyed = true;
    emitter.emit('error', error);
    Object.assign(req, { _closed: true } satisfies Partial<NodeRequest>);
    req.emit('close');
  });
}

/** The request has reported its timeout already: its socket must not report a second one. */
export function silenceTimeout({ timeoutCb }: NodeRequest, socket: Socket): void {
  if (timeoutCb) socket.off('timeout', timeoutCb);
}

/** Changes a head that Node has put into the outgoing data already, as it does with `Expect: 100-continue`. */
export function rewriteHead(req: NodeRequest, rewrite: (head: string) => string): void {
  const { _header: head, outputData = [] } = req;
  Object.assign(req, { _header: rewrite(String(head)) } satisfies Partial<NodeRequest>);
  for (const piece of outputData) if (typeof piece.data === 'string') piece.data = rewrite(piece.data);
}

export interface ModuleOptions {
  readonly _defaultAgent?: { readonly protocol?: string };
}

/**
 * The protocol of the module that made the request. Only `https.request` names its default agent in the options. This
 * default agent may be one for both protocols.
 */
export function moduleProtocol({ _defaultAgent: agent }: ModuleOptions): string | undefined {
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
