// Turns a proxy as text or plain object into a frozen, checked SocksProxy. URL schemes are known here alone.

import { isUtf8 } from 'node:buffer';
import { isIPv6 } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import { URL as NodeURL } from 'node:url';
import { checkPort, parseHost, printAddress, refuseHost } from './destination.ts';
import { check, invalid } from './errors.ts';
import { describe, isObject, withoutUndefined } from './given.ts';
import { hide, reveal } from './hidden.ts';

/** Username and password of RFC 1929, or the USERID of SOCKS4. Each 0 to 255 bytes of UTF-8. */
export interface SocksCredentials {
  readonly username: string;
  /** SOCKS5 only. Without a password, one of zero length is sent. */
  readonly password?: string | undefined;
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

/** A proxy as an object or as a URL: see {@link parseProxy}. */
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
const A_LIST = 'a list is not a proxy: write an array for a chain, or proxyGroup() for alternatives';
const NO_URL = `not a URL such as socks5://user:password@host:1080, with a port up to 65535; ${ENCODE}`;

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
  const text: unknown = typeof url === 'string' ? url : url?.href;
  // The URL parser removes tabs and line breaks, also from a password.
  check(typeof text === 'string' && !/[\t\n\r]/.test(text.trim()), 'PROXY', NO_URL);
  check(text.trim() !== '', 'PROXY', 'the URL is empty');
  check(text.includes('://'), 'PROXY', 'no "://": write socks5:// in front of the host');
  const [, , authority = ''] = text.split('/', 3);
  const isList = authority.slice(authority.lastIndexOf('@') + 1).includes(',');
  check(!isList, 'PROXY', `${A_LIST}; ${ENCODE}`);
  const parsed = NodeURL.canParse(text) ? new NodeURL(text) : undefined;
  // In user:password@host, the parser takes the user for a scheme; in socks5:host, it takes the host for a path.
  if (!parsed?.href.startsWith(`${parsed.protocol}//`)) throw invalid('PROXY', NO_URL);
  const { protocol, username, password, hostname, port, pathname, search, hash } = parsed;
  const scheme = SCHEMES[protocol];
  if (scheme === undefined) {
    const named = /^https?:$/.test(protocol) ? protocol : 'this';
    throw invalid('PROXY', `${named} is not a SOCKS scheme: use socks5, socks4a, socks4 or socks5s`);
  }
  check(!search && !hash, 'PROXY', `a proxy URL has no query and no fragment; ${ENCODE}`);
  const isUnix = pathname.length > 1;
  const isPath = !isUnix || (!port && ['', 'localhost'].includes(hostname));
  check(isPath, 'PROXY', `a path is for a Unix socket: socks5://localhost/path/to.sock; ${ENCODE}`);
  // Messages print the path, and a path with an @ looks like credentials in the wrong place.
  const problem = `an @ in the path: write it as %40 in the path of a Unix socket; ${ENCODE}`;
  check(!pathname.includes('@'), 'PROXY', problem);
  const credentials = { username: percentDecode(username), password: percentDecode(password) || undefined };
  return toProxy({
    ...scheme,
    host: percentDecode(hostname),
    port: port || undefined,
    path: isUnix ? percentDecode(pathname) : undefined,
    credentials: username || password ? credentials : undefined,
  });
}

const checked = new WeakSet<object>();
export const isChecked = (value: object): value is SocksProxy => checked.has(value);

