// V2Ray. Says yes before it dials, whatever the dialect.

import { freePort } from '@socksify/support';
import { CREDENTIALS } from '../machine.ts';
import type { InteropServer } from '../server-traits.ts';
import { defineServer } from '../server-process.ts';
import type { ServerSetup } from '../server-process.ts';

async function setUp({ write, start }: ServerSetup, settings: object): Promise<number> {
  const port = await freePort();
  const inbound = { listen: '127.0.0.1', port, protocol: 'socks', settings: { ...settings, udp: true } };
  const config = { inbounds: [inbound], outbounds: [{ protocol: 'freedom' }] };
  await start({ port }, 'v2ray', '-config', await write('config.json', JSON.stringify(config)));
  return port;
}

export const v2ray: InteropServer = defineServer({
  name: 'v2ray',
  binaries: ['v2ray'],
  supports: { 4: true, '4a': true, 5: true, userpass: false },
  traits: {
    connects: true,
    refused: { 4: 'ended', '4a': 'ended', 5: 'ended' },
    unknownName: { '4a': 'ended', 5: 'ended' },
    noAcceptableMethod: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
    unsupported: {},
  },
  setUp: async (setup) => ({ port: await setUp(setup, { auth: 'noauth' }) }),
});

export const v2rayUserpass: InteropServer = defineServer({
  name: 'v2ray with a password',
  binaries: ['v2ray'],
  supports: { 4: false, '4a': false, 5: true, userpass: true },
  traits: {
    connects: true,
    refused: { 5: 'ended' },
    unknownName: { 5: 'ended' },
    badPassword: 'ERR_SOCKS_AUTH_FAILED',
    noAcceptableMethod: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
    unsupported: { 4: 'ERR_SOCKS_REJECTED', '4a': 'ERR_SOCKS_REJECTED' },
  },
  setUp: async (setup) => {
    const { username: user, password: pass } = CREDENTIALS;
    const port = await setUp(setup, { auth: 'password', accounts: [{ user, pass }] });
    return { port, credentials: CREDENTIALS };
  },
});
