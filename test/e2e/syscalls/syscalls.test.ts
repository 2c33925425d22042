// The system calls of whole programs, as the kernel saw them: in every situation, every entry point connects to its
// proxy and to nothing else, and looks up a name only where it was told to.

import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { freePort, startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { startScript, startServer } from '@socksify/server';
import type { ScriptedServer, SocksServer } from '@socksify/server';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isIsolated } from '../interop/servers.ts';
import { isTraceable, MARKER, traceNode } from './strace.ts';
import type { Section } from './strace.ts';

const ENTRIES = [
  'connect()',
  'SocksClient',
  'SocksAgent, http',
  'SocksAgent, https',
  'SocksDispatcher, fetch',
  'setGlobalDispatcher, fetch',
  'SocksDispatcher, request of undici',
] as const;

const ONION = 'duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion';

/** The instructions for a program. */
interface Situation {
  readonly route?: unknown;
  /** A selector that answers `undefined`. */
  readonly direct?: boolean;
  readonly host: string;
  readonly port?: number;
  /** Milliseconds. */
  readonly abort?: number;
  readonly standby?: number;
  readonly pipeline?: boolean;
  /** A look-up of the program's own. */
  readonly names?: Readonly<Record<string, readonly string[]>>;
}

/** What the kernel and the look-up of the program have to see. */
interface Expected {
  readonly outcome: unknown;
  readonly destinations: readonly string[];
  readonly lookups?: number;
  readonly looked?: readonly string[];
}

let web: Site;
let first: SocksServer;
let second: SocksServer;
let silent: ScriptedServer;
let dead: number;
const other = createServer((socket) => socket.end());

beforeAll(async () => {
  web = await startSite();
  const names = { 'origin.test': '127.0.0.1', [ONION]: '127.0.0.1', 'second.test': '127.0.0.1' };
  first = await startServer({ names, rules: [{ deny: { host: 'denied.test' } }] });
  second = await startServer({ names });
  silent = await startScript([{ stall: true }]);
  dead = await freePort();
  await once(other.listen(0, '127.0.0.1'), 'listening');
});
afterAll(async () => {
  await silent.close();
  await second.close();
  await first.close();
  await web.close();
  other.close();
});

function situations(): Readonly<Record<string, [Situation, Expected]>> {
  const [one, two, hanging, gone] = [first.port, second.port, silent.port, dead].map(
    (port) => `127.0.0.1:${port}`,
  ) as [string, string, string, string];
  const route = `socks5://${one}`;
  const local = { version: 5, host: '127.0.0.1', port: first.port, dns: 'local' };
  const through = (...destinations: string[]): Expected => ({ outcome: 'hello', destinations });
  return {
    'a name': [{ route, host: 'origin.test' }, through(one)],
    'a name over SOCKS4A': [{ route: `socks4a://${one}`, host: 'origin.test' }, through(one)],
    'a name for credentials': [{ route: `socks5://u:p@${one}`, host: 'origin.test' }, through(one)],
    'an IPv4 literal': [{ route, host: '127.0.0.1' }, through(one)],
    'an IPv6 literal': [{ route, host: '[::1]' }, through(one)],
    localhost: [
      { route, host: 'localhost' },
      { outcome: 'ERR_SOCKS_HOST_UNREACHABLE', destinations: [one] },
    ],
    'an onion name': [{ route, host: ONION }, through(one)],
    'an onion name with dns: local': [
      { route: local, host: ONION, names: { [ONION]: ['127.0.0.1'] } },
      { outcome: 'ERR_SOCKS_INVALID_DESTINATION', destinations: [] },
    ],
    'a name that the proxy does not know': [
      { route, host: 'unknown.test' },
      { outcome: 'ERR_SOCKS_HOST_UNREACHABLE', destinations: [one] },
    ],
    'a name that the proxy denies': [
      { route, host: 'denied.test' },
      { outcome: 'ERR_SOCKS_NOT_ALLOWED', destinations: [one] },
    ],
    'a port that is closed': [
      { route, host: 'origin.test', port: dead },
      { outcome: 'ERR_SOCKS_CONNECTION_REFUSED', destinations: [one] },
    ],
    'a proxy that is not there': [
      { route: `socks5://${gone}`, host: 'origin.test' },
      { outcome: 'ERR_SOCKS_PROXY_UNREACHABLE', destinations: [gone] },
    ],
    'a proxy that is no SOCKS proxy': [
      { route: `socks5://127.0.0.1:${(other.address() as AddressInfo).port}`, host: 'origin.test' },
      {
        outcome: 'ERR_SOCKS_PROXY_CLOSED',
        destinations: [`127.0.0.1:${(other.address() as AddressInfo).port}`],
      },
    ],
    'an abort': [
      { route: `socks5://${hanging}`, host: 'origin.test', abort: 50 },
      { outcome: expect.stringMatching(/^(?:TimeoutError|AbortError|ABORT_ERR)$/), destinations: [hanging] },
    ],
    standby: [{ route, host: 'origin.test', standby: 2 }, through(one)],
    pipeline: [{ route, host: 'origin.test', pipeline: true }, through(one)],
    'dns: local with a look-up of its own': [
      { route: local, host: 'elsewhere.test', names: { 'elsewhere.test': ['127.0.0.1'] } },
      { ...through(one), looked: ['elsewhere.test'] },
    ],
    'dns: local, and a look-up without an answer': [
      { route: local, host: 'elsewhere.test', names: {} },
      { outcome: 'ERR_SOCKS_LOOKUP', destinations: [], looked: ['elsewhere.test'] },
    ],
    'a chain': [{ route: [route, `socks5://${two}`], host: 'origin.test' }, through(one)],
    'a chain whose second proxy has a name': [
      { route: [route, `socks5://second.test:${second.port}`], host: 'origin.test' },
      through(one),
    ],
    'a proxy with a name, and a look-up of its own': [
      {
        route: `socks5://proxy.test:${first.port}`,
        host: 'origin.test',
        names: { 'proxy.test': ['127.0.0.1'], 'origin.test': ['127.0.0.1'] },
      },
      { ...through(one), looked: ['proxy.test'] },
    ],
  };
}