/** Text or object to a checked, frozen {@link SocksProxy}. */
export function toProxy(value: ProxyLike): SocksProxy {
  if (typeof value === 'string') return parseOnce(value);
  refuseForeignGroup(value);
  const given = describe(value);
  check(
    given === 'object',
    'PROXY',
    `a proxy is a URL or an object such as { version: 5, host }, not ${given}`,
  );
  if (isChecked(value)) return value;
  // `instanceof URL` would miss some: each realm has its own URL class, and so has jsdom.
  if ('href' in value && typeof value.href === 'string') return parseProxy(value);
  refuseUnknownFields(value);
  const { version, host, port = DEFAULT_PORT, path, credentials, dns = 'remote', tls } = value;
  check(version === 4 || version === 5, 'PROXY', 'the version must be the number 4 or 5');
  check(dns === 'remote' || dns === 'local', 'PROXY', "dns must be 'remote' or 'local'");
  check(tls === undefined || isObject(tls), 'PROXY', 'tls must be an object of TLS options');
  const isPath = path === undefined || (typeof path === 'string' && path !== '' && !path.includes('\0'));
  check(isPath, 'PROXY', 'path must be the path of a Unix socket');
  // An IPv6 zone is allowed here: Node dials the proxy itself, and no SOCKS message carries this address.
  const literal = typeof host === 'string' && host.includes(':') && isIPv6(host) ? host : undefined;
  const address =
    path === undefined ? (literal ?? parseHost(host) ?? refuseHost(host, 'PROXY')) : 'localhost';
  check(!address.includes(','), 'PROXY', A_LIST);
  const proxy = Object.freeze(
    withoutUndefined<SocksProxy>({
      version,
      host: address,
      port: checkPort(port, 'PROXY'),
      path,
      credentials: credentials === undefined ? undefined : toCredentials(version, credentials),
      dns,
      tls: tls && hide(reveal(tls)),
    }),
  );
  checked.add(proxy);
  return proxy;
}

/** The proxies of the texts that were used last. */
const recent = new Map<string, SocksProxy>();
const MAX_PARSED = 100;

/** A selector gives the same few texts for every request, and parsing costs more than the request itself. */
function parseOnce(text: string): SocksProxy {
  const proxy = recent.get(text) ?? parseProxy(text);
  // The texts are in the order of their last use, so the first one is dropped.
  recent.delete(text);
  recent.set(text, proxy);
  const [first] = recent.keys();
  if (recent.size > MAX_PARSED && first !== undefined) recent.delete(first);
  return proxy;
}

/** Under this key, groups and what they select have the {@link COPY} of this package that made them. */
export const GROUP: unique symbol = Symbol.for('socksify.group');
export const COPY: object = {};

function refuseForeignGroup(value: unknown): void {
  const copy: unknown = Reflect.get(Object(value), GROUP);
  const problem = 'the group is of another copy of @socksify/core: install one copy, for all that import it';
  check(copy === undefined || copy === COPY, 'PROXY', problem);
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
  const unknown = fieldsOf(value).find(
    (name) => !FIELDS.includes(name) && Reflect.get(value, name) !== undefined,
  );
  if (unknown === undefined) return;
  const [, instead = FIELDS.join(', ')] = INSTEAD.find(([name]) => name.test(unknown)) ?? [];
  throw invalid('PROXY', `a proxy object has no field ${printField(unknown)}: write ${instead}`);
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
  return `${scheme}://${proxy.path === undefined ? printAddress(proxy) : `localhost${proxy.path}`}`;
}

function toCredentials(version: 4 | 5, value: SocksCredentials): SocksCredentials {
  const problem = `credentials are an object { username, password }, not ${describe(value)}`;
  check(isObject(value), 'CREDENTIALS', problem);
  const { username = value.username, password = value.password, ...others } = reveal(value);
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) {
    throw invalid('CREDENTIALS', `no field ${printField(unknown)}: write { username, password }`);
  }
  checkField('username', username);
  if (password !== undefined) checkField('password', password);
  check(
    version === 5 || password === undefined,
    'CREDENTIALS',
    'SOCKS4 has no password: remove it, or use socks5://',
  );
  // The NUL would end the USERID early, and what follows would be read as a SOCKS4A name.
  check(version === 5 || !username.includes('\0'), 'CREDENTIALS', 'a NUL in the SOCKS4 USERID');
  return hide(withoutUndefined<SocksCredentials>({ username, password }));
}

function checkField(name: string, value: unknown): asserts value is string {
  check(typeof value === 'string', 'CREDENTIALS', `the ${name} is not a string`);
  check(value.isWellFormed(), 'CREDENTIALS', `the ${name} has a lone surrogate`);
  const length = Buffer.byteLength(value);
  check(length <= 255, 'CREDENTIALS', `the ${name} has ${length} bytes; 255 are the most`);
}

// Decodes as the URL Standard does: a % without two hexadecimal digits stays as it is. Bytes that are not UTF-8 are
// refused, because a string cannot hold them.
function percentDecode(text: string): string {
  const latin1 = Buffer.from(text)
    .toString('latin1')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  const bytes = Buffer.from(latin1, 'latin1');
  check(isUtf8(bytes), 'PROXY', 'percent-encoded bytes that are not UTF-8');
  return bytes.toString();
}
