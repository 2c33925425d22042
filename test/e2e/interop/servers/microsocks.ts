// microsocks. Answers SOCKS4 as if it were a SOCKS5 greeting without an acceptable method.

import { freePort } from '@socksify/support';
import { CREDENTIALS } from '../machine.ts';
import type { InteropServer } from '../server-traits.ts';
import { defineServer } from '../server-process.ts';

const TRAITS = {
  connects: true,
  refused: { 5: 'ERR_SOCKS_CONNECTION_REFUSED' },
  unknownName: { 5: 'ERR_SOCKS_GENERAL_FAILURE' },
  noAcceptableMethod: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
  unsupported: { 4: 'ERR_SOCKS_WRONG_PROTOCOL', '4a': 'ERR_SOCKS_WRONG_PROTOCOL' },
} as const;

export const microsocks: InteropServer = defineServer({
  name: 'microsocks',
  binaries: ['microsocks'],
  supports: { 4: false, '4a': false, 5: true, userpass: false },
  traits: TRAITS,
  setUp: async ({ start }) => {
    const port = await freePort();
    await start({ port }, 'microsocks', '-i', '127.0.0.1', '-p', `${port}`);
    return { port };
  },
});

export const microsocksUserpass: InteropServer = defineServer({
  name: 'microsocks with a password',
  binaries: ['microsocks'],
  supports: { 4: false, '4a': false, 5: true, userpass: true },
  traits: { ...TRAITS, badPassword: 'ERR_SOCKS_AUTH_FAILED' },
  setUp: async ({ start }) => {
    const port = await freePort();
    const { username, password } = CREDENTIALS;
    const account = ['-u', username, '-P', password];
    await start({ port }, 'microsocks', '-i', '127.0.0.1', '-p', `${port}`, ...account);
    return { port, credentials: CREDENTIALS };
  },
});
