// Every real server comes up, speaks as its traits say, and is gone after stop(). Bytes typed by hand, no client.

import { lookup } from 'node:dns/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startEcho } from './origin.ts';
import type { Origin } from './origin.ts';
import { freePort, isIsolated, mustSkip, SERVERS } from './servers.ts';
import type { Dialect, Outcome, Outcomes, RunningServer } from './servers.ts';
import { signalGroup } from './stage.ts';
import { dial } from './wire.ts';
import type { Wire } from './wire.ts';

type Bytes = { readonly [outcome in Outcome]?: string };

// The first two bytes of each answer. No answer but the end of the connection is an empty one.
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
const TO_ORIGIN = {
  4: (port: number) => `04 01 ${hex(port)} 7f000001 00`,
  '4a': (port: number) => `04 01 ${hex(port)} 00000001 00 6f726967696e2e74657374 00`,
  5: (port: number) => `05 01 00 03 0b 6f726967696e2e74657374 ${hex(port)}`,
};
const TO_NOWHERE = {
  '4a': (port: number) => `04 01 ${hex(port)} 00000001 00 6e6f77686572652e74657374 00`,
  5: (port: number) => `05 01 00 03 0c 6e6f77686572652e74657374 ${hex(port)}`,
};
const TO_IP6 = (port: number): string => `05 01 00 03 08 6970362e74657374 ${hex(port)}`;
const HELLO = '68656c6c6f';

let origin: Origin;
let closed: number;
beforeAll(async () => {
  origin = await startEcho();
  closed = await freePort();
});
afterAll(() => origin.close());

describe.skipIf(!isIsolated())('this process', () => {
  it.each(['origin.test', 'ip6.test', 'dual.test'])('cannot resolve %s', async (name) => {
    await expect(lookup(name)).rejects.toMatchObject({ syscall: 'getaddrinfo' });
  });
});

