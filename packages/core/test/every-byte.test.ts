// A server that closes, resets or falls silent after every single byte of every conversation: the error has the right
// code and phase, comes at once, and the socket to the proxy is closed.

import { startScript } from '@socksify/server';
import type { ScriptStep } from '@socksify/server';
import { countSockets, rejection } from '@socksify/support';
import { describe, expect, test } from 'vitest';
import { connect, SocksError } from '../src/index.ts';
import type { ConnectOptions } from '../src/index.ts';

/** What the client sends by its length, the phase in which it waits for the answer, and the answer. */
type Round = readonly [sends: number, phase: string, answer: string];
interface Conversation {
  readonly name: string;
  /** The URL up to the host. */
  readonly scheme: string;
  readonly rounds: readonly Round[];
}

const DESTINATION = { host: 'a.test', port: 80 };
const GREETING: Round = [3, 'greeting', '05 00'];
// 05 01 00 03 06 "a.test" 0050
const REQUEST = 13;
const IPV4 = '05 00 00 01 7f000001 1f90';

const CONVERSATIONS: readonly Conversation[] = [
  // 04 01 0050 7f000001 00
  { name: 'SOCKS4', scheme: 'socks4://', rounds: [[9, 'request', '00 5a 0050 7f000001']] },
  // 04 01 0050 00000001 00 "a.test" 00
  { name: 'SOCKS4A', scheme: 'socks4a://', rounds: [[16, 'request', '00 5a 0050 7f000001']] },
  { name: 'SOCKS5', scheme: 'socks5://', rounds: [GREETING, [REQUEST, 'request', IPV4]] },
  {
    name: 'SOCKS5, bound to IPv6',
    scheme: 'socks5://',
    rounds: [GREETING, [REQUEST, 'request', '05 00 00 04 20010db8000000000000000000000001 1f90']],
  },
  {
    name: 'SOCKS5, bound to a name',
    scheme: 'socks5://',
    rounds: [GREETING, [REQUEST, 'request', '05 00 00 03 09 622e6578616d706c65 1f90']],
  },
  {
    name: 'SOCKS5 with a password',
    scheme: 'socks5://user:pass@',
    // 05 02 02 00; 01 04 "user" 04 "pass"
    rounds: [
      [4, 'greeting', '05 02'],
      [11, 'authentication', '01 00'],
      [REQUEST, 'request', IPV4],
    ],
  },
];

const octets = (hex: string): string[] => hex.match(/[0-9a-f]{2}/g) ?? [];

/** Every place at which the server can stop: the script up to there, and the phase. */
function* stops({ rounds }: Conversation): Generator<{ script: ScriptStep[]; phase: string }> {
  const script: ScriptStep[] = [];
  for (const [sends, phase, answer] of rounds) {
    script.push({ read: sends });
    const whole = octets(answer);
    for (let length = 0; length < whole.length; length++) {
      const part: ScriptStep[] = length === 0 ? [] : [{ send: whole.slice(0, length).join('') }];
      yield { script: [...script, ...part], phase };
    }
    script.push({ send: answer });
  }
}

const ENDS = {
  closes: { last: { close: true }, code: 'ERR_SOCKS_PROXY_CLOSED', timeout: 20_000 },
  resets: { last: { reset: true }, code: 'ERR_SOCKS_PROXY_CLOSED', timeout: 20_000 },
  stalls: { last: { stall: true }, code: 'ERR_SOCKS_TIMEOUT', timeout: 1_500 },
} as const;

/** For SOCKS4, whose names are looked up by the client. */
const lookup: NonNullable<ConnectOptions['lookup']> = (_name, _options, done) =>
  done(null, [{ address: '127.0.0.1', family: 4 }]);

async function outcome(scheme: string, script: readonly ScriptStep[], how: keyof typeof ENDS) {
  const { last, timeout } = ENDS[how];
  const server = await startScript([...script, last]);
  const url = `${scheme}127.0.0.1:${server.port}`;
  const started = performance.now();
  try {
    const error = await rejection(connect(url, DESTINATION, { timeout, lookup }));
    const waited = performance.now() - started;
    const connection = await server.connection();
    await connection.ran;
    const gone = how === 'resets' ? 'reset' : await connection.closedByClient;
    return { error, waited, gone, connections: server.connections.length };
  } finally {
    await server.close();
  }
}

describe.each(CONVERSATIONS)('a conversation in $name', (conversation) => {
  test.each(['closes', 'resets', 'stalls'] as const)(
    'fails with the right code and phase when the server %s after any byte',
    async (how) => {
      const before = countSockets();
      const places = [...stops(conversation)];
      const ended = await Promise.all(places.map(({ script }) => outcome(conversation.scheme, script, how)));
      const { code } = ENDS[how];
      expect(ended.map(({ error }) => summary(error))).toEqual(
        places.map(({ phase }) => ({ name: 'SocksError', code, phase })),
      );
      for (const { waited, gone, connections } of ended) {
        // Far below the deadline of a close or a reset, and not far beyond that of a stall.
        expect(waited).toBeLessThan(8_000);
        expect(gone).toMatch(/^(?:fin|reset)$/);
        expect(connections).toBe(1);
      }
      await expect.poll(countSockets).toBe(before);
    },
  );
});

test('every conversation here is granted when the server sends all of it', async () => {
  for (const { scheme, rounds } of CONVERSATIONS) {
    const script = rounds.flatMap(([sends, , answer]): ScriptStep[] => [{ read: sends }, { send: answer }]);
    expect(await granted(scheme, script)).toBe(true);
  }
});

async function granted(scheme: string, script: readonly ScriptStep[]): Promise<boolean> {
  const server = await startScript(script);
  try {
    const { socket } = await connect(`${scheme}127.0.0.1:${server.port}`, DESTINATION, { lookup });
    socket.destroy();
    return true;
  } finally {
    await server.close();
  }
}

function summary(error: unknown): object {
  if (!(error instanceof SocksError)) return { error };
  const { name, code, phase } = error;
  return { name, code, phase };
}
