// Proxies that refuse, hang, close, reset or speak something else, before every client: the right code, in time,
// the proxy's socket closed, and never a request that goes direct, though the origin is within reach. Rules 6, 7, 20 and 24.

import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startScript } from '@socksify/server';
import type { ScriptStep } from '@socksify/server';
import type { ProxyRoute } from '@socksify/core';
import { proxyFromEnv } from '@socksify/env';
import { CLIENTS, codeOf } from './clients.ts';
import type { Client, RequestOptions } from './clients.ts';
import { freePort } from './interop/servers.ts';
import { startWeb } from '@socksify/origin';
import type { Web } from '@socksify/origin';

let web: Web;
beforeAll(async () => {
  web = await startWeb();
});
afterAll(() => web.close());
afterEach(() => expect(web.hits).toEqual([]));

const greeting: ScriptStep = { read: 3 };
const noAuth: ScriptStep = { send: '05 00' };
// 05 01 00 01 7f000001 port
const request: ScriptStep = { read: 10 };
const http = Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n').toString('hex');

const MISBEHAVIOUR: readonly [name: string, scheme: string, script: readonly ScriptStep[], code: string][] = [
  ['closes at once', 'socks5', [{ close: true }], 'ERR_SOCKS_PROXY_CLOSED'],
  ['resets after the greeting', 'socks5', [greeting, { reset: true }], 'ERR_SOCKS_PROXY_CLOSED'],
  ['closes after the greeting', 'socks5', [greeting, { close: true }], 'ERR_SOCKS_PROXY_CLOSED'],
  [
    'closes inside the METHOD reply',
    'socks5',
    [greeting, { send: '05' }, { close: true }],
    'ERR_SOCKS_PROXY_CLOSED',
  ],
  [
    'closes after the request',
    'socks5',
    [greeting, noAuth, request, { close: true }],
    'ERR_SOCKS_PROXY_CLOSED',
  ],
  [
    'resets after the request',
    'socks5',
    [greeting, noAuth, request, { reset: true }],
    'ERR_SOCKS_PROXY_CLOSED',
  ],
  [
    'closes inside the reply',
    'socks5',
    [greeting, noAuth, request, { send: '05 00 00 01 7f' }, { close: true }],
    'ERR_SOCKS_PROXY_CLOSED',
  ],
  ['closes after a SOCKS4 request', 'socks4a', [{ read: 9 }, { close: true }], 'ERR_SOCKS_PROXY_CLOSED'],
  ['accepts no method', 'socks5', [greeting, { send: '05 ff' }], 'ERR_SOCKS_NO_ACCEPTABLE_METHOD'],
  ['chooses a method that was not offered', 'socks5', [greeting, { send: '05 02' }], 'ERR_SOCKS_PROTOCOL'],
  [
    'refuses in two bytes and stays silent',
    'socks5',
    [greeting, noAuth, request, { send: '05 02' }],
    'ERR_SOCKS_NOT_ALLOWED',
  ],
  [
    'refuses slowly',
    'socks5',
    [greeting, noAuth, request, { sendSlowly: '05 03 00 01 00000000 0000' }],
    'ERR_SOCKS_NETWORK_UNREACHABLE',
  ],
  [
    'sends an unassigned REP',
    'socks5',
    [greeting, noAuth, request, { send: '05 63' }],
    'ERR_SOCKS_UNASSIGNED_REPLY',
  ],
  [
    'sends an unknown ATYP',
    'socks5',
    [greeting, noAuth, request, { send: '05 00 00 09 00000000 0000' }],
    'ERR_SOCKS_PROTOCOL',
  ],
  ['rejects over SOCKS4', 'socks4', [{ read: 9 }, { send: '00 5b 0000 00000000' }], 'ERR_SOCKS_REJECTED'],
  ['speaks HTTP', 'socks5', [greeting, { send: http }, { close: true }], 'ERR_SOCKS_WRONG_PROTOCOL'],
  [
    'speaks HTTP to SOCKS4',
    'socks4',
    [{ read: 9 }, { send: http }, { close: true }],
    'ERR_SOCKS_WRONG_PROTOCOL',
  ],
  [
    'wants TLS',
    'socks5',
    [greeting, { send: '15 03 01 00 02 02 16' }, { close: true }],
    'ERR_SOCKS_WRONG_PROTOCOL',
  ],
  [
    'speaks SOCKS4 only',
    'socks5',
    [greeting, { send: '00 5b 0000 00000000' }, { close: true }],
    'ERR_SOCKS_WRONG_PROTOCOL',
  ],
  [
    'speaks SOCKS5 only',
    'socks4',
    [{ read: 9 }, { send: '05 ff' }, { close: true }],
    'ERR_SOCKS_WRONG_PROTOCOL',
  ],
  ['is no TLS server', 'socks5s', [{ read: 3 }, { send: '05 00 00 01 00 00 00 00' }], 'ERR_SOCKS_PROXY_TLS'],
];

