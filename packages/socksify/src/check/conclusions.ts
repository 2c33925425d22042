// Concludes from the probes which versions the proxy speaks, whether it resolves names, whether it is usable, and which
// program it is, as far as its behaviour shows. No IO.

import { isIP, isIPv4, isIPv6 } from 'node:net';
import { isPlainClose, NAME } from './context.ts';
import type { Context, Outcome } from './context.ts';

export function conclude(context: Context): void {
  const { report, habits, destination } = context;
  const address = destination !== undefined && isIPv4(destination.host);
  const name = destination !== undefined && isIP(destination.host) === 0;
  const answered = report.target === true;
  const open = report.methods?.includes(0x00) ?? true;
  report.versions.socks4 = speaks4(habits.socks4, habits.readsSocks4, answered && address, open);
  report.versions.socks4a = speaks4(habits.socks4a, habits.readsSocks4a, answered && (address || name), open);
  // SOCKS4A is SOCKS4 with one more form of a request.
  if (report.versions.socks4a === true) report.versions.socks4 ??= true;
  report.names = name && answered ? true : resolvesNames(habits.name, habits.ipv4);
  if (destination !== undefined && isIPv6(destination.host) && answered) report.ipv6 = true;
  if (report.early === null && destination === undefined && habits.socks4a?.bound) report.early = true;
  report.looksLike = looksLike(context);
  // A hint about what answers in place of a SOCKS proxy is better than one about its first bytes.
  const [first] = report.errors;
  const hint = INSTEAD[report.looksLike ?? ''];
  const inPlace = !report.versions.socks5 && !(report.versions.socks4 && context.proxy.version === 4);
  if (first && hint !== undefined && inPlace) report.errors[0] = { ...first, hint };
  report.usable = isUsable(context);
}

const INSTEAD: Readonly<Record<string, string>> = {
  'HTTP proxy': 'an HTTP proxy answers on this port: use the port on which it speaks SOCKS, if there is one',
  'HTTPS proxy':
    'an HTTPS proxy answers on this port: use the port on which it speaks SOCKS, if there is one',
  'HTTP server': 'an HTTP server answers on this port: use the port of the proxy',
  'HTTPS server': 'an HTTPS server answers on this port: use the port of the proxy',
  'TLS server': 'a TLS server answers on this port: use the port of the proxy',
  'SOCKS5 proxy behind TLS': 'the proxy is behind TLS: write socks5s:// for the scheme',
  'SOCKS4 proxy': 'the proxy speaks SOCKS4 only: write socks4a:// or socks4:// for the scheme',
  'SSH server': 'an SSH server answers on this port: run ssh -D 1080 and use socks5://127.0.0.1:1080',
  'shadowsocks server':
    'the port is open and never answers, as a shadowsocks server: run ss-local, and use its port',
};

/**
 * @param reads the proxy reads a request to its end
 * @param settled the destination answers over SOCKS5, so that a rejection concerns SOCKS4 itself
 * @param open the proxy wants no password, so that it has no reason to reject SOCKS4 itself
 */
function speaks4(
  outcome: Outcome | undefined,
  reads: boolean | undefined,
  settled: boolean,
  open: boolean,
): boolean | null {
  if (outcome?.bound) return true;
  switch (outcome?.error?.code) {
    case 'ERR_SOCKS_IDENTD_UNREACHABLE':
    case 'ERR_SOCKS_IDENTD_MISMATCH':
      return true;
    case 'ERR_SOCKS_REJECTED':
      if (settled || reads === false) return false;
      return open && reads ? true : null;
    case 'ERR_SOCKS_PROXY_CLOSED':
      return reads === true;
    case 'ERR_SOCKS_WRONG_PROTOCOL':
    case 'ERR_SOCKS_PROTOCOL':
      return false;
    default:
      return null;
  }
}

