// Turns a proxy as text or plain object into a frozen, checked SocksProxy. URL schemes are known here alone.

import { isUtf8 } from 'node:buffer';
import { isIPv6 } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { URL as NodeURL } from 'node:url';
import { hostProblem, parseHost, parsePort, portProblem, printAddress, typeName } from './destination.ts';
import { SocksError } from './errors.ts';
import { hide, reveal } from './hidden.ts';

/** Username and password of RFC 1929, or the USERID of SOCKS4. Each 0 to 255 bytes of UTF-8. */
export interface SocksCredentials {
  readonly username: string;
  /** SOCKS5 only. Without a password, one of zero length is sent. */
  readonly password?: string;
}

/**
 * One SOCKS proxy, checked and frozen: what {@link parseProxy} makes of a URL. The password and the secret TLS options
 * can be read, and a spread of the object carries them, but printing, serialising or cloning it does not show them.
 */
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

// TypeScript allows in an object literal the fields of every member of a union, and URL is a member of ProxyLike. So a
// proxy object refuses the fields of URL.
type FieldOfUrl = Exclude<keyof URL, 'host' | 'port' | 'toString' | 'toJSON'>;

/** A proxy as a caller writes it. Other fields are refused by name; a field that is `undefined` was not given. */
export type ProxyObject = {
  readonly version: 4 | 5;
  /** A number or a string of digits. Default 1080. */
  readonly port?: number | string | undefined;
  readonly credentials?: SocksCredentials | undefined;
  /** Default `remote`. */
  readonly dns?: 'remote' | 'local' | undefined;
  readonly tls?: ConnectionOptions | undefined;
} & (
  | { readonly host: string; readonly path?: string | undefined }
  | { readonly host?: string | undefined; readonly path: string }
) & { readonly [Field in FieldOfUrl]?: undefined };

export type ProxyLike = ProxyObject | string | URL;

const SCHEMES: Readonly<Record<string, Pick<SocksProxy, 'version' | 'dns' | 'tls'>>> = {
  'socks:': { version: 5, dns: 'remote' },
  'socks4:': { version: 4, dns: 'local' },
  'socks4a:': { version: 4, dns: 'remote' },
  'socks5:': { version: 5, dns: 'remote' },
  'socks5h:': { version: 5, dns: 'remote' },
  'socks5s:': { version: 5, dns: 'remote', tls: {} },
};
const DEFAULT_PORT = 1080;
const ENCODE = 'percent-encode the username and password';
const NO_URL = `not a URL such as socks5://user:password@host:1080; ${ENCODE}`;
const NO_SCHEME = 'no scheme: write socks5:// in front of the host';

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
  const text = typeof url === 'string' ? url : (url as URL | undefined)?.href;
  // The URL parser removes tabs and line breaks, also from a password.
  if (typeof text !== 'string' || /[\t\n\r]/.test(text.trim())) throw invalidProxy(NO_URL);
  if (text.trim() === '') throw invalidProxy('the URL is empty');
  if (!text.includes('://')) throw invalidProxy(NO_SCHEME);
  let parsed: URL;
  try {
    parsed = new NodeURL(text);
  } catch {
    throw invalidProxy(NO_URL);
  }
  // In user:password@host, the parser takes the user for a scheme; in socks5:host, it takes the host for a path.
  if (!parsed.href.startsWith(`${parsed.protocol}//`)) throw invalidProxy(NO_URL);
  const scheme = SCHEMES[parsed.protocol];
  if (scheme === undefined) {
    const named = /^https?:$/.test(parsed.protocol) ? parsed.protocol : 'this';
    throw invalidProxy(`${named} is not a SOCKS scheme: use socks5, socks4a, socks4 or socks5s`);
  }
  if (parsed.search || parsed.hash) throw invalidProxy(`a proxy URL has no query and no fragment; ${ENCODE}`);
  const unix = parsed.pathname.length > 1;
  if (unix && (parsed.port || !['', 'localhost'].includes(parsed.hostname))) {
    throw invalidProxy(`a path is for a Unix socket: socks5://localhost/path/to.sock; ${ENCODE}`);
  }
  // Messages print the path, and a path with an @ looks like credentials in the wrong place.
  if (parsed.pathname.includes('@')) {
    throw invalidProxy(`an @ in the path: write it as %40 in the path of a Unix socket; ${ENCODE}`);
  }
  const username = percentDecode(parsed.username);
  const password = percentDecode(parsed.password);
  return toProxy({
    ...scheme,
    host: unix ? 'localhost' : percentDecode(parsed.hostname),
    port: parsed.port || DEFAULT_PORT,
    ...(unix ? { path: percentDecode(parsed.pathname) } : {}),
    ...(username || password ? { credentials: password ? { username, password } : { username } } : {}),
  });
}

const checked = new WeakSet<object>();
export const isChecked = (proxy: object): boolean => checked.has(proxy);