async function outcome(client: Client, route: ProxyRoute, options: RequestOptions = {}): Promise<unknown> {
  const url = `${client.protocols[0]}://127.0.0.1:${web[client.protocols[0] ?? 'http']}/`;
  return client.request(route, url, options).then(
    () => 'an answer',
    (error: unknown) => error,
  );
}

describe.each(CLIENTS)('$name', (client) => {
  test.each(MISBEHAVIOUR)('a proxy that %s', async (_, scheme, script, code) => {
    const server = await startScript(script);
    try {
      const started = performance.now();
      const error = await outcome(client, server.url(scheme));
      expect(codeOf(error)).toBe(code);
      expect(performance.now() - started).toBeLessThan(5_000);
      // One attempt, and it is over for the proxy too.
      if (!script.some((step) => 'reset' in step)) await (await server.connection()).closedByClient;
      expect(server.connections).toHaveLength(1);
    } finally {
      await server.close();
    }
  });

  const HANGING: readonly [string, readonly ScriptStep[]][] = [
    ['before the METHOD reply', [greeting, { stall: true }]],
    ['inside the reply', [greeting, noAuth, request, { send: '05 00 00' }, { stall: true }]],
  ];

  test.each(HANGING)('the deadline ends a proxy that hangs %s', async (_, script) => {
    const server = await startScript(script);
    try {
      expect(codeOf(await outcome(client, server.url('socks5'), { timeout: 150 }))).toBe('ERR_SOCKS_TIMEOUT');
      await (await server.connection()).closedByClient;
    } finally {
      await server.close();
    }
  });

  test.each(HANGING)('an abort reaches a proxy that hangs %s', async (_, script) => {
    const server = await startScript(script);
    try {
      const abort = new AbortController();
      const ended = outcome(client, server.url('socks5'), { signal: abort.signal });
      const connection = await server.connection();
      await connection.ran;
      abort.abort();
      expect(await ended).toMatchObject({ name: 'AbortError' });
      await connection.closedByClient;
    } finally {
      await server.close();
    }
  });

  test('a proxy that is not there', async () => {
    expect(codeOf(await outcome(client, `socks5://127.0.0.1:${await freePort()}`))).toBe(
      'ERR_SOCKS_PROXY_UNREACHABLE',
    );
  });

  test.each<[string, ProxyRoute]>([
    [
      'a selector that throws',
      () => {
        throw new Error('no way');
      },
    ],
    ['a selector without an answer', () => null as unknown as undefined],
    ['an environment with an HTTP proxy', proxyFromEnv({ ALL_PROXY: 'http://127.0.0.1:3128' })],
    ['an environment with nonsense', proxyFromEnv({ SOCKS_PROXY: 'nonsense' })],
  ])('%s fails', async (_, route) => {
    expect(await outcome(client, route)).toBeInstanceOf(Error);
  });

  test.each(['', 'http://127.0.0.1', '127.0.0.1:1080', 'socks6://h'])(
    'the proxy %j throws before any IO',
    async (url) => {
      expect(codeOf(await outcome(client, url))).toBe('ERR_SOCKS_INVALID_PROXY');
    },
  );
});
