// Which protocol and which port a request means, when one agent serves both http and https.

import type { ClientRequest } from 'node:http';

/**
 * `ClientRequest` takes a missing port from its agent before the agent learns the protocol. This stands for "none
 * given": it is truthy, so that Node keeps it, and equals itself, so that no port gets into the Host header.
 */
export const PORT_UNSET: number = Number.POSITIVE_INFINITY;

export interface OriginOptions {
  readonly secureEndpoint?: boolean | undefined;
  readonly protocol?: string | null | undefined;
  readonly _defaultAgent?: { readonly protocol?: string } | undefined;
  readonly headers?: unknown;
  readonly setHost?: boolean | undefined;
  readonly defaultPort?: number | string | undefined;
  port?: number | string | null | undefined;
}

/** `https.request` names its own agent as the default one, even for a request that has no protocol. */
export function isSecure(options: OriginOptions): boolean {
  return options.secureEndpoint ?? (options.protocol ?? options._defaultAgent?.protocol) === 'https:';
}

/** Puts in the default port, and takes it out of a Host header that Node wrote, as Node does for its own agents. */
export function fixPort(req: ClientRequest, options: OriginOptions): void {
  const standard = isSecure(options) ? 443 : 80;
  if (options.port === PORT_UNSET) {
    options.port = standard;
    return;
  }
  if (Number(options.port) !== standard || options.defaultPort || !hostIsNodes(options)) return;
  const host = req.getHeader('host');
  const suffix = `:${options.port}`;
  if (typeof host === 'string' && host.endsWith(suffix)) writeHost(req, host, host.slice(0, -suffix.length));
}

/** With `Expect: 100-continue` Node has put the whole head into the outgoing data already. */
function writeHost(req: ClientRequest, from: string, to: string): void {
  if (!req.headersSent) {
    req.setHeader('Host', to);
    return;
  }
  const fixed = (head: string): string => head.replace(`\r\nHost: ${from}\r\n`, () => `\r\nHost: ${to}\r\n`);
  Reflect.set(req, '_header', fixed(String(Reflect.get(req, '_header'))));
  for (const piece of Reflect.get(req, 'outputData') as { data: string | Buffer }[]) {
    if (typeof piece.data === 'string') piece.data = fixed(piece.data);
  }
}

function hostIsNodes({ headers, setHost }: OriginOptions): boolean {
  if (setHost === false || Array.isArray(headers)) return false;
  return !Object.entries(headers ?? {}).some(([name, value]) => value && name.toLowerCase() === 'host');
}