/** Text or object to a checked, frozen {@link SocksProxy}. */
export function toProxy(value: ProxyLike): SocksProxy {
  if (typeof value === 'string') return parseProxy(value);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidProxy(`a proxy is a URL or an object such as { version: 5, host }, not ${typeName(value)}`);
  }
  if (checked.has(value)) return value as SocksProxy;
  // `instanceof URL` would miss some: each realm has its own URL class, and so has jsdom.
  if ('href' in value && typeof value.href === 'string') return parseProxy(value);
  refuseUnknownFields(value);
  const { version, host: named, port = DEFAULT_PORT, path, credentials, dns = 'remote', tls } = value;
  if (version !== 4 && version !== 5) throw invalidProxy('the version must be the number 4 or 5');
  if (dns !== 'remote' && dns !== 'local') throw invalidProxy("dns must be 'remote' or 'local'");
  if (tls !== undefined && (typeof tls !== 'object' || tls === null))
    throw invalidProxy('tls must be an object of TLS options');
  if (path !== undefined && (typeof path !== 'string' || path === '' || path.includes('\0'))) {
    throw invalidProxy('path must be the path of a Unix socket');
  }
  // An IPv6 zone is allowed here: Node dials the proxy itself, and no SOCKS message carries this address.
  const literal = typeof named === 'string' && isIPv6(named);
  const host = path !== undefined ? 'localhost' : literal ? named : parseHost(named);
  if (host === undefined) throw invalidProxy(hostProblem(named));
  const number = parsePort(port);
  if (number === undefined) throw invalidProxy(portProblem(port));
  const proxy: SocksProxy = Object.freeze({
    version,
    host,
    port: number,
    ...(path === undefined ? {} : { path }),
    ...(credentials === undefined ? {} : { credentials: toCredentials(version, credentials) }),
    dns,
    ...(tls === undefined ? {} : { tls: hide(reveal(tls)) }),
  });
  checked.add(proxy);
  return proxy;
}

const FIELDS: readonly string[] = ['version', 'host', 'port', 'path', 'credentials', 'dns', 'tls'];

// What to write in place of a field that other packages have, or that is misspelt. The first match counts.
const INSTEAD: readonly (readonly [name: RegExp, instead: string])[] = [
  [/tls|ssl|secure|unauthorized|cert|key|passphrase|^ca$/i, 'tls: { ca, cert, key }'],
  [/user|login|pass|pwd|auth|cred/i, 'credentials: { username, password }'],
  [/^(?:proxy)?ur[il]$|^(?:href|proxy|origin)$/i, 'the URL itself in place of the object'],
  [/type|proto|scheme|version/i, 'version: 4 or 5, and tls: {} for TLS to the proxy'],
  [/port/i, 'port'],
  [/path/i, 'path'],
  [/host|addr|server|^ip/i, 'host'],
  [/dns|resol|lookup/i, "dns: 'remote' or dns: 'local'"],
];

function refuseUnknownFields(value: object): void {
  const fields = value as Readonly<Record<string, unknown>>;
  const unknown = fieldsOf(value).find((name) => !FIELDS.includes(name) && fields[name] !== undefined);
  if (unknown === undefined) return;
  const [, instead = FIELDS.join(', ')] = INSTEAD.find(([name]) => name.test(unknown)) ?? [];
  throw invalidProxy(`a proxy object has no field ${printField(unknown)}: write ${instead}`);
}

/** Own and inherited fields, the getters of a class among them, but no methods. */
function fieldsOf(value: object): string[] {
  const names = Object.keys(value);
  for (let at: unknown = value; (at = Object.getPrototypeOf(at)) && at !== Object.prototype; ) {
    for (const [name, field] of Object.entries(Object.getOwnPropertyDescriptors(at))) {
      if (typeof field.value !== 'function') names.push(name);
    }
  }
  return names;
}

/** The name of a field, if it looks like one: any other text may be a secret. */
function printField(name: string): string {
  return /^\w{1,40}$/.test(name) ? name : 'of this name';
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
  if (typeof credentials !== 'object' || credentials === null) {
    throw invalidCredentials(
      `credentials are an object { username, password }, not ${typeName(credentials)}`,
    );
  }
  const { username = credentials.username, password = credentials.password, ...others } = reveal(credentials);
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) {
    throw invalidCredentials(`no field ${printField(unknown)}: write { username, password }`);
  }
  checkField('username', username);
  if (password !== undefined) checkField('password', password);
  if (version === 4 && password !== undefined)
    throw invalidCredentials('SOCKS4 has a USERID and no password');
  // The NUL would end the USERID early, and what follows would be read as a SOCKS4A name.
  if (version === 4 && username.includes('\0')) throw invalidCredentials('a NUL in the SOCKS4 USERID');
  return hide(password === undefined ? { username } : { username, password });
}

function checkField(name: string, value: unknown): asserts value is string {
  if (typeof value !== 'string') throw invalidCredentials(`the ${name} is not a string`);
  if (!value.isWellFormed()) throw invalidCredentials(`the ${name} has a lone surrogate`);
  const length = Buffer.byteLength(value);
  if (length > 255) throw invalidCredentials(`the ${name} has ${length} bytes; 255 are the most`);
}

// As the URL Standard decodes: a % without two hexadecimal digits stays as it is. Bytes that are not UTF-8 have no
// string form.
function percentDecode(text: string): string {
  const latin1 = Buffer.from(text)
    .toString('latin1')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  const bytes = Buffer.from(latin1, 'latin1');
  if (!isUtf8(bytes)) throw invalidProxy('percent-encoded bytes that are not UTF-8');
  return bytes.toString();
}

export function invalidProxy(detail: string): SocksError {
  return new SocksError('ERR_SOCKS_INVALID_PROXY', { phase: 'input', detail });
}

function invalidCredentials(detail: string): SocksError {
  return new SocksError('ERR_SOCKS_INVALID_CREDENTIALS', { phase: 'input', detail });
}
