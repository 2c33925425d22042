// The catalogue of proxies that let no tunnel come about, before every client: the right code, in time, one attempt,
// the proxy's socket closed, and never a direct request.

import { proxyFromEnv } from '@socksify/env';
import type { ProxyRoute } from '@socksify/core';
import { freePort, startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { MISBEHAVIOURS, refusal, startScript } from '@socksify/server';
import type { Misbehaviour } from '@socksify/server';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { CLIENTS, codeOf } from '../clients.ts';
import { ALL, held, inject, reportFaults, request, together, within } from './faults.ts';
import type { Row } from './faults.ts';

/** What a client says of each, without ERR_SOCKS_. */
const EXPECTED: Readonly<Record<string, string>> = {
  'accepts no method and closes': 'NO_ACCEPTABLE_METHOD',
  'accepts no method and stays': 'NO_ACCEPTABLE_METHOD',
  'chooses a method that was not offered': 'PROTOCOL',
  'chooses GSSAPI': 'PROTOCOL',
  'answers the greeting with VER 00': 'PROTOCOL',
  'answers the greeting with VER 06': 'PROTOCOL',
  'answers the greeting with junk': 'PROTOCOL',
  'answers the request with junk': 'PROTOCOL',
  // A STATUS other than 00 fails whatever VER says.
  'answers the credentials with junk': 'AUTH_FAILED',
  'answers SOCKS4 with junk': 'PROTOCOL',
  'sends a megabyte of zeros unasked': 'PROTOCOL',
  'speaks first, as SSH does': 'PROTOCOL',
  'speaks HTTP': 'WRONG_PROTOCOL',
  'speaks HTTP to SOCKS4': 'WRONG_PROTOCOL',
  'speaks TLS': 'WRONG_PROTOCOL',
  'speaks SOCKS4 only': 'WRONG_PROTOCOL',
  'speaks no TLS': 'PROXY_TLS',
  'closes in the TLS handshake': 'PROXY_TLS',
  'falls silent in the TLS handshake': 'TIMEOUT',
  'answers the request with VER 00': 'PROTOCOL',
  'grants with ATYP 00': 'PROTOCOL',
  'grants with ATYP 09': 'PROTOCOL',
  'grants in two bytes and closes': 'PROXY_CLOSED',
  'grants with a name shorter than its length': 'PROXY_CLOSED',
  'refuses in two bytes and stays': 'NOT_ALLOWED',
  'refuses in two bytes and closes': 'NOT_ALLOWED',
  'refuses in four bytes': 'HOST_UNREACHABLE',
  'refuses in four bytes with ATYP 00': 'HOST_UNREACHABLE',
  'refuses with a name': 'HOST_UNREACHABLE',
  'refuses with IPv6': 'CONNECTION_REFUSED',
  'refuses with ATYP 09 and junk': 'NETWORK_UNREACHABLE',
  'refuses slowly': 'NETWORK_UNREACHABLE',
  'refuses late': 'TTL_EXPIRED',
  'refuses and resets': 'CONNECTION_REFUSED',
  'refuses the credentials with 05': 'AUTH_FAILED',
  'answers the credentials with VER 02': 'PROTOCOL',
  'rejects over SOCKS4': 'REJECTED',
  'cannot connect to identd': 'IDENTD_UNREACHABLE',
  'gets another name from identd': 'IDENTD_MISMATCH',
  'grants SOCKS4 with an unknown CD': 'UNASSIGNED_REPLY',
  'dante, unknown name': 'HOST_UNREACHABLE',
  'dante, bad password': 'AUTH_FAILED',
  'dante, SOCKS4A': 'REJECTED',
  'microsocks, bad password': 'AUTH_FAILED',
  'microsocks, SOCKS4': 'WRONG_PROTOCOL',
  'microsocks, unknown name': 'GENERAL_FAILURE',
  'openssh, no acceptable method': 'PROXY_CLOSED',
  'openssh, refused port': 'PROXY_CLOSED',
  'tor, failed resolution': 'HOST_UNREACHABLE',
  'tor, no circuit': 'TTL_EXPIRED',
  'tor, bad onion': 'UNASSIGNED_REPLY',
  'tor, taken for an HTTP proxy': 'WRONG_PROTOCOL',
  'ss-local, not CONNECT': 'COMMAND_NOT_SUPPORTED',
  'v2ray, bad password': 'AUTH_FAILED',
  'stunnel, without TLS': 'PROXY_CLOSED',
  'stunnel, nothing behind it': 'PROXY_TLS',
};

/** RFC 1928 section 6, in its order, from 01. */
const REPLIES = [
  'GENERAL_FAILURE',
  'NOT_ALLOWED',
  'NETWORK_UNREACHABLE',
  'HOST_UNREACHABLE',
  'CONNECTION_REFUSED',
  'TTL_EXPIRED',
  'COMMAND_NOT_SUPPORTED',
  'ADDRESS_TYPE_NOT_SUPPORTED',
] as const;

const SILENT: Misbehaviour['script'] = [{ read: 3 }, { stall: true }];
const SILENT_IN_THE_REPLY: Misbehaviour['script'] = [
  { read: 3 },
  { send: '05 00' },
  { read: 10 },
  { send: '05 00 00' },
  { stall: true },
];

let site: Site;
beforeAll(async () => {
  site = await startSite();
});
afterAll(() => site.close());
reportFaults(
  `${CLIENTS.length} clients, ${Object.keys(MISBEHAVIOURS).length} misbehaviours and 255 refusals`,
);
afterEach(() => expect(site.hits).toEqual([]));

test('every misbehaviour of the catalogue has its code here', () => {
  expect(Object.keys(EXPECTED)).toEqual(Object.keys(MISBEHAVIOURS));
});

describe.each(ALL)('$name', (row) => {
  let before: ReturnType<typeof held>;
  beforeEach(() => {
    before = held();
  });
  afterEach(() => expect.poll(held, { interval: 5 }).toEqual(before));

  test('fails with the right code before each proxy of the catalogue', async () => {
    const endings = await together(Object.entries(MISBEHAVIOURS), async ([name, misbehaviour]) => {
      const timeout = EXPECTED[name] === 'TIMEOUT' ? 200 : 15_000;
      const { code, attempts } = await inject(row, misbehaviour, site, { timeout });
      return [name, { code, attempts }];
    });
    expect(Object.fromEntries(endings)).toEqual(
      Object.fromEntries(
        Object.entries(EXPECTED).map(([name, code]) => [name, { code: `ERR_SOCKS_${code}`, attempts: 1 }]),
      ),
    );
  });

  test('rule 23: has the code of every REP from 01 to FF', async () => {
    const reps = Array.from({ length: 0xff }, (_, i) => i + 1);
    const endings = await together(reps, async (rep) => {
      const { error, code, attempts } = await inject(row, refusal(rep), site);
      return { rep, code, reply: replyOf(error), attempts };
    });
    expect(endings).toEqual(
      reps.map((rep) => ({
        rep,
        code: `ERR_SOCKS_${REPLIES[rep - 1] ?? 'UNASSIGNED_REPLY'}`,
        reply: rep,
        attempts: 1,
      })),
    );
  });

  test.each([
    ['before the METHOD reply', SILENT],
    ['inside the reply', SILENT_IN_THE_REPLY],
  ])('closes its connection to a proxy that hangs %s when it is aborted', async (_, script) => {
    const server = await startScript(script);
    try {
      const abort = new AbortController();
      const ended = request(row, server.url('socks5'), site, { signal: abort.signal });
      const connection = await server.connection();
      await connection.ran;
      abort.abort();
      expect((await ended).code).toBe('AbortError');
      await within(connection.closedByClient, 'the socket');
      expect(server.connections).toHaveLength(1);
    } finally {
      await server.close();
    }
  });

  test('fails when nothing listens on the port of the proxy', async () => {
    const { code } = await request(row, `socks5://127.0.0.1:${await freePort()}`, site);
    expect(code).toBe('ERR_SOCKS_PROXY_UNREACHABLE');
  });

  test('fails at a time limit that passes before the proxy has answered', async () => {
    const delayed: Misbehaviour = {
      client: 'socks5://',
      script: [{ read: 3 }, { delay: 600 }, { send: '05 00' }],
    };
    expect(await inject(row, delayed, site, { timeout: 200 })).toMatchObject({
      code: 'ERR_SOCKS_TIMEOUT',
      attempts: 1,
    });
  });

  test.each<[string, ProxyRoute]>([
    [
      'a selector that throws',
      () => {
        throw new Error('no proxy today');
      },
    ],
    ['a selector without an answer', () => null as unknown as undefined],
    ['an environment with an HTTP proxy', proxyFromEnv({ ALL_PROXY: 'http://127.0.0.1:3128' })],
    ['an environment with nonsense', proxyFromEnv({ SOCKS_PROXY: 'nonsense' })],
  ])('fails with %s', async (_, route) => {
    expect(await rejected(row, route)).toBeInstanceOf(Error);
  });

  test.each(['', 'http://127.0.0.1', '127.0.0.1:1080', 'socks6://h'])(
    'throws for the proxy %j before any IO',
    async (url) => {
      expect(codeOf(await rejected(row, url))).toBe('ERR_SOCKS_INVALID_PROXY');
    },
  );
});

async function rejected({ client, protocol }: Row, route: ProxyRoute): Promise<unknown> {
  const url = `${protocol}://127.0.0.1:${site[protocol]}/`;
  return within(
    client.request(route, url).then(
      () => 'an answer',
      (error: unknown) => error,
    ),
    client.name,
  );
}

function replyOf(error: unknown): unknown {
  const { reply, cause } = error as { reply?: number; cause?: unknown };
  return reply ?? (cause === undefined ? undefined : replyOf(cause));
}
