// What `socksify check` prints for people: a line for each thing that was found out. check-command.test.ts runs it.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { draft } from '../src/check/report.ts';
import type { CheckReport } from '../src/check/report.ts';
import { printTable } from '../src/check/table.ts';

const PROXY = 'socks5://127.0.0.1:1080';
const reported = (found: Partial<CheckReport> = {}): CheckReport => ({
  ...draft(PROXY),
  reachable: true,
  ...found,
});
const lineOf = (report: CheckReport, label: string, destination?: string): string | undefined =>
  printTable(report, destination, false)
    .split('\n')
    .find((line) => line.startsWith(`  ${label} `))
    ?.slice(2 + label.length)
    .trim();

test('a proxy of which all is known has a line for each thing', () => {
  const report = reported({
    usable: true,
    rtt: 3.25,
    tls: false,
    versions: { socks4: false, socks4a: false, socks5: true },
    methods: [0, 2, 1, 128],
    authentication: true,
    names: true,
    ipv6: false,
    target: true,
    early: false,
    pipelining: true,
    looksLike: 'tor',
    idle: { ms: 5000.4, closed: true },
    phases: { dial: { ms: 12, roundTrips: 1 }, greeting: { ms: 1.5, roundTrips: 1 } },
  });
  expect(printTable(report, 'example.com:443', false)).toBe(`socks5://127.0.0.1:1080: usable
  looks like      tor
  round trip      3.3 ms
  TLS             no
  SOCKS5          yes
  SOCKS4A         no
  SOCKS4          no
  methods         no authentication, user and password, GSSAPI, 128
  credentials     accepted
  resolves names  yes
  IPv6 addresses  no
  target          example.com:443 answers
  success         reported when the proxy has connected
  pipelining      yes
  idle            closed after 5000 ms
  time            dial 12 ms (1 RTT), greeting 1.5 ms (1 RTT)
`);
});

test('docs/check.md explains each row', () => {
  const page = readFileSync(new URL('../../../docs/check.md', import.meta.url), 'utf8');
  const explained = [...page.matchAll(/^\| (`.*?`) \|/gm)].flatMap(([, cell = '']) => cell.split(', '));
  const report = reported({
    rtt: 1,
    versions: { socks4: true, socks4a: true, socks5: true },
    early: true,
    pipelining: true,
    idle: { ms: 1, closed: true },
    phases: { dial: { ms: 1, roundTrips: 1 } },
  });
  const [, ...rows] = printTable(report, 'example.com:443', false).trim().split('\n');
  const labels = rows.map((row) => `\`${row.trim().split('  ')[0]}\``);
  expect(labels).toContain('`time`');
  expect(explained).toEqual(labels);
});

test('a proxy of which nothing is known but that it accepts connections says unknown, and leaves lines out', () => {
  expect(printTable(reported(), undefined, false)).toBe(`socks5://127.0.0.1:1080: not usable
  looks like  unknown
  TLS         unknown
  SOCKS5      unknown
  SOCKS4A     unknown
  SOCKS4      unknown
`);
});

test('a proxy that accepts no connection has its errors alone', () => {
  const error = { probe: 'dial', code: 'ERR_SOCKS_TIMEOUT', phase: 'dial', hint: 'check the port' } as const;
  expect(printTable(reported({ reachable: false, errors: [error] }), undefined, false)).toBe(
    'socks5://127.0.0.1:1080: not usable\n  dial: ERR_SOCKS_TIMEOUT in dial: check the port\n',
  );
});

test('a proxy that may be usable is unknown', () => {
  expect(printTable(reported({ usable: null }), undefined, false)).toContain('1080: unknown\n');
});

test('errors come after an empty line', () => {
  const error = { probe: 'names', code: 'ERR_SOCKS_REJECTED', phase: 'request', hint: 'use IPv4' } as const;
  expect(printTable(reported({ errors: [error] }), undefined, false)).toMatch(
    /\n {2}SOCKS4 +unknown\n\n {2}names: ERR_SOCKS_REJECTED in request: use IPv4\n$/,
  );
});

test.each<[Partial<CheckReport>, label: string, text: string]>([
  [{ authentication: null }, 'credentials', 'not tried'],
  [{ authentication: false }, 'credentials', 'refused'],
  [{ methods: null }, 'methods', 'none of those known'],
  [{ methods: [] }, 'methods', 'none of those known'],
  [{ target: false }, 'target', 'example.com:443 does not answer'],
  [{ target: null }, 'target', 'example.com:443 does not answer'],
  [{ early: true }, 'success', 'reported before the proxy connects: it says nothing'],
  [{ pipelining: false }, 'pipelining', 'no'],
  [{ idle: { ms: 9.96, closed: false } }, 'idle', 'still open after 10.0 ms'],
])('%o is the line %s: %s', (found, label, text) => {
  const report = reported({ versions: { socks4: null, socks4a: null, socks5: true }, ...found });
  expect(lineOf(report, label, 'example.com:443')).toBe(text);
});

const CERTIFICATE = {
  protocol: 'TLSv1.3',
  subject: 'proxy.test',
  issuer: 'Example CA',
  validFrom: null,
  validTo: '2030-01-02T00:00:00.000Z',
  authorized: true,
};
test.each<[object, string]>([
  [{}, 'TLSv1.3, proxy.test by Example CA until 2030-01-02, trusted'],
  [{ validTo: null }, 'TLSv1.3, proxy.test by Example CA, trusted'],
  [{ authorized: false }, 'TLSv1.3, proxy.test by Example CA until 2030-01-02, not trusted'],
])('a certificate of which %o is different is the line %s', (different, text) => {
  expect(lineOf(reported({ tls: { ...CERTIFICATE, ...different } as never }), 'TLS')).toBe(text);
});

test('on a terminal, what is good is green and what is bad is red', () => {
  const colours = (found: Partial<CheckReport>) =>
    printTable(
      reported({ versions: { socks4: null, socks4a: null, socks5: true }, ...found }),
      'example.com:443',
      true,
    );
  const good = colours({ usable: true, authentication: true, target: true });
  for (const text of ['usable', 'accepted', 'example.com:443 answers']) {
    expect(good).toContain(`\u001b[32m${text}\u001b[39m`);
  }
  const error = { probe: 'target', code: 'ERR_SOCKS_TIMEOUT', phase: 'request', hint: null } as const;
  const bad = colours({ authentication: false, target: false, errors: [error] });
  for (const text of ['not usable', 'refused', 'example.com:443 does not answer', 'ERR_SOCKS_TIMEOUT']) {
    expect(bad).toContain(`\u001b[31m${text}\u001b[39m`);
  }
  expect(colours({ authentication: null })).toMatch(/credentials +not tried\n/);
});
