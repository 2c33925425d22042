// Every real server starts, speaks as its traits say, and is gone after stop(). The tests send typed bytes.

import { lookup } from 'node:dns/promises';
import { freePort, portHex, startEcho } from '@socksify/support';
import type { RawClient, TcpDestination } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isIsolated, mustSkip, SERVERS } from './servers.ts';
import type { Dialect, Outcome, Outcomes, RunningServer } from './servers.ts';
import { dialServer } from './server-client.ts';
import { signalGroup } from './server-process.ts';

type Bytes = { readonly [outcome in Outcome]?: string };

// The first two bytes of each answer; empty when the server closes without an answer.
const METHOD: Bytes = {
  ERR_SOCKS_NO_ACCEPTABLE_METHOD: '05ff',
  ERR_SOCKS_PROXY_CLOSED: '',
};
const REPLY4: Bytes = {
  ended: '005a',
  ERR_SOCKS_REJECTED: '005b',
  ERR_SOCKS_WRONG_PROTOCOL: '05ff',
  ERR_SOCKS_PROXY_CLOSED: '',
};
const REPLY5: Bytes = {
  ended: '0500',
  ERR_SOCKS_GENERAL_FAILURE: '0501',
  ERR_SOCKS_NOT_ALLOWED: '0502',
  ERR_SOCKS_HOST_UNREACHABLE: '0504',
  ERR_SOCKS_CONNECTION_REFUSED: '0505',
  ERR_SOCKS_TTL_EXPIRED: '0506',
  ERR_SOCKS_PROXY_CLOSED: '',
};
const REPLY = { 4: REPLY4, '4a': REPLY4, 5: REPLY5 } as const;
const GRANTED = { 4: '005a', '4a': '005a', 5: '0500' } as const;

// SOCKS4 to 127.0.0.1, the others to origin.test.
const TO_ECHO = {
  4: (port: number) => `04 01 ${portHex(port)} 7f000001 00`,
  '4a': (port: number) => `04 01 ${portHex(port)} 00000001 00 6f726967696e2e74657374 00`,
  5: (port: number) => `05 01 00 03 0b 6f726967696e2e74657374 ${portHex(port)}`,
};
const TO_NOWHERE = {
  '4a': (port: number) => `04 01 ${portHex(port)} 00000001 00 6e6f77686572652e74657374 00`,
  5: (port: number) => `05 01 00 03 0c 6e6f77686572652e74657374 ${portHex(port)}`,
};
const TO_IP6 = (port: number): string => `05 01 00 03 08 6970362e74657374 ${portHex(port)}`;
const HELLO = '68656c6c6f';

let echo: TcpDestination;
let closed: number;
beforeAll(async () => {
  echo = await startEcho();
  closed = await freePort();
});
afterAll(() => echo.close());

describe.skipIf(!isIsolated())('this process', () => {
  test.each(['origin.test', 'ip6.test', 'dual.test'])('cannot resolve %s', async (name) => {
    await expect(lookup(name)).rejects.toMatchObject({ syscall: 'getaddrinfo' });
  });
});

