// Clients that others wrote, on the reference server. Each row has the result and what the server logged, so that it
// shows who looked the name up: the client alone knows `client.test`, the server alone knows `proxy.test`.

import { freePort, startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { startServer } from '@socksify/server';
import type { ServerOptions, SocksServer } from '@socksify/server';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { mustSkipProgram, openProgramFolder, PROGRAMS } from './programs.ts';
import type { ProgramFolder, Outcome, Scheme } from './programs.ts';

const NAMES = { 'proxy.test': '127.0.0.1', 'proxy.onion': '127.0.0.1' };
const HOSTS = '127.0.0.1 client.test\n::1 client6.test\n';

const POLICIES = {
  open: {},
  users: { users: { alice: 'secret' } },
  userIds: { userIds: ['alice'] },
} as const satisfies Record<string, ServerOptions>;

/**
 * The scheme; the destination, where `:closed` is a port on which nobody listens; the policy of the server; the login;
 * the result, which is `ok` or the exit code and the text on standard error; and what the server logged.
 */
type Row = readonly [
  scheme: Scheme,
  address: string,
  policy: keyof typeof POLICIES,
  login: string,
  answer: 'ok' | readonly [code: number, stderr: RegExp],
  noted: string,
];

const NOTHING = '';

// With SOCKS4A it sends every host as a name, addresses too.
const CURL: readonly Row[] = [
  ['4', 'client.test', 'open', '', 'ok', '4 ipv4 127.0.0.1 -> 90'],
  ['4', '127.0.0.1', 'open', '', 'ok', '4 ipv4 127.0.0.1 -> 90'],
  ['4', 'proxy.test', 'open', '', [97, /resolve host/], NOTHING],
  ['4', '::1', 'open', '', [97, /not supported/], NOTHING],
  ['4', 'client.test:closed', 'open', '', [97, /\(91\)/], '4 ipv4 127.0.0.1 -> 91'],
  ['4', 'client.test', 'userIds', 'alice', 'ok', '4 ipv4 127.0.0.1 user=alice -> 90'],
  ['4', 'client.test', 'userIds', 'eve', [97, /\(91\)/], '4 ipv4 127.0.0.1 user=eve -> 91'],
  ['4', 'client.test', 'userIds', '', [97, /\(91\)/], '4 ipv4 127.0.0.1 -> 91'],
  ['4', 'client.test', 'users', 'alice', [97, /\(91\)/], '4 ipv4 127.0.0.1 user=alice -> 91'],
  ['4a', 'proxy.test', 'open', '', 'ok', '4a name proxy.test -> 90'],
  ['4a', 'client.test', 'open', '', [97, /\(91\)/], '4a name client.test -> 91'],
  ['4a', '127.0.0.1', 'open', '', 'ok', '4a name 127.0.0.1 -> 90'],
  ['4a', '::1', 'open', '', 'ok', '4a name ::1 -> 90'],
  ['4a', 'proxy.test:closed', 'open', '', [97, /\(91\)/], '4a name proxy.test -> 91'],
  ['4a', 'proxy.test', 'userIds', 'alice', 'ok', '4a name proxy.test user=alice -> 90'],
  ['4a', 'proxy.test', 'userIds', '', [97, /\(91\)/], '4a name proxy.test -> 91'],
  ['5', 'client.test', 'open', '', 'ok', '5 ipv4 127.0.0.1 method=0 -> 0'],
  ['5', 'client6.test', 'open', '', 'ok', '5 ipv6 ::1 method=0 -> 0'],
  ['5', '127.0.0.1', 'open', '', 'ok', '5 ipv4 127.0.0.1 method=0 -> 0'],
  ['5', '::1', 'open', '', 'ok', '5 ipv6 ::1 method=0 -> 0'],
  ['5', 'proxy.test', 'open', '', [97, /resolve host/], NOTHING],
  ['5', 'client.test:closed', 'open', '', [97, /\(5\)/], '5 ipv4 127.0.0.1 method=0 -> 5'],
  ['5', 'client.test', 'users', 'alice:secret', 'ok', '5 ipv4 127.0.0.1 user=alice method=2 -> 0'],
  ['5h', 'proxy.test', 'open', '', 'ok', '5 name proxy.test method=0 -> 0'],
  ['5h', 'client.test', 'open', '', [97, /\(4\)/], '5 name client.test method=0 -> 4'],
  ['5h', '127.0.0.1', 'open', '', 'ok', '5 ipv4 127.0.0.1 method=0 -> 0'],
  ['5h', '::1', 'open', '', 'ok', '5 ipv6 ::1 method=0 -> 0'],
  ['5h', 'proxy.test:closed', 'open', '', [97, /\(5\)/], '5 name proxy.test method=0 -> 5'],
  ['5h', 'proxy.test', 'users', 'alice:secret', 'ok', '5 name proxy.test user=alice method=2 -> 0'],
  ['5h', 'proxy.test', 'users', 'alice:guess', [97, /rejected/], 'turned away with 0101'],
  ['5h', 'proxy.test', 'users', '', [97, /acceptable/], 'turned away with 05ff'],
  // Both methods are offered, and the server needs no password.
  ['5h', 'proxy.test', 'open', 'alice:secret', 'ok', '5 name proxy.test method=0 -> 0'],
];

const CURL_BASIC: readonly Row[] = [
  ['5', 'client.test', 'open', '', 'ok', '5 ipv4 127.0.0.1 method=0 -> 0'],
  ['5', 'client.test', 'users', 'alice:secret', 'ok', '5 ipv4 127.0.0.1 user=alice method=2 -> 0'],
  ['5h', 'proxy.test', 'open', '', 'ok', '5 name proxy.test method=0 -> 0'],
  ['5h', 'proxy.test', 'users', 'alice:secret', 'ok', '5 name proxy.test user=alice method=2 -> 0'],
  ['5h', 'proxy.test', 'users', 'alice:guess', [97, /rejected/], 'turned away with 0101'],
  ['5h', 'proxy.test', 'users', '', [97, /acceptable/], 'turned away with 05ff'],
  ['5h', 'client.test', 'open', '', [97, /\(4\)/], '5 name client.test method=0 -> 4'],
  ['5h', 'proxy.test:closed', 'open', '', [97, /\(5\)/], '5 name proxy.test method=0 -> 5'],
];

const PYSOCKS: readonly Row[] = [
  ['4', 'client.test', 'open', '', 'ok', '4 ipv4 127.0.0.1 -> 90'],
  ['4', '127.0.0.1', 'open', '', 'ok', '4 ipv4 127.0.0.1 -> 90'],
  ['4', 'proxy.test', 'open', '', [1, /gaierror/], NOTHING],
  ['4', 'client.test:closed', 'open', '', [1, /SOCKS4Error: 0x5b/], '4 ipv4 127.0.0.1 -> 91'],
  ['4', 'client.test', 'userIds', 'alice', 'ok', '4 ipv4 127.0.0.1 user=alice -> 90'],
  ['4', 'client.test', 'userIds', 'eve', [1, /SOCKS4Error: 0x5b/], '4 ipv4 127.0.0.1 user=eve -> 91'],
  ['4', 'client.test', 'userIds', '', [1, /SOCKS4Error: 0x5b/], '4 ipv4 127.0.0.1 -> 91'],
  ['4a', 'proxy.test', 'open', '', 'ok', '4a name proxy.test -> 90'],
  ['4a', 'client.test', 'open', '', [1, /SOCKS4Error: 0x5b/], '4a name client.test -> 91'],
  ['4a', '127.0.0.1', 'open', '', 'ok', '4 ipv4 127.0.0.1 -> 90'],
  ['4a', 'proxy.test:closed', 'open', '', [1, /SOCKS4Error: 0x5b/], '4a name proxy.test -> 91'],
  ['4a', 'proxy.test', 'userIds', 'alice', 'ok', '4a name proxy.test user=alice -> 90'],
  ['5', 'client.test', 'open', '', 'ok', '5 ipv4 127.0.0.1 method=0 -> 0'],
  ['5', 'client6.test', 'open', '', 'ok', '5 ipv6 ::1 method=0 -> 0'],
  ['5', '::1', 'open', '', 'ok', '5 ipv6 ::1 method=0 -> 0'],
  ['5', 'proxy.test', 'open', '', [1, /gaierror/], NOTHING],
  ['5', 'client.test:closed', 'open', '', [1, /SOCKS5Error: 0x05/], '5 ipv4 127.0.0.1 method=0 -> 5'],
  ['5', 'client.test', 'users', 'alice:secret', 'ok', '5 ipv4 127.0.0.1 user=alice method=2 -> 0'],
  ['5h', 'proxy.test', 'open', '', 'ok', '5 name proxy.test method=0 -> 0'],
  ['5h', 'client.test', 'open', '', [1, /SOCKS5Error: 0x04/], '5 name client.test method=0 -> 4'],
  ['5h', '127.0.0.1', 'open', '', 'ok', '5 ipv4 127.0.0.1 method=0 -> 0'],
  ['5h', '::1', 'open', '', 'ok', '5 ipv6 ::1 method=0 -> 0'],
  ['5h', 'proxy.test:closed', 'open', '', [1, /SOCKS5Error: 0x05/], '5 name proxy.test method=0 -> 5'],
  ['5h', 'proxy.test', 'users', 'alice:secret', 'ok', '5 name proxy.test user=alice method=2 -> 0'],
  ['5h', 'proxy.test', 'users', 'alice:guess', [1, /SOCKS5AuthError/], 'turned away with 0101'],
  ['5h', 'proxy.test', 'users', '', [1, /SOCKS5AuthError/], 'turned away with 05ff'],
  ['5h', 'proxy.test', 'open', 'alice:secret', 'ok', '5 name proxy.test method=0 -> 0'],
];

const NETCAT: readonly Row[] = [
  ['4', 'client.test', 'open', '', 'ok', '4 ipv4 127.0.0.1 -> 90'],
  ['4', '127.0.0.1', 'open', '', 'ok', '4 ipv4 127.0.0.1 -> 90'],
  ['4', 'proxy.test', 'open', '', [1, /getaddrinfo/], NOTHING],
  ['4', 'client.test:closed', 'open', '', [1, /SOCKSv4 error: Request rejected/], '4 ipv4 127.0.0.1 -> 91'],
  ['4', 'client.test', 'userIds', '', [1, /SOCKSv4 error: Request rejected/], '4 ipv4 127.0.0.1 -> 91'],
  ['5h', 'proxy.test', 'open', '', 'ok', '5 name proxy.test method=0 -> 0'],
  ['5h', 'client.test', 'open', '', [1, /Host unreachable/], '5 name client.test method=0 -> 4'],
  ['5h', '127.0.0.1', 'open', '', 'ok', '5 ipv4 127.0.0.1 method=0 -> 0'],
  ['5h', '::1', 'open', '', 'ok', '5 ipv6 ::1 method=0 -> 0'],
  ['5h', 'proxy.test:closed', 'open', '', [1, /Connection refused/], '5 name proxy.test method=0 -> 5'],
  ['5h', 'proxy.test', 'users', '', [1, /negotiation failed/], 'turned away with 05ff'],
];

// torsocks sends RESOLVE for a name first, unless the name ends in .onion. It sends an address as a name.
const TORSOCKS: readonly Row[] = [
  ['5h', 'proxy.onion', 'open', '', 'ok', '5 name proxy.onion method=0 -> 0'],
  ['5h', 'client.onion', 'open', '', [1, /Host unreachable/], '5 name client.onion method=0 -> 4'],
  ['5h', 'proxy.onion:closed', 'open', '', [1, /Connection refused/], '5 name proxy.onion method=0 -> 5'],
  ['5h', 'proxy.test', 'open', '', [1, /Status reply: 7/], '5 name proxy.test method=0 -> 7'],
  ['5h', '192.0.2.1', 'open', '', [1, /Network unreachable/], '5 name 192.0.2.1 method=0 -> 3'],
  ['5h', '127.0.0.1', 'open', '', [1, /local address are denied/], NOTHING],
  ['5h', 'proxy.onion', 'users', 'alice:secret', 'ok', '5 name proxy.onion user=alice method=2 -> 0'],
  ['5h', 'proxy.onion', 'users', 'alice:guess', [1, /Error/], 'turned away with 0101'],
  ['5h', 'proxy.onion', 'users', '', [1, /Error/], 'turned away with 05ff'],
  // It offers method 02 alone.
  ['5h', 'proxy.onion', 'open', 'alice:secret', [1, /Error/], 'turned away with 05ff'],
];

const ROWS: Readonly<Record<string, readonly Row[]>> = {
  curl: CURL,
  'curl --socks5-basic': CURL_BASIC,
  PySocks: PYSOCKS,
  'nc (OpenBSD)': NETCAT,
  torsocks: TORSOCKS,
};

const COLUMNS = ['4', '4a', '5', '5h', '5 + password', 'refused port', 'unknown name'] as const;
type Column = (typeof COLUMNS)[number];

const cells = new Map<string, Map<Column, string>>();
let site: Site;
let closed: number;
let folder: ProgramFolder;
let server: SocksServer | undefined;

beforeAll(async () => {
  site = await startSite();
  closed = await freePort();
  folder = openProgramFolder(HOSTS);
});
afterEach(() => server?.close());
afterAll(async () => {
  folder.remove();
  await site.close();
  console.log(printTable());
});

describe.each(PROGRAMS.filter((program) => !mustSkipProgram(program)))('$name', (program) => {
  const rows = ROWS[program.name] ?? [];
  cells.set(program.name, new Map());

  test('has rows for every scheme that it supports', () => {
    expect([...new Set(rows.map(([scheme]) => scheme))].toSorted()).toEqual(program.schemes);
  });

  test.each(rows)(
    'connects or fails as expected with scheme %s to %s, policy %s, login "%s"',
    async (scheme, address, policy, login, answer, noted) => {
      server = await startServer({ names: NAMES, ...POLICIES[policy] });
      const host = address.replace(':closed', '');
      const port = host === address ? site.http : closed;
      const before = site.hits.length;
      const outcome = await folder.send(program, {
        scheme,
        proxy: server.port,
        login: login || undefined,
        host,
        port,
      });
      expect([noteOf(server, port), outcome.stderr]).toEqual([noted, expect.anything()]);
      const hits = site.hits.slice(before);
      if (answer === 'ok') {
        expect(outcome).toMatchObject({ code: 0, stdout: expect.stringMatching(/hello$/) as string });
        // The site accepted one connection, from the server.
        expect(hits).toEqual([server.log[0]?.outgoingPort]);
      } else {
        const [code, stderr] = answer;
        expect(outcome).toEqual({ code, stdout: '', stderr: expect.stringMatching(stderr) as string });
        expect(hits).toEqual([]);
      }
      const column = columnOf(scheme, address, policy, login);
      const row = cells.get(program.name);
      if (column && row?.get(column) !== 'ok') row?.set(column, printCell(outcome, program.meaning));
    },
  );
});

/** What the server logged: one client or none. The port of a CONNECT is checked here. */
function noteOf({ log, refusals }: SocksServer, port: number): string {
  for (const entry of log) if (entry.command === 'connect') expect(entry.port).toBe(port);
  const entries = log.map(({ form, atyp, host, user, method, reply }) => {
    const who = user ? ` user=${user}` : '';
    const how = method === undefined ? '' : ` method=${method}`;
    return `${form} ${atyp} ${host}${who}${how} -> ${reply}`;
  });
  return [...entries, ...refusals.map(({ answer }) => `turned away with ${answer}`)].join('; ');
}

/** The cell of the table that a row fills, if any. Of several rows for one cell, the one that succeeded counts. */
function columnOf(scheme: Scheme, to: string, policy: string, login: string): Column | undefined {
  const remote = scheme === '4a' || scheme === '5h';
  if (policy === 'users' && login === 'alice:secret') return '5 + password';
  if (policy !== 'open' || login !== '') return undefined;
  if (to.endsWith(':closed')) return 'refused port';
  if (remote && to.startsWith('client.')) return 'unknown name';
  return to === 'client.test' || /^proxy\.(?:test|onion)$/.test(to) ? firstOk(scheme, to) : undefined;
}

// A client that looks names up itself gets the name of the client, any other the name of the proxy.
function firstOk(scheme: Scheme, to: string): Column | undefined {
  const own = scheme === '4' || scheme === '5' ? ['client.test'] : ['proxy.test', 'proxy.onion'];
  return own.includes(to) ? scheme : undefined;
}

function printCell(outcome: Outcome, meaning: (outcome: Outcome) => string): string {
  return outcome.code === 0 ? 'ok' : `exit ${outcome.code}: ${meaning(outcome)}`;
}

function printTable(): string {
  const rows = [
    ['client', ...COLUMNS],
    ...Array.from(cells, ([name, row]) => [
      name,
      ...COLUMNS.map((column) => row.get(column) ?? 'not offered by this client'),
    ]),
  ];
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
