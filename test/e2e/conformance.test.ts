// Every client against every server: one suite of behaviour, the reference server and the real ones alike.
// Names exist for the servers only, so a reply proves who resolved them.

import { randomBytes } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { checkServerIdentity } from 'node:tls';
import type { PeerCertificate } from 'node:tls';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startServer } from '@socksify/server';
import type { SocksProxy } from '@socksify/core';
import { CLIENTS, codeOf } from './clients.ts';
import type { Client } from './clients.ts';
import { mustSkip, SERVERS } from './interop/servers.ts';
import type { Dialect, InteropServer, Outcomes, RunningServer } from './interop/servers.ts';
import { freePort, startSite } from '@socksify/support';
import type { Site } from '@socksify/support';

const NAMES = { 'origin.test': '127.0.0.1', 'ip6.test': '::1', 'dual.test': ['::1', '127.0.0.1'] };
const all = { 4: true, '4a': true, 5: true };

// The TLS of Node 22.23 finds no IPv6 address in any certificate, with a proxy or without.
const altnames = { subjectaltname: 'IP Address:0:0:0:0:0:0:0:1', subject: {} } as unknown as PeerCertificate;
const VERIFIES_IPV6 = checkServerIdentity('::1', altnames) === undefined;

/** The reference server in the shape of a real one. */
function reference(name: string, users?: Record<string, string>): InteropServer {
  const refused = {
    4: 'ERR_SOCKS_REJECTED',
    '4a': 'ERR_SOCKS_REJECTED',
    5: 'ERR_SOCKS_CONNECTION_REFUSED',
  } as const;
  const supports = users ? { 4: false, '4a': false, 5: true, userpass: true } : { ...all, userpass: false };
  return {
    name,
    binaries: [],
    supports,
    traits: {
      connects: true,
      refused,
      unknownName: { '4a': 'ERR_SOCKS_REJECTED', 5: 'ERR_SOCKS_HOST_UNREACHABLE' },
      ...(users && { badPassword: 'ERR_SOCKS_AUTH_FAILED' }),
      noAcceptableMethod: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
      unsupported: {},
    },
    start: async () => {
      const server = await startServer({ names: NAMES, ...(users && { users }) });
      const [username, password] = Object.entries(users ?? {})[0] ?? [];
      return {
        host: '127.0.0.1',
        port: server.port,
        supports,
        ...(username !== undefined && password !== undefined && { credentials: { username, password } }),
        pids: [],
        stop: () => server.close(),
        log: () => '',
      };
    },
  };
}

const servers = [
  reference('reference server'),
  reference('reference server with password', { alice: 'secret' }),
  ...SERVERS.filter((server) => !mustSkip(server)),
];

let site: Site;
let closedPort: number;
beforeAll(async () => {
  [site, closedPort] = await Promise.all([startSite(), freePort()]);
});
afterAll(() => site.close());

test('only the servers can resolve the names', async () => {
  await expect(lookup('origin.test')).rejects.toThrow();
});

describe.each(servers)('$name', ({ start, supports, traits }) => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await start();
  });
  afterAll(() => server.stop());

  const proxy = (dialect: Dialect, password?: string): SocksProxy => {
    const { host, port, path, tls } = server;
    const credentials = server.credentials && {
      ...server.credentials,
      ...(password !== undefined && { password }),
    };
    return {
      version: dialect === 5 ? 5 : 4,
      dns: dialect === 4 ? 'local' : 'remote',
      host,
      port,
      ...(path !== undefined && { path }),
      ...(tls && { tls }),
      ...(credentials && { credentials }),
    };
  };

  const dialects = ([4, '4a', 5] as const).filter((dialect) => supports[dialect]);

  // Side by side, because tor takes seconds to refuse.
  describe.concurrent.each(CLIENTS)('$name', (client) => {
    const urls = (host: string) =>
      client.protocols.map((protocol) => `${protocol}://${host}:${site[protocol]}/`);
    const name = (dialect: Dialect) => (dialect === 4 ? '127.0.0.1' : 'origin.test');

    if (traits.connects) {
      test.each(dialects)('gets a page over SOCKS%s', async (dialect) => {
        for (const url of urls(name(dialect))) {
          const reply = await client.request(proxy(dialect), url);
          expect(reply).toMatchObject({ status: 200, host: new URL(url).host });
          expect(reply.body.toString()).toBe('hello');
        }
      });

      test('carries a body of 300 kB in both directions', async () => {
        const body = randomBytes(300_000);
        const dialect = dialects.at(-1) ?? 5;
        for (const url of urls(name(dialect))) {
          const reply = await client.request(proxy(dialect), url, { body });
          expect(reply.body.equals(body)).toBe(true);
        }
      });

      test.each(dialects.filter((dialect) => dialect === 5))('connects to IPv6 over SOCKS%s', async () => {
        const byAddress = urls('[::1]').filter((url) => VERIFIES_IPV6 || !url.startsWith('https:'));
        for (const url of [...urls('ip6.test'), ...byAddress]) {
          expect(await client.request(proxy(5), url)).toMatchObject({ status: 200, host: new URL(url).host });
        }
      });

      test('connects to an IPv4 address', async () => {
        const dialect = dialects[0] ?? 5;
        for (const url of urls('127.0.0.1')) {
          expect(await client.request(proxy(dialect), url)).toMatchObject({ status: 200 });
        }
      });
    }

    test.each(dialects.filter((dialect) => traits.refused[dialect]))(
      'fails with the code of a refused connection over SOCKS%s',
      async (dialect) => {
        const url = `${client.protocols[0]}://${dialect === 4 || traits.connects ? '127.0.0.1' : 'origin.test'}:${closedPort}/`;
        await expectOutcome(client, proxy(dialect), url, traits.refused[dialect]);
      },
    );

    test.each(dialects.filter((dialect) => dialect !== 4 && traits.unknownName[dialect]))(
      'fails with the code of an unknown name over SOCKS%s',
      async (dialect) => {
        const url = `${client.protocols[0]}://nowhere.test:${closedPort}/`;
        await expectOutcome(client, proxy(dialect), url, traits.unknownName[dialect as '4a' | 5]);
      },
    );

    test.each(traits.badPassword ? [traits.badPassword] : [])(
      'fails with a wrong password: %s',
      async (expected) => {
        const url = `${client.protocols[0]}://origin.test:${site.http}/`;
        await expectOutcome(client, proxy(5, 'wrong'), url, expected);
      },
    );
  });
});

async function expectOutcome(client: Client, proxy: SocksProxy, url: string, outcomes: Outcomes | undefined) {
  const error = await client.request(proxy, url).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  // The server has reported success, so the tunnel opens and ends. Each client has an error of its own for that.
  const ended = ['ended', 'ECONNRESET', 'UND_ERR_SOCKET', 'EPIPE'];
  expect(outcomes === 'ended' ? ended : [outcomes].flat()).toContain(codeOf(error));
}