describe.each(SERVERS.filter((server) => !mustSkip(server)))('$name', ({ start, supports, traits }) => {
  const dialects = [4, '4a', 5] as const;
  const supported = dialects.filter((dialect) => supports[dialect]);
  const reached = traits.reaches ? supported : [];
  const wires: Wire[] = [];
  let server: RunningServer;

  beforeAll(async () => {
    server = await start();
  });

  afterAll(async () => {
    for (const wire of wires) wire.close();
    await server.stop();
  });

  it.concurrent('is gone after stop(), with a connection open', async () => {
    const another = await start();
    const wire = await dial(another);
    expect(another.pids.length).toBeGreaterThan(0);
    expect(another.pids.filter(isAlive)).toEqual(another.pids);
    await another.stop();
    expect(another.pids.filter(isAlive)).toEqual([]);
    await expect(dial(another)).rejects.toMatchObject({ code: another.path ? 'ENOENT' : 'ECONNREFUSED' });
    wire.close();
  });

  const open = async (): Promise<Wire> => {
    const wire = await dial(server);
    wires.push(wire);
    return wire;
  };

  /** A connection on which only the request is missing. */
  const openFor = async (dialect: Dialect): Promise<Wire> => {
    const wire = await open();
    if (dialect !== 5) return wire;
    const method = server.credentials ? '02' : '00';
    await say(wire, `05 01 ${method}`, `05${method}`);
    if (server.credentials) await say(wire, '01 05 616c696365 06 736563726574', '0100');
    return wire;
  };

  it.concurrent.each(reached)('carries bytes to origin.test over SOCKS%s', async (dialect) => {
    const wire = await openFor(dialect);
    wire.send(TO_ORIGIN[dialect](origin.port));
    expect(await readReply(wire, dialect)).toBe(GRANTED[dialect]);
    wire.send(HELLO);
    expect(await wire.read(5)).toBe(HELLO);
  });

  it.concurrent.each(reached.filter((dialect) => dialect === 5))(
    'carries bytes to ip6.test over SOCKS%s',
    async (dialect) => {
      const wire = await openFor(dialect);
      wire.send(TO_IP6(origin.port));
      expect(await readReply(wire, dialect)).toBe(GRANTED[dialect]);
      wire.send(HELLO);
      expect(await wire.read(5)).toBe(HELLO);
    },
  );

  it.concurrent.each(supported)('refuses a closed port over SOCKS%s', async (dialect) => {
    const wire = await openFor(dialect);
    wire.send(TO_ORIGIN[dialect](closed));
    expect(await readReply(wire, dialect)).toBeOneOf(eachOf(traits.refused[dialect], REPLY[dialect]));
    expect(await wire.read(1)).toBe('');
  });

  it.concurrent.each(supported.filter((dialect) => dialect !== 4))(
    'refuses an unknown name over SOCKS%s',
    async (dialect) => {
      const wire = await openFor(dialect);
      wire.send(TO_NOWHERE[dialect](origin.port));
      expect(await readReply(wire, dialect)).toBeOneOf(eachOf(traits.unknownName[dialect], REPLY[dialect]));
      expect(await wire.read(1)).toBe('');
    },
  );

  it.concurrent.each(dialects.filter((dialect) => !supports[dialect]))(
    'does not speak SOCKS%s',
    async (dialect) => {
      const wire = await openFor(dialect);
      wire.send(TO_ORIGIN[dialect](origin.port));
      expect(await readReply(wire, dialect)).toBe(bytesOf(traits.unsupported[dialect], REPLY[dialect]));
      expect(await wire.read(1)).toBe('');
    },
  );

  it.concurrent.each(traits.forbidden ? [traits.forbidden] : [])(
    'refuses $host, which its rules forbid',
    async ({ host, outcome }) => {
      expect(host).toBe('127.0.0.66');
      const wire = await openFor(5);
      wire.send(`05 01 00 01 7f000042 ${hex(origin.port)}`);
      expect(await readReply(wire, 5)).toBe(bytesOf(outcome, REPLY5));
    },
  );

  it.concurrent('accepts none of the methods that it does not know', async () => {
    // 80 is for private methods: nobody's. Who demands credentials does not do without.
    const offers = ['80'];
    if (server.credentials) offers.push('00');
    if (!supports.userpass) offers.push('02');
    const no = bytesOf(traits.noAcceptableMethod, METHOD);
    for (const method of offers) {
      const wire = await open();
      wire.send(`05 01 ${method}`);
      expect([method, await wire.read(Infinity)]).toEqual([method, no]);
    }
  });

  it.concurrent('chooses a method', async () => {
    const wire = await open();
    wire.send('05 02 00 02');
    expect(await wire.read(2)).toBe(supports.userpass ? '0502' : '0500');
  });

  it.concurrent.each(supports.userpass ? [traits.badPassword] : [])(
    'judges a wrong password: %s',
    async (outcome) => {
      const wire = await open();
      await say(wire, '05 01 02', '0502');
      wire.send('01 05 616c696365 03 626164');
      expect(await wire.read(2)).toMatch(outcome === 'ERR_SOCKS_AUTH_FAILED' ? /^01(?!00)/ : /^0100$/);
    },
  );
});

async function say(wire: Wire, hexadecimal: string, answer: string): Promise<void> {
  wire.send(hexadecimal);
  expect(await wire.read(answer.length / 2)).toBe(answer);
}

/** The first two bytes of a reply. The rest of it is read too, but nothing behind it. */
async function readReply(wire: Wire, dialect: Dialect): Promise<string> {
  const reply = await wire.read(2);
  if (reply !== GRANTED[dialect]) await wire.read(Infinity);
  else if (dialect !== 5) await wire.read(6);
  else await wire.read((await wire.read(2)) === '0001' ? 6 : 18);
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

function hex(port: number): string {
  return port.toString(16).padStart(4, '0');
}

function isAlive(pid: number): boolean {
  return signalGroup(pid, 0);
}
