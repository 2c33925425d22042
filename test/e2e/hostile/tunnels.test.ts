// Tunnels that were granted and then break, before every client: the error that its own API gives, never a hang, and
// never a part of an answer taken for the whole.

import { once } from 'node:events';
import { connect, SocksClient } from '@socksify/core';
import { startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { BROKEN_TUNNELS, granting, PIPELINED, startRelay, startScript, startServer } from '@socksify/server';
import type { Loss, Relay, RelayOptions, SocksServer } from '@socksify/server';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { CLIENTS } from '../clients.ts';
import { ALL, countFault, held, inject, reportFaults, request, together, within } from './faults.ts';
import type { Row } from './faults.ts';

let site: Site;
let server: SocksServer;
let before: ReturnType<typeof held>;
beforeAll(async () => {
  site = await startSite();
  server = await startServer();
  before = held();
});
afterAll(async () => {
  await server.close();
  await site.close();
});

/** What an API says of a connection that ended too early; `ended` is how the tests' own reader of sockets says it. */
const BROKEN: Readonly<Record<string, RegExp>> = {
  'core connect': /^(?:ended|ECONNRESET)$/,
  'http.request': /^ECONNRESET$/,
  'https.request': /^ECONNRESET$/,
};
// Junk instead of HTTP or TLS is for its parser. That of undici 7 and 8 has no code for it.
const JUNK =
  /^(?:ended|HTTPParserError|ECONNRESET|EPIPE|UND_ERR_SOCKET|HPE_INVALID_\w+|HPE_CR_EXPECTED|ERR_SSL_\w+)$/;
const broken = ({ client }: Row): RegExp => BROKEN[client.name] ?? /^(?:UND_ERR_SOCKET|ECONNRESET)$/;

/** Answered with itself. Much more than the buffers of the first segments. */
const BODY = Buffer.alloc(512 * 1024, 'socksify');
/** 05 00, 05 00 00 01 7f000001 port. */
const HANDSHAKE = 12;

const LOSSES: readonly [name: string, lose: NonNullable<RelayOptions['lose']>][] = (
  ['close', 'reset', 'silence'] as const
).flatMap((how) => [
  [`${how} as soon as the tunnel is there`, { after: HANDSHAKE, how }] as [
    string,
    { after: number; how: Loss },
  ],
  [`${how} in mid-transfer`, { after: HANDSHAKE + 100_000, how }] as [string, { after: number; how: Loss }],
]);

const TRIED = Object.keys({ ...BROKEN_TUNNELS, ...PIPELINED }).length + LOSSES.length;
reportFaults(`${CLIENTS.length} clients, ${TRIED} broken tunnels`);

describe.each(ALL)('$name', (row) => {
  // The site keeps no connection open either.
  afterEach(() => expect.poll(held, { interval: 5 }).toEqual(before));

  test('fails with the right error when the proxy breaks a tunnel that it granted', async () => {
    const hits = site.hits.length;
    const cases = Object.entries(BROKEN_TUNNELS);
    const endings = await together(cases, async ([name, misbehaviour]) => {
      const { code, attempts } = await inject(row, misbehaviour, site);
      return [name, { code, attempts }];
    });
    expect(Object.fromEntries(endings)).toEqual(
      Object.fromEntries(
        cases.map(([name]) => {
          const code = expect.stringMatching(name.includes('junk') ? JUNK : broken(row));
          return [name, { code, attempts: 1 }];
        }),
      ),
    );
    expect(site.hits.length).toBe(hits);
  });

  test('reads an answer in the segment of the reply', async () => {
    const early = 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nearly';
    const { reply, code } = await inject(
      row,
      granting(Buffer.from(early).toString('hex'), { close: true }),
      site,
    );
    if (row.protocol === 'http') expect(reply?.body.toString()).toBe('early');
    else expect(code).toMatch(JUNK);
  });

  test.each(LOSSES)('fails when the link is lost by a %s', async (_, lose) => {
    // A tunnel of the core is a socket, to be watched by whoever has it.
    if (row.client.name === 'core connect' && lose.how === 'silence') {
      await silenceOf(row, lose);
      return;
    }
    await over({ lose }, async (relay) => {
      countFault();
      const abort = new AbortController();
      if (lose.how === 'silence') relay.once('lost', () => abort.abort());
      const { code, reply } = await request(row, `socks5://127.0.0.1:${relay.port}`, site, {
        body: BODY,
        signal: abort.signal,
      });
      // All that a bare socket says of a FIN is that it is the end.
      if (row.client.name === 'core connect' && reply) expect(reply.body.length).toBeLessThan(BODY.length);
      else expect(code).toMatch(lose.how === 'silence' ? /^AbortError$/ : broken(row));
      // The relay cannot see what a client does whose connection it has reset.
      if (lose.how !== 'reset') await ended(relay);
      expect({ accepted: relay.accepted, lost: relay.lost }).toEqual({ accepted: 1, lost: 1 });
    });
  });

  test.each(['close', 'reset', 'silence'] as const)(
    'fails during the %s of every link, and works again afterwards',
    async (how) => {
      await over({}, async (relay) => {
        const proxy = `socks5://127.0.0.1:${relay.port}`;
        relay.cut(how);
        countFault();
        const { code } = await request(row, proxy, site, { timeout: how === 'silence' ? 200 : 15_000 });
        const gone = /^ERR_SOCKS_PROXY_(?:CLOSED|UNREACHABLE)$/;
        expect(code).toMatch(how === 'silence' ? /^ERR_SOCKS_TIMEOUT$/ : gone);
        expect(relay.accepted).toBe(1);
        relay.restore();
        expect((await request(row, proxy, site, { body: BODY })).reply?.body.equals(BODY)).toBe(true);
      });
    },
  );

  test.each([
    { up: 2_000, down: 0 },
    { up: 0, down: 2_000 },
  ])('fails at a time limit shorter than the delay of $up ms up and $down ms down', async (delay) => {
    await over({ delay }, async (relay) => {
      countFault();
      const { code } = await request(row, `socks5://127.0.0.1:${relay.port}`, site, { timeout: 200 });
      expect(code).toBe('ERR_SOCKS_TIMEOUT');
      await ended(relay);
    });
  });

  test('works over a slow link without a time limit', async () => {
    await over({ delay: { up: 20, down: 5 } }, async (relay) => {
      const started = performance.now();
      const { reply } = await request(row, `socks5://127.0.0.1:${relay.port}`, site, { body: BODY });
      expect(reply?.body.equals(BODY)).toBe(true);
      // Greeting, request, HTTP.
      expect(performance.now() - started).toBeGreaterThan(3 * 25 - 5);
    });
  });
});

test('no client has connected directly', () => {
  const through = new Set(server.log.map(({ outgoingPort }) => outgoingPort));
  expect(site.hits.filter((port) => !through.has(port))).toEqual([]);
});

describe('a pipelined request', () => {
  const [microsocks, tor, dante] = [
    'microsocks, pipelined',
    'tor, pipelined',
    'dante, banner in the segment of the reply',
  ];

  async function pipelined(
    name: string | undefined,
    use: (proxy: string) => Promise<unknown>,
  ): Promise<number> {
    const { client, script } = PIPELINED[name ?? ''] ?? { client: '', script: [] };
    countFault();
    const scripted = await startScript(script);
    try {
      await within(use(`${client}127.0.0.1:${scripted.port}`), String(name));
      return scripted.connections.length;
    } finally {
      await scripted.close();
    }
  }
  const tunnel = (proxy: string) =>
    new SocksClient(proxy, { pipeline: true }).connect({ host: '127.0.0.1', port: 80 });

  test('is sent again message by message when the proxy drops what comes with the greeting', async () => {
    const attempts = await pipelined(microsocks, async (proxy) => (await tunnel(proxy)).socket.destroy());
    expect(attempts).toBe(2);
  });

  test('is granted by a proxy that leaves out 05 02', async () => {
    expect(await pipelined(tor, async (proxy) => (await tunnel(proxy)).socket.destroy())).toBe(1);
  });

  test('leaves a banner behind the replies to the application', async () => {
    const attempts = await pipelined(dante, async (proxy) => {
      const { socket } = await tunnel(proxy);
      const [banner] = (await once(socket, 'data')) as [Buffer];
      expect(banner.toString()).toBe('220 hello\r\n');
      socket.destroy();
    });
    expect(attempts).toBe(1);
  });
});

/** With a relay before the proxy. */
async function over(options: Omit<RelayOptions, 'to'>, use: (relay: Relay) => Promise<void>): Promise<void> {
  const relay = await startRelay({ to: server.port, ...options });
  try {
    await use(relay);
  } finally {
    await relay.close();
    await server.idle();
  }
}

/** Until all clients of the relay have ended their side. */
async function ended(relay: Relay): Promise<void> {
  while (relay.ended < relay.accepted) await within(once(relay, 'ended'), 'the socket of the client');
}

async function silenceOf({ protocol }: Row, lose: NonNullable<RelayOptions['lose']>): Promise<void> {
  await over({ lose }, async (relay) => {
    countFault();
    const { socket } = await connect(`socks5://127.0.0.1:${relay.port}`, {
      host: '127.0.0.1',
      port: site[protocol],
    });
    socket.write(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${BODY.length}\r\n\r\n`);
    socket.resume().setTimeout(200).write(BODY);
    if (protocol === 'http') await within(once(socket, 'timeout'), 'a tunnel that was cut');
    socket.destroy();
    await ended(relay);
  });
}
