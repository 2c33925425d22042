// Reads the target of an HTTP request to a proxy: authority-form for CONNECT, absolute-form for http. RFC 9112 section 3.2.

import { parseHost } from '@socksify/core';

export interface Destination {
  readonly host: string;
  readonly port: number;
}

export interface RequestTarget extends Destination {
  /** The value of the Host header: as in the target, but with the host as it is sent to the proxy. */
  readonly authority: string;
  /** The target of the forwarded request, in origin-form or as an asterisk. */
  readonly path: string;
}

/** `host:port`. Undefined: it is not valid. */
export function parseAuthority(text: string, defaultPort?: number): Destination | undefined {
  const [, name = '', digits] = /^(\[[^\]]*\]|[^:[\]]*)(?::(\d{0,5}))?$/.exec(text) ?? [];
  const host = parseHost(name);
  // RFC 3986 section 3.2.3: a colon without a port means the default port.
  const port = digits ? Number(digits) : defaultPort;
  if (host === undefined || port === undefined || port < 1 || port > 65535) return undefined;
  return { host, port };
}

/** `http://authority/path?query`. Undefined: it is not valid, or no absolute-form for http. */
export function parseRequestTarget(method: string, text: string): RequestTarget | undefined {
  const [, authority = '', rest = ''] = /^http:\/\/([^/?#@\\]*)([/?][^#]*)?$/i.exec(text) ?? [];
  const destination = parseAuthority(authority, 80);
  if (destination === undefined) return undefined;
  // Section 3.2.4: OPTIONS for the server as a whole.
  const path = rest.startsWith('/') ? rest : rest === '' && method === 'OPTIONS' ? '*' : `/${rest}`;
  const { host, port } = destination;
  const bare = host.includes(':') ? `[${host}]` : host;
  return { ...destination, path, authority: /:\d+$/.test(authority) ? `${bare}:${port}` : bare };
}
