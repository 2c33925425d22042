// A proxy as text or plain object becomes a frozen, checked SocksProxy. The only place that knows URL schemes.

import { isIPv6 } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { parseHost, parsePort, printAddress } from './destination.ts';
import { SocksError } from './errors.ts';

/** Username and password of RFC 1929, or the USERID of SOCKS4. Each 0 to 255 bytes of UTF-8. */
export interface SocksCredentials {
  readonly username: string;
  /** SOCKS5 only; none is sent as one of zero length. */
  readonly password?: string;
}

/** One SOCKS proxy. {@link parseProxy} makes it of a URL; a plain object of this shape is as good. */
export interface SocksProxy {
  readonly version: 4 | 5;
  /** Name or IP literal of the proxy. */
  readonly host: string;
  readonly port: number;
  /** A Unix socket, in place of host and port. */
  readonly path?: string;
  readonly credentials?: SocksCredentials;
  /** Who resolves the destination's name. Version 4 with `remote` is SOCKS4A. */
  readonly dns: 'remote' | 'local';
  /** TLS to the proxy itself, with these options. */
  readonly tls?: ConnectionOptions;
}

export type ProxyLike = SocksProxy | string | URL;

const SCHEMES: Readonly<Record<string, Pick<SocksProxy, 'version' | 'dns' | 'tls'>>> = {
  'socks:': { version: 5, dns: 'remote' },
  'socks4:': { version: 4, dns: 'local' },
  'socks4a:': { version: 4, dns: 'remote' },
  'socks5:': { version: 5, dns: 'remote' },
  'socks5h:': { version: 5, dns: 'remote' },
  'socks5s:': { version: 5, dns: 'remote', tls: {} },
};
const DEFAULT_PORT = 1080;

/**
 * Reads `scheme://[username[:password]@]host[:port]` or, for a Unix socket, `scheme://localhost/path`.
 *
 * Schemes: `socks`, `socks5`, `socks5h` (SOCKS5, the proxy resolves names); `socks5s` (the same inside TLS);
 * `socks4` (names resolved locally); `socks4a`. Port 1080 if none is given. Credentials are percent-decoded.
 *
 * @throws SocksError `ERR_SOCKS_INVALID_PROXY`, `ERR_SOCKS_INVALID_CREDENTIALS`; neither repeats the URL
 * @example parseProxy('socks5://alice:secret@proxy.example:1080')
 */
export function parseProxy(url: string | URL): SocksProxy {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw invalidProxy('not a URL such as socks5://host:1080');
  }
  // In user:password@host, what looks like the scheme is something else; in socks5:host, the host is a path.
  if (!parsed.href.startsWith(`${parsed.protocol}//`))
    throw invalidProxy('not a URL such as socks5://host:1080');
  const scheme = SCHEMES[parsed.protocol];
  if (scheme === undefined) {
    throw invalidProxy(`${parsed.protocol} is not a SOCKS scheme: use socks5, socks4a, socks4 or socks5s`);
  }
  if (parsed.search || parsed.hash) throw invalidProxy('a proxy URL has no query and no fragment');
  const unix = parsed.pathname.length > 1;
  if (unix && (parsed.port || !['', 'localhost'].includes(parsed.hostname))) {
    throw invalidProxy('a path is for a Unix socket: socks5://localhost/path/to.sock');
  }
  const username = percentDecode(parsed.username);
  const password = percentDecode(parsed.password);
  return toProxy({
    ...scheme,
    host: unix ? 'localhost' : percentDecode(parsed.hostname),
    port: parsed.port ? Number(parsed.port) : DEFAULT_PORT,
    ...(unix ? { path: percentDecode(parsed.pathname) } : {}),
    ...(username || password ? { credentials: password ? { username, password } : { username } } : {}),
  });
}

const checked = new WeakSet<SocksProxy>();

