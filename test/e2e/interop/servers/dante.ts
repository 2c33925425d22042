// Dante. Its replies say exactly what went wrong. Its accounts are those of the system.

import { freePort } from '@socksify/support';
import { CREDENTIALS } from '../machine.ts';
import type { InteropServer, Traits } from '../server-traits.ts';
import { defineServer } from '../server-process.ts';
import type { Entry, ServerSetup } from '../server-process.ts';

const FORBIDDEN = '127.0.0.66';

// In a user namespace there is no second user id, so that dante cannot change to "nobody".
function config(port: number, method: 'none' | 'username'): string {
  return `
logoutput: stderr
internal: 127.0.0.1 port = ${port}
external: lo
external.rotation: route
user.privileged: root
user.unprivileged: root
clientmethod: none
socksmethod: ${method}
client pass { from: 0/0 to: 0/0 }
socks block { from: 0/0 to: ${FORBIDDEN}/32 }
socks pass {
  from: 0/0 to: 0/0
  protocol: tcp udp
  command: bind connect udpassociate
}
socks pass {
  from: 0/0 to: 0/0
  protocol: tcp udp
  command: bindreply udpreply
}
`;
}

async function setUp({ write, start }: ServerSetup, method: 'none' | 'username'): Promise<Entry> {
  const port = await freePort();
  const file = await write('danted.conf', config(port, method));
  await start({ port }, 'danted', '-f', file);
  return method === 'none' ? { port } : { port, credentials: CREDENTIALS };
}

function define(
  method: 'none' | 'username',
  supports: InteropServer['supports'],
  traits: Pick<Traits, 'refused' | 'badPassword' | 'unsupported'>,
): InteropServer {
  return defineServer({
    name: method === 'none' ? 'dante' : 'dante with a password',
    binaries: ['danted'],
    supports,
    traits: {
      ...traits,
      connects: true,
      unknownName: { 5: 'ERR_SOCKS_HOST_UNREACHABLE' },
      noAcceptableMethod: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
      forbidden: { host: FORBIDDEN, outcome: 'ERR_SOCKS_NOT_ALLOWED' },
    },
    setUp: (setup) => setUp(setup, method),
  });
}

export const dante: InteropServer = define(
  'none',
  { 4: true, '4a': false, 5: true, userpass: false },
  {
    refused: { 4: 'ERR_SOCKS_REJECTED', 5: 'ERR_SOCKS_CONNECTION_REFUSED' },
    unsupported: { '4a': 'ERR_SOCKS_REJECTED' },
  },
);

export const danteUserpass: InteropServer = define(
  'username',
  { 4: false, '4a': false, 5: true, userpass: true },
  {
    refused: { 5: 'ERR_SOCKS_CONNECTION_REFUSED' },
    badPassword: 'ERR_SOCKS_AUTH_FAILED',
    unsupported: { 4: 'ERR_SOCKS_REJECTED', '4a': 'ERR_SOCKS_REJECTED' },
  },
);
