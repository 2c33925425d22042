// tor without a network: it opens no tunnel, refuses as tor does, and accepts every password.

import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '@socksify/support';
import type { InteropServer } from '../server-traits.ts';
import { defineServer } from '../server-process.ts';
import type { Entry, ServerSetup } from '../server-process.ts';

/** A name waits for the timeout, unless tor has found out meanwhile that it cannot build circuits. */
const NO_CIRCUIT = ['ERR_SOCKS_TTL_EXPIRED', 'ERR_SOCKS_GENERAL_FAILURE'] as const;

/** Seconds until tor gives up a request for which it has no circuit. */
const SOCKS_TIMEOUT = 2;

async function setUp({ dir, write, start }: ServerSetup): Promise<{ port: number; path: string }> {
  const port = await freePort();
  const [data, folder] = [join(dir, 'data'), join(dir, 'unix')];
  const path = join(folder, 'socks');
  await mkdir(folder, { mode: 0o700 });
  const config = `
DataDirectory ${data}
SocksPort 127.0.0.1:${port} ExtendedErrors
SocksPort unix:${path} ExtendedErrors
SocksTimeout ${SOCKS_TIMEOUT}
ClientOnly 1
Log notice stderr
`;
  const [defaults, file] = [await write('defaults', ''), await write('torrc', config)];
  await start({ path }, 'tor', '--defaults-torrc', defaults, '-f', file);
  return { port, path };
}

const TOR = {
  binaries: ['tor'],
  supports: { 4: true, '4a': true, 5: true, userpass: true },
  traits: {
    connects: false,
    // An internal address is refused at once, a name only after the timeout.
    refused: { 4: 'ERR_SOCKS_REJECTED', '4a': 'ERR_SOCKS_REJECTED', 5: NO_CIRCUIT },
    unknownName: { '4a': 'ERR_SOCKS_REJECTED', 5: NO_CIRCUIT },
    noAcceptableMethod: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
    unsupported: {},
  },
} as const;

export const tor: InteropServer = defineServer({
  ...TOR,
  name: 'tor',
  setUp: async (setup): Promise<Entry> => ({ port: (await setUp(setup)).port }),
});

export const torUnix: InteropServer = defineServer({
  ...TOR,
  name: 'tor on a Unix socket',
  setUp: async (setup): Promise<Entry> => ({ path: (await setUp(setup)).path }),
});
