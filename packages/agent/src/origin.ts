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
  port?: number | string | null | undefined;
}

/** `https.request` names its own agent as the default one, even for a request that has no protocol. */
export function isSecure(options: OriginOptions): boolean {
  return options.secureEndpoint ?? (options.protocol ?? options._defaultAgent?.protocol) === 'https:';
}

/** Puts in the default port, and takes it out of a Host header that Node wrote, as Node does for its own agents. */
export function fixPort(req: ClientRequest, options: OriginOptions): void {
  const standard = isSecure(options) ? 443 : 80;
  if (options.port === PORT_UNSET) options.port = standard;
  else if (Number(options.port) === standard && !req.headersSent && hostIsNodes(options)) {
    const host = req.getHeader('host');
    const suffix = `:${standard}`;
    if (typeof host === 'string' && host.endsWith(suffix))
      req.setHeader('Host', host.slice(0, -suffix.length));
  }
}

function hostIsNodes({ headers, setHost }: OriginOptions): boolean {
  if (setHost === false || Array.isArray(headers)) return false;
  return !Object.keys(headers ?? {}).some((name) => name.toLowerCase() === 'host');
}