/** Text or object to a checked, frozen {@link SocksProxy}. */
export function toProxy(value: ProxyLike): SocksProxy {
  if (typeof value === 'string' || value instanceof URL) return parseProxy(value);
  if (typeof value !== 'object' || value === null) {
    throw invalidProxy(`${value === null ? 'null' : typeof value} is neither a URL nor a SocksProxy`);
  }
  if (checked.has(value)) return value;
  const {
    version,
    port = DEFAULT_PORT,
    path,
    credentials,
    dns = 'remote',
    tls,
  } = value as Partial<SocksProxy>;
  if (version !== 4 && version !== 5) throw invalidProxy(`version is 4 or 5, not ${String(version)}`);
  if (dns !== 'remote' && dns !== 'local')
    throw invalidProxy(`dns is 'remote' or 'local', not ${String(dns)}`);
  if (tls !== undefined && (typeof tls !== 'object' || tls === null))
    throw invalidProxy('tls is an object of TLS options');
  if (path !== undefined && (typeof path !== 'string' || path === '' || path.includes('\0'))) {
    throw invalidProxy('path is the path of a Unix socket');
  }
  // A zone is fine here: Node dials the proxy itself, no wire has to carry it.
  const host = path !== undefined ? 'localhost' : isIPv6(value.host) ? value.host : parseHost(value.host);
  if (host === undefined) throw invalidProxy('the host is missing or not valid');
  const number = parsePort(port);
  if (number === undefined) throw invalidProxy(`${String(port)} is not a port from 1 to 65535`);
  const proxy: SocksProxy = Object.freeze({
    version,
    host,
    port: number,
    ...(path === undefined ? {} : { path }),
    ...(credentials === undefined ? {} : { credentials: toCredentials(version, credentials) }),
    dns,
    ...(tls === undefined ? {} : { tls }),
  });
  checked.add(proxy);
  return proxy;
}

/** The proxy as a URL without credentials, for messages, names and logs. */
export function printProxy(proxy: SocksProxy): string {
  const scheme =
    proxy.version === 5 ? (proxy.tls ? 'socks5s' : 'socks5') : proxy.dns === 'remote' ? 'socks4a' : 'socks4';
  return proxy.path === undefined
    ? `${scheme}://${printAddress(proxy)}`
    : `${scheme}://localhost${proxy.path}`;
}

function toCredentials(version: 4 | 5, credentials: SocksCredentials): SocksCredentials {
  if (typeof credentials !== 'object' || credentials === null) throw invalidCredentials('not an object');
  const { username, password } = credentials;
  checkField('username', username);
  if (password !== undefined) checkField('password', password);
  if (version === 4 && password !== undefined)
    throw invalidCredentials('SOCKS4 has a USERID and no password');
  // The NUL would end the USERID early, and what follows would be read as a SOCKS4A name.
  if (version === 4 && username.includes('\0')) throw invalidCredentials('a NUL in the SOCKS4 USERID');
  const own: SocksCredentials = password === undefined ? { username } : { username, password };
  return Object.freeze(Object.defineProperties(own, SECRET));
}

function checkField(name: string, value: unknown): asserts value is string {
  if (typeof value !== 'string') throw invalidCredentials(`the ${name} is not a string`);
  if (!value.isWellFormed()) throw invalidCredentials(`the ${name} has a lone surrogate`);
  const length = Buffer.byteLength(value);
  if (length > 255) throw invalidCredentials(`the ${name} has ${length} bytes; 255 are the most`);
}

// Printing or serialising a proxy does not show its password.
function withoutPassword(this: SocksCredentials): object {
  return { username: this.username };
}
const SECRET: PropertyDescriptorMap = {
  toJSON: { value: withoutPassword },
  [Symbol.for('nodejs.util.inspect.custom')]: { value: withoutPassword },
};

// As the URL Standard decodes: a bare % stays what it is. Bytes that are not UTF-8 have no string form.
function percentDecode(text: string): string {
  const latin1 = Buffer.from(text)
    .toString('latin1')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(latin1, 'latin1'));
  } catch {
    throw invalidProxy('percent-encoded bytes that are not UTF-8');
  }
}

export function invalidProxy(detail: string): SocksError {
  return new SocksError('ERR_SOCKS_INVALID_PROXY', { phase: 'input', detail });
}

function invalidCredentials(detail: string): SocksError {
  return new SocksError('ERR_SOCKS_INVALID_CREDENTIALS', { phase: 'input', detail });
}
