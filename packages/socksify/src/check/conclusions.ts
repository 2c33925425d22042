// Concludes from the probes which versions the proxy speaks, whether it resolves names, whether it is usable, and which
// program it is, as far as its behaviour shows. No IO.

import { isIP, isIPv4, isIPv6 } from 'node:net';
import { isPlainClose, NAME } from './context.ts';
import type { Context, Outcome } from './context.ts';
import type { SocksProxy } from '@socksify/core';

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
  report.usable = isUsable(context);
  if (report.usable !== true) explain4(context);
  // A hint about what answers in place of a SOCKS proxy is better than one about its first bytes.
  const [first] = report.errors;
  const hint = insteadHint(report.looksLike ?? '', context.proxy);
  const inPlace = !report.versions.socks5 && !(report.versions.socks4 && context.proxy.version === 4);
  if (first && hint !== undefined && inPlace) report.errors[0] = { ...first, hint };
}

/** What to write when this answers in place of the proxy that the URL describes; undefined if the URL says so already. */
function insteadHint(found: string, { version, tls }: SocksProxy): string | undefined {
  const [, kind] = /^(?:HTTPS?|TLS) (proxy|server)$/.exec(found) ?? [];
  // With TLS in the URL, the error of TLS says more than that TLS answers, or that nothing does.
  if ((tls && !found.startsWith('HTTP')) || (version === 4 && found === 'SOCKS4 proxy')) return undefined;
  if (kind === undefined) return INSTEAD[found];
  const use = kind === 'proxy' ? 'on which it speaks SOCKS, if there is one' : 'of the proxy';
  return `${found[0] === 'T' ? 'a' : 'an'} ${found} answers on this port: use the port ${use}`;
}

const INSTEAD: Readonly<Record<string, string>> = {
  'SOCKS5 proxy behind TLS': 'the proxy is behind TLS: write socks5s:// for the scheme',
  'SOCKS4 proxy': 'the proxy speaks SOCKS4 only: write socks4a:// or socks4:// for the scheme',
  'SSH server': 'an SSH server answers on this port: run ssh -D 1080 and use socks5://127.0.0.1:1080',
  'silent port':
    'no answer to SOCKS, TLS or HTTP: the proxy may hang, or be a shadowsocks server (run ss-local, and use its port)',
};

/** Adds the error of a refusal over SOCKS4, if the URL names SOCKS4, and says what the refusal means. */
function explain4({ proxy, report, habits }: Context): void {
  if (proxy.version !== 4) return;
  const probe = versionOf(proxy);
  const { [probe]: speaks, socks5, socks4 } = report.versions;
  const { error } = habits[probe] ?? {};
  if (!error || !REFUSED4.test(error.code) || (speaks !== false && report.usable === false)) return;
  const { code, phase } = error;
  const other = socks5
    ? 'write socks5://'
    : socks4
      ? 'write socks4://, which resolves names on this machine'
      : 'see its log';
  const hint =
    speaks === false
      ? `the proxy does not take ${probe.toUpperCase()}: ${other}`
      : 'SOCKS4 gives no reason, and the check requests what does not exist: give --target a destination that answers';
  report.errors.push({ probe, code, phase, hint });
}

const REFUSED4 = /_(?:REJECTED|PROXY_CLOSED)$/;

function versionOf({ dns }: SocksProxy): 'socks4' | 'socks4a' {
  return dns === 'remote' ? 'socks4a' : 'socks4';
}

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

function isUsable({ proxy, report, habits, destination }: Context): boolean | null {
  if (destination && !report.target && !BLAMES_DESTINATION.test(habits.destination?.error?.code ?? ''))
    return false;
  // The proxy broke the protocol, or closed in the middle of a message.
  const broken = report.errors.some(
    ({ probe, code }) => MAIN.has(probe) && /_(?:PROTOCOL|PROXY_CLOSED|AUTH_FAILED)$/.test(code),
  );
  if (!report.reachable || broken) return false;
  if (proxy.version === 4) {
    if (destination) return report.target === true;
    const version = versionOf(proxy);
    const { bound, error } = habits[version] ?? {};
    if (bound || report.versions[version] === false) return bound !== undefined;
    return REFUSED4.test(error?.code ?? '') ? null : false;
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
  // A shadowsocks server never answers, whatever it gets, and so do ports of other kinds.
  const silent = (greeting?.code ?? 'ERR_SOCKS_TIMEOUT') === 'ERR_SOCKS_TIMEOUT' && habits.silent.size === 2;
  return silent ? 'silent port' : null;
}
