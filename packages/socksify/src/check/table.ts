// A report for people: one line for each thing that was found out, and one for each error.

import type { CheckReport } from './report.ts';

type Mark = 'good' | 'bad' | 'plain';
type Row = readonly [label: string, text: string, mark?: Mark];

const COLOURS: Readonly<Record<Mark, string>> = { good: '\u001b[32m', bad: '\u001b[31m', plain: '' };
const RESET = '\u001b[39m';
const METHODS: Readonly<Record<number, string>> = {
  0: 'no authentication',
  1: 'GSSAPI',
  2: 'user and password',
};

export function printTable(report: CheckReport, destination: string | undefined, colours: boolean): string {
  const colour = (text: string, mark: Mark = 'plain'): string =>
    colours && COLOURS[mark] ? `${COLOURS[mark]}${text}${RESET}` : text;
  const rows = report.reachable ? toRows(report, destination) : [];
  const width = Math.max(...rows.map(([label]) => label.length)) + 2;
  const { usable } = report;
  const verdict = usable
    ? colour('usable', 'good')
    : colour(usable === null ? 'unknown' : 'not usable', 'bad');
  const lines = rows.map(([label, text, mark]) => `  ${label.padEnd(width)}${colour(text, mark)}`);
  const errors = report.errors.map(
    ({ probe, code, phase, hint }) => `  ${probe}: ${colour(code, 'bad')} in ${phase}: ${hint}`,
  );
  const gap = lines.length > 0 && errors.length > 0 ? [''] : [];
  return `${[`${report.proxy}: ${verdict}`, ...lines, ...gap, ...errors].join('\n')}\n`;
}

function toRows(report: CheckReport, destination: string | undefined): Row[] {
  const { versions, methods, authentication, names, early, pipelining, looksLike, idle } = report;
  const socks5 = versions.socks5 === true;
  const times = Object.entries(report.phases).map(
    ([phase, { ms, roundTrips }]) => `${phase} ${milliseconds(ms)} (${roundTrips} RTT)`,
  );
  return [
    ['looks like', looksLike ?? 'unknown'],
    ...(report.rtt === null ? [] : [['round trip', milliseconds(report.rtt)] as const]),
    ['TLS', printTls(report.tls)],
    ['SOCKS5', yesNo(versions.socks5)],
    ['SOCKS4A', yesNo(versions.socks4a)],
    ['SOCKS4', yesNo(versions.socks4)],
    ...(socks5
      ? ([
          ['methods', (methods ?? []).map((id) => METHODS[id] ?? id).join(', ') || 'none of those known'],
          [
            'credentials',
            authentication === null ? 'not tried' : authentication ? 'accepted' : 'refused',
            authentication === null ? 'plain' : authentication ? 'good' : 'bad',
          ],
          ['resolves names', yesNo(names)],
          ['IPv6 addresses', yesNo(report.ipv6)],
        ] as const)
      : []),
    ...(destination === undefined
      ? []
      : [
          [
            'target',
            `${destination} ${report.target ? 'answers' : 'does not answer'}`,
            report.target ? 'good' : 'bad',
          ] as const,
        ]),
    ...(early === null
      ? []
      : [
          [
            'success',
            early
              ? 'reported before the proxy connects: it says nothing'
              : 'reported when the proxy has connected',
          ] as const,
        ]),
    ...(pipelining === null ? [] : [['pipelining', yesNo(pipelining)] as const]),
    ...(idle
      ? [['idle', `${idle.closed ? 'closed' : 'still open'} after ${milliseconds(idle.ms)}`] as const]
      : []),
    ...(times.length > 0 ? [['time', times.join(', ')] as const] : []),
  ];
}

function printTls(tls: CheckReport['tls']): string {
  if (tls === null) return 'unknown';
  if (tls === false) return 'no';
  const { protocol, subject, issuer, validTo, authorized } = tls;
  const until = validTo === null ? '' : ` until ${validTo.slice(0, 10)}`;
  return `${protocol}, ${subject} by ${issuer}${until}, ${authorized ? 'trusted' : 'not trusted'}`;
}

function yesNo(value: boolean | null): string {
  return value === null ? 'unknown' : value ? 'yes' : 'no';
}

function milliseconds(ms: number): string {
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}
