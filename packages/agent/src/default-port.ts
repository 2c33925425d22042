// The port of a request that names none, when one agent serves both http and https.

import { rewriteHead } from './node-http.ts';
import type { ModuleOptions, NodeRequest } from './node-http.ts';

/**
 * `ClientRequest` takes a missing port from its agent before the agent learns the protocol. This value means that no port
 * was given. It is truthy, so that Node keeps it. Node writes a port into the Host header only if it differs from the
 * default port of the agent, which is this value too.
 */
export const PORT_UNSET: number = Number.POSITIVE_INFINITY;

export const HTTP_PORT = 80;
export const HTTPS_PORT = 443;

/** The options that say which protocol and which port a request means. */
export interface PortOptions extends ModuleOptions {
  secureEndpoint?: boolean | undefined;
  readonly protocol?: string | null | undefined;
  readonly headers?: unknown;
  readonly setHost?: boolean | undefined;
  readonly defaultPort?: number | string | undefined;
  port?: number | string | null | undefined;
}

/** Takes the port, which is that of the protocol, out of a Host header that Node wrote, as Node does for its own agents. */
export function cutPort(req: NodeRequest, options: PortOptions): void {
  if (options.defaultPort || !hostIsNodes(options)) return;
  const host = req.getHeader('host');
  const suffix = `:${options.port}`;
  if (typeof host === 'string' && host.endsWith(suffix)) writeHost(req, host, host.slice(0, -suffix.length));
}

function writeHost(req: NodeRequest, before: string, after: string): void {
  if (req.headersSent)
    rewriteHead(req, (head) => head.replace(`\r\nHost: ${before}\r\n`, () => `\r\nHost: ${after}\r\n`));
  else req.setHeader('Host', after);
}

function hostIsNodes({ headers, setHost }: PortOptions): boolean {
  if (setHost === false || Array.isArray(headers)) return false;
  return !Object.entries(headers ?? {}).some(([name, value]) => value && name.toLowerCase() === 'host');
}