describe.each(SERVERS.filter((server) => !mustSkip(server)))('$name', ({ start, supports, traits }) => {
  const dialects = [4, '4a', 5] as const;
  const supported = dialects.filter((dialect) => supports[dialect]);
  const connecting = traits.connects ? supported : [];
  const clients: RawClient[] = [];
  let server: RunningServer;

  beforeAll(async () => {
    server = await start();
  });

  afterAll(async () => {
    for (const client of clients) client.stream.destroy();
    await server.stop();
  });

  test.concurrent('is gone after stop(), with a connection open', async () => {
    const another = await start();
    const client = await dialServer(another);
    expect(another.pids.length).toBeGreaterThan(0);
    expect(another.pids.filter(isAlive)).toEqual(another.pids);
    await another.stop();
    expect(another.pids.filter(isAlive)).toEqual([]);
    await expect(dialServer(another)).rejects.toMatchObject({
      code: another.path ? 'ENOENT' : 'ECONNREFUSED',
    });
    client.stream.destroy();
  });

  const open = async (): Promise<RawClient> => {
    const client = await dialServer(server);
    clients.push(client);
    return client;
  };

  /** A connection on which only the request is missing. */
  const openFor = async (dialect: Dialect): Promise<RawClient> => {
    const client = await open();
    if (dialect !== 5) return client;
    const method = server.credentials ? '02' : '00';
    await say(client, `05 01 ${method}`, `05${method}`);
    if (server.credentials) await say(client, '01 05 616c696365 06 736563726574', '0100');
    return client;
  };

  /** The answer to the request, behind which the server closes. */
  const refusalOf = async (dialect: Dialect, request: string): Promise<string> => {
    const client = await openFor(dialect);
    client.send(request);
    const answer = await readReply(client, dialect);
    expect(await client.receiveUpTo(1)).toBe('');
    return answer;
  };

  test.concurrent.each(connecting)('carries bytes to origin.test over SOCKS%s', async (dialect) => {
    const client = await openFor(dialect);
    client.send(TO_ECHO[dialect](echo.port));
    expect(await readReply(client, dialect)).toBe(GRANTED[dialect]);
    client.send(HELLO);
    expect(await client.receiveUpTo(5)).toBe(HELLO);
  });

  test.concurrent.each(connecting.filter((dialect) => dialect === 5))(
    'carries bytes to ip6.test over SOCKS%s',
    async (dialect) => {
      const client = await openFor(dialect);
      client.send(TO_IP6(echo.port));
      expect(await readReply(client, dialect)).toBe(GRANTED[dialect]);
      client.send(HELLO);
      expect(await client.receiveUpTo(5)).toBe(HELLO);
    },
  );

  test.concurrent.each(supported)('refuses a closed port over SOCKS%s', async (dialect) => {
    const answer = await refusalOf(dialect, TO_ECHO[dialect](closed));
    expect(answer).toBeOneOf(eachOf(traits.refused[dialect], REPLY[dialect]));
  });

  test.concurrent.each(supported.filter((dialect) => dialect !== 4))(
    'refuses an unknown name over SOCKS%s',
    async (dialect) => {
      const answer = await refusalOf(dialect, TO_NOWHERE[dialect](echo.port));
      expect(answer).toBeOneOf(eachOf(traits.unknownName[dialect], REPLY[dialect]));
    },
  );

  test.concurrent.each(dialects.filter((dialect) => !supports[dialect]))(
    'does not speak SOCKS%s',
    async (dialect) => {
      const answer = await refusalOf(dialect, TO_ECHO[dialect](echo.port));
      expect(answer).toBe(bytesOf(traits.unsupported[dialect], REPLY[dialect]));
    },
  );

  test.concurrent.each(traits.forbidden ? [traits.forbidden] : [])(
    'refuses $host, which its rules forbid',
    async ({ host, outcome }) => {
      expect(host).toBe('127.0.0.66');
      const client = await openFor(5);
      client.send(`05 01 00 01 7f000042 ${portHex(echo.port)}`);
      expect(await readReply(client, 5)).toBe(bytesOf(outcome, REPLY5));
    },
  );

  test.concurrent('accepts none of the methods that it does not know', async () => {
    // 80 is a private method, which no server accepts. A server that demands credentials refuses 00 too.
    const offers = ['80'];
    if (server.credentials) offers.push('00');
    if (!supports.userpass) offers.push('02');
    const no = bytesOf(traits.noAcceptableMethod, METHOD);
    for (const method of offers) {
      const client = await open();
      client.send(`05 01 ${method}`);
      expect([method, await client.receiveUpTo(Infinity)]).toEqual([method, no]);
    }
  });

  test.concurrent('chooses user and password when it supports them', async () => {
    const client = await open();
    client.send('05 02 00 02');
    expect(await client.receiveUpTo(2)).toBe(supports.userpass ? '0502' : '0500');
  });

  test.concurrent.each(supports.userpass ? [traits.badPassword] : [])(
    'answers a wrong password with %s',
    async (outcome) => {
      const client = await open();
      await say(client, '05 01 02', '0502');
      client.send('01 05 616c696365 03 626164');
      expect(await client.receiveUpTo(2)).toMatch(
        outcome === 'ERR_SOCKS_AUTH_FAILED' ? /^01(?!00)/ : /^0100$/,
      );
    },
  );
});

async function say(client: RawClient, hexadecimal: string, answer: string): Promise<void> {
  client.send(hexadecimal);
  expect(await client.receiveUpTo(answer.length / 2)).toBe(answer);
}

/** The first two bytes of a reply. All of the reply is read, and nothing behind it. */
async function readReply(client: RawClient, dialect: Dialect): Promise<string> {
  const reply = await client.receiveUpTo(2);
  if (reply !== GRANTED[dialect]) await client.receiveUpTo(Infinity);
  else if (dialect !== 5) await client.receiveUpTo(6);
  else await client.receiveUpTo((await client.receiveUpTo(2)) === '0001' ? 6 : 18);
  return reply;
}

function eachOf(outcomes: Outcomes | undefined, table: Bytes): string[] {
  return [outcomes].flat().map((outcome) => bytesOf(outcome, table));
}

function bytesOf(outcome: Outcome | undefined, table: Bytes): string {
  const bytes = outcome && table[outcome];
  if (bytes === undefined) throw new Error(`no bytes mean ${outcome}`);
  return bytes;
}

function isAlive(pid: number): boolean {
  return signalGroup(pid, 0);
}