/** Where a look-up by the system leaves its traces: the daemon for names, DNS, and port 0, which only sorts addresses. */
const LOOKUP = /^unix:\/(?:var\/)?run\/(?:nscd|systemd)\/|:(?:53|0)$/;

const traceable = mayTrace();

/** The controls look names up, so no packet may leave the machine. */
function mayTrace(): boolean {
  if (isTraceable() && isIsolated()) return true;
  const message = 'system calls: need strace, the right to use it, and a network namespace';
  if (process.env['CI'] === 'true') throw new Error(message);
  console.warn(`SKIPPED ${message}`);
  return false;
}

async function trace(
  entry: string,
  list: Readonly<Record<string, Situation>>,
): Promise<{ results: Record<string, object>; sections: ReadonlyMap<string, Section> }> {
  const protocol = entry === 'SocksAgent, https' ? 'https' : 'http';
  const told = Object.entries(list).map(([name, { host, port = web[protocol], ...situation }]) => {
    const to = { host, port, url: `${protocol}://${host}:${port}/` };
    return [name, { ...situation, to }];
  });
  const program = fileURLToPath(new URL('program.js', import.meta.url));
  const json = JSON.stringify({ marker: MARKER, situations: Object.fromEntries(told) });
  const { stdout, sections } = await traceNode([program, entry, json]);
  return { results: JSON.parse(stdout) as Record<string, object>, sections };
}

describe.skipIf(!traceable)('under strace', { timeout: 60_000 }, () => {
  test.concurrent.each(ENTRIES)('%s connects to its proxy alone, and looks no name up', async (entry) => {
    const all = Object.entries(situations());
    const { results, sections } = await trace(
      entry,
      Object.fromEntries(all.map(([name, [situation]]) => [name, situation])),
    );
    const seen = all.map(([name]) => [name, { ...results[name], ...sections.get(name) }]);
    const due = all.map(([name, [, { outcome, destinations, lookups = 0, looked = [] }]]) => [
      name,
      { outcome, looked, destinations, lookups },
    ]);
    expect(Object.fromEntries(seen)).toEqual(Object.fromEntries(due));
    // Nothing before the first situation, and nothing behind the last.
    for (const name of ['', 'end']) {
      expect([name, sections.get(name)]).toEqual([name, { destinations: [], lookups: 0 }]);
    }
  });

  test.concurrent.each(ENTRIES)("%s looks its proxy's name up, and no other", async (entry) => {
    const situation = { route: `socks5://localhost:${first.port}`, host: 'origin.test' };
    const { results, sections } = await trace(entry, { situation });
    const { destinations = [], lookups } = sections.get('situation') ?? {};
    expect(results).toEqual({ situation: { outcome: 'hello', looked: [] } });
    // The system knows localhost without DNS; for the other name it would have sent a DNS query.
    expect(lookups).toBe(1);
    expect(destinations.filter((one) => one.endsWith(':53'))).toEqual([]);
    const dialled = destinations.filter((one) => !LOOKUP.test(one));
    expect(dialled).toContain(`127.0.0.1:${first.port}`);
    for (const one of dialled) expect([`127.0.0.1:${first.port}`, `[::1]:${first.port}`]).toContain(one);
  });

  test.concurrent.each(ENTRIES)(
    '%s is seen when it connects directly, and when it looks a name up',
    async (entry) => {
      const { results, sections } = await trace(entry, {
        literal: { direct: true, host: '127.0.0.1' },
        name: { direct: true, host: 'nobody.test' },
        'dns: local': {
          route: { version: 5, host: '127.0.0.1', port: first.port, dns: 'local' },
          host: 'nobody.test',
        },
      });
      const port = entry === 'SocksAgent, https' ? web.https : web.http;
      expect(results['literal']).toEqual({ outcome: 'hello', looked: [] });
      expect(sections.get('literal')).toEqual({ destinations: [`127.0.0.1:${port}`], lookups: 0 });
      for (const name of ['name', 'dns: local']) {
        expect(results[name]).not.toMatchObject({ outcome: 'hello' });
        const { destinations = [], lookups } = sections.get(name) ?? {};
        expect(lookups).toBe(1);
        expect(destinations.filter((one) => one.endsWith(':53'))).not.toEqual([]);
      }
    },
  );
});