/** A refusal of a name that does not exist shows a look-up only if it differs from a refusal of an address. */
function resolvesNames(name: Outcome | undefined, address: Outcome | undefined): boolean | null {
  const rep = name?.error?.reply;
  if (rep === 0x08) return false;
  const differs = address !== undefined && address.error?.reply !== rep;
  return (rep === 0x01 || rep === 0x04) && differs ? true : null;
}

/** A refusal that blames the destination shows that the proxy has tried. */
const BLAMES_DESTINATION = /_(?:HOST_UNREACHABLE|CONNECTION_REFUSED)$/;

function isUsable({ proxy, report, habits, destination }: Context): boolean {
  if (destination && !report.target && !BLAMES_DESTINATION.test(habits.destination?.error?.code ?? ''))
    return false;
  // The proxy broke the protocol, or closed in the middle of a message.
  const broken = report.errors.some(
    ({ probe, code }) => MAIN.has(probe) && /_(?:PROTOCOL|PROXY_CLOSED|AUTH_FAILED)$/.test(code),
  );
  if (!report.reachable || broken) return false;
  if (proxy.version === 4) {
    const [outcome, reads] =
      proxy.dns === 'remote' ? [habits.socks4a, habits.readsSocks4a] : [habits.socks4, habits.readsSocks4];
    return outcome?.bound !== undefined || outcome?.error?.code === 'ERR_SOCKS_REJECTED' || reads === true;
  }
  const { methods, authentication } = report;
  return report.versions.socks5 === true && (authentication ?? methods?.includes(0x00)) === true;
}

/** Probes whose errors can make the proxy unusable: they do what the URL says. */
const MAIN: ReadonlySet<string> = new Set(['dial', 'authentication', 'names']);

function looksLike(context: Context): string | null {
  return context.report.versions.socks5 ? bySocks5(context) : byOther(context);
}

function bySocks5({ proxy, report, habits }: Context): string | null {
  const { name, socks4, http, closesOnNoMethod } = habits;
  if (http === 'tor') return 'tor';
  if (closesOnNoMethod && isPlainClose(name?.error)) return 'OpenSSH';
  // 00, ATYP 03, length, name: dante repeats the name that it could not resolve.
  const [, atyp, length = 0, ...rest] = name?.tail ?? [];
  if (atyp === 0x03 && Buffer.from(rest.slice(0, length)).toString('latin1') === NAME.host) return 'dante';
  if (name?.bound && name.bound.port === proxy.port) return 'v2ray';
  if (name?.bound?.port === 0 && isPlainClose(socks4?.error) && !habits.readsSocks4) return 'ss-local';
  const noSocks4 = socks4?.error?.code === 'ERR_SOCKS_WRONG_PROTOCOL';
  if (noSocks4 && report.pipelining === false && name?.error?.reply === 0x01) return 'microsocks';
  return null;
}

function byOther({ proxy, report, habits }: Context): string | null {
  const [greeting] = habits.greetings;
  if (greeting?.detail === 'ssh') return 'SSH server';
  if (habits.tls && !(proxy.tls && report.phases['proxy-tls'])) {
    return { socks5: 'SOCKS5 proxy behind TLS', http: 'HTTPS server', other: 'TLS server' }[habits.tls];
  }
  const secure = proxy.tls && report.tls ? 'HTTPS' : 'HTTP';
  if (habits.http === 'proxy' || habits.http === 'server') return `${secure} ${habits.http}`;
  if (greeting?.detail === 'tls') return 'TLS server';
  if (greeting?.detail === 'http') return `${secure} server`;
  if (greeting?.detail === 'socks4' || report.versions.socks4) return 'SOCKS4 proxy';
  // A shadowsocks server never answers, whatever it gets, so that nobody finds out what it is.
  const silent = (greeting?.code ?? 'ERR_SOCKS_TIMEOUT') === 'ERR_SOCKS_TIMEOUT' && habits.silent.size === 2;
  return silent ? 'shadowsocks server' : null;
}
