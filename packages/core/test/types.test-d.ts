// Checked by tsc, never run: what a proxy object and a destination may be.

import { connect, handshake, parseProxy, proxyGroup, SocksClient } from '../src/index.ts';
import type { ProxyLike, ProxyRoute } from '../src/index.ts';

const version = 5;
export const good: readonly ProxyLike[] = [
  'socks5://h',
  new URL('socks5://h'),
  parseProxy('socks5://h'),
  { ...parseProxy('socks5://u:p@h'), dns: 'local' },
  { version, host: 'h' },
  { version, host: 'h', port: '1080', credentials: undefined, dns: undefined, tls: undefined },
  { version, path: '/run/socks' },
  { version, host: 'h', credentials: { username: 'u', password: 'p' } },
];

export const selectors: readonly ProxyRoute[] = [
  () => undefined,
  ({ host }) => `socks5://${host}`,
  async (_, { signal }) => (signal.aborted ? undefined : 'socks5://h'),
  proxyGroup(['socks5://h']),
  // @ts-expect-error there is no third argument
  (_destination: unknown, _context: unknown, _third: unknown) => undefined,
];

export const bad: readonly ProxyRoute[] = [
  // @ts-expect-error a host or a path
  { version },
  // @ts-expect-error a field of URL, and no field of a proxy object
  { version, host: 'h', port: 1, dns: 'remote', username: 'u' },
  // @ts-expect-error a field of URL, and no field of a proxy object
  { version, host: 'h', password: 'p' },
  // @ts-expect-error a field of URL, and no field of a proxy object
  { version, host: 'h', protocol: 'socks5:' },
  // @ts-expect-error an unknown field
  { version, host: 'h', userId: 'u' },
  // @ts-expect-error an unknown field
  { version, host: 'h', auth: 'u:p' },
  // @ts-expect-error an unknown field of credentials
  { version, host: 'h', credentials: { username: 'u', pass: 'p' } },
];

// Not only in a literal, where TypeScript looks for unknown fields.
const fields = { version, host: 'h', port: 1, username: 'u', password: 'p' } as const;
// @ts-expect-error fields of URL, and no fields of a proxy object
export const variable: ProxyLike = fields;
// @ts-expect-error the same as an argument
export const argument: unknown = connect(fields, { host: 'h', port: 1 });

export const destinations: readonly unknown[] = [
  connect('socks5://h', { host: 'h', port: '465' }),
  new SocksClient('socks5://h').connect({ host: 'h', port: '465', protocol: undefined }),
  new SocksClient('socks5://h').select({ host: 'h', port: '465' }),
  handshake('socks5://h', { host: 'h', port: '465' }),
  // @ts-expect-error no port
  connect('socks5://h', { host: 'h' }),
];

const here = { host: 'h', port: 1 };
// An option that is undefined was not given, also under exactOptionalPropertyTypes.
export const without: readonly unknown[] = [
  handshake('socks5://h', here, { auth: undefined, pipeline: undefined }),
  new SocksClient('socks5://h', { timeout: undefined, standby: undefined }).select(here, {
    signal: undefined,
  }),
  connect('socks5://h', here, { signal: undefined, tls: { onSocket: undefined } }),
  proxyGroup(['socks5://h'], { order: undefined, now: undefined }),
];
