// A proxy that closes, resets or falls silent after any byte of any conversation, its own or the client's, and one
// that sends each byte by itself, before every client.

import { startSite } from '@socksify/support';
import type { Site } from '@socksify/support';
import { CONVERSATIONS, lengthOf, slowly, stopping, STOPS } from '@socksify/server';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { held, inject, ONCE, reportFaults, together } from './faults.ts';

const PLACES = Object.entries(CONVERSATIONS).flatMap(([name, conversation]) =>
  Array.from({ length: lengthOf(conversation) }, (_, n) => ({ name, conversation, n })),
);

/** Enough for a slow machine to say all it has to say, before it stalls. */
const DEADLINE = 600;

let site: Site;
let before: ReturnType<typeof held>;
beforeAll(async () => {
  site = await startSite();
  before = held();
});
afterAll(() => site.close());
reportFaults(`${ONCE.length} clients, ${PLACES.length} places to close, reset or stall`);
afterEach(() => expect(site.hits).toEqual([]));

describe.each(ONCE)('$name', (row) => {
  // Only the site is open while no test runs.
  afterEach(() => expect.poll(held, { interval: 5 }).toEqual(before));

  test.each(Object.entries(STOPS))(
    'fails without a hang before a proxy that %s after any byte',
    { timeout: 60_000 },
    async (how, last) => {
      const timeout = how === 'stalls' ? DEADLINE : 15_000;
      const all = how === 'stalls' ? PLACES.length : undefined;
      const inject1 = async ({ name, conversation, n }: (typeof PLACES)[number]) => {
        const { code, attempts } = await inject(row, stopping(conversation, n, last), site, { timeout });
        return { name, n, code, attempts };
      };
      expect(await together(PLACES, inject1, all)).toEqual(
        PLACES.map(({ name, n }) => ({ name, n, code: expectedCode(how, n), attempts: 1 })),
      );
    },
  );

  test.each(Object.entries(CONVERSATIONS))('reads one byte at a time over %s', async (_, conversation) => {
    const { client, script } = slowly(conversation);
    // The tunnel has been opened, so that its end is no fault of the handshake.
    const { code, attempts } = await inject(row, { client, script: [...script, { close: true }] }, site);
    expect(code).not.toMatch(/^ERR_SOCKS_|^an answer$/);
    expect(attempts).toBe(1);
  });
});

function expectedCode(how: string, n: number): unknown {
  if (how === 'stalls') return 'ERR_SOCKS_TIMEOUT';
  // A reset that comes with the connection can make the dial itself fail.
  if (how === 'resets' && n === 0) return expect.stringMatching(/^ERR_SOCKS_PROXY_(?:CLOSED|UNREACHABLE)$/);
  return 'ERR_SOCKS_PROXY_CLOSED';
}
