// V2Ray. Reports success before it dials, in every version of SOCKS.

import { freePort } from '@socksify/support';
import { CREDENTIALS } from '../machine.ts';
import type { InteropServer } from '../server-traits.ts';
import { defineServer } from '../server-process.ts';
import type { Entry, ServerSetup } from '../server-process.ts';

async function setUp({ write, start }: ServerSetup, settings: object): Promise<number> {
  const port = await freePort();
  const inbound = { listen: '127.0.0.1', port, protocol: 'socks', settings: { ...settings, udp: true } };
  const config = { inbounds: [inbound], outbounds: [{ protocol: 'freedom' }] };
  await start({ port }, 'v2ray', '-config', await write('config.json', JSON.stringify(config)));
  return port;
}

type Traits = Omit<InteropServer['traits'], 'connects' | 'noAcceptableMethod'>;

function define(
  name: string,
  supports: InteropServer['supports'],
  traits: Traits,
  setUpWith: (setup: ServerSetup) => Promise<Entry>,
): InteropServer {
  const common = { connects: true, noAcceptableMethod: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD' } as const;
  return defineServer({
    name,
    binaries: ['v2ray'],
    supports,
    traits: { ...common, ...traits },
    setUp: setUpWith,
  });
}

export const v2ray: InteropServer = define(
  'v2ray',
  { 4: true, '4a': true, 5: true, userpass: false },
  {
    refused: { 4: 'ended', '4a': 'ended', 5: 'ended' },
    unknownName: { '4a': 'ended', 5: 'ended' },
    unsupported: {},
  },
  async (setup) => ({ port: await setUp(setup, { auth: 'noauth' }) }),
);

export const v2rayUserpass: InteropServer = define(
  'v2ray with a password',
  { 4: false, '4a': false, 5: true, userpass: true },
  {
    refused: { 5: 'ended' },
    unknownName: { 5: 'ended' },
    badPassword: 'ERR_SOCKS_AUTH_FAILED',
    unsupported: { 4: 'ERR_SOCKS_REJECTED', '4a': 'ERR_SOCKS_REJECTED' },
  },
  async (setup) => {
    const { username: user, password: pass } = CREDENTIALS;
    const port = await setUp(setup, { auth: 'password', accounts: [{ user, pass }] });
    return { port, credentials: CREDENTIALS };
  },
);
