// OpenSSH: `ssh -D` before a server of its own. Closes the connection in place of a refusal.

import { join } from 'node:path';
import { freePort } from '@socksify/support';
import { CREDENTIALS, UID } from '../machine.ts';
import type { InteropServer } from '../server-traits.ts';
import { defineServer, locate } from '../server-process.ts';

function config(port: number, key: string): string {
  return `
Port ${port}
ListenAddress 127.0.0.1
HostKey ${key}
AuthorizedKeysFile ${key}.pub
PidFile none
StrictModes no
UsePAM no
AllowTcpForwarding yes
MaxStartups 100
`;
}

// As root sshd wants to change to further user ids and to find /run/sshd. As anybody else it serves that user alone.
const AS_USER = ['--user', `--map-user=${UID}`, `--map-group=${UID}`];

export const openssh: InteropServer = defineServer({
  name: 'OpenSSH',
  binaries: ['sshd', 'ssh', 'ssh-keygen'],
  supports: { 4: true, '4a': true, 5: true, userpass: false },
  traits: {
    connects: true,
    refused: { 4: 'ERR_SOCKS_PROXY_CLOSED', '4a': 'ERR_SOCKS_PROXY_CLOSED', 5: 'ERR_SOCKS_PROXY_CLOSED' },
    unknownName: { '4a': 'ERR_SOCKS_PROXY_CLOSED', 5: 'ERR_SOCKS_PROXY_CLOSED' },
    noAcceptableMethod: 'ERR_SOCKS_PROXY_CLOSED',
    unsupported: {},
  },
  setUp: async ({ dir, write, run, start }) => {
    const [sshPort, port] = [await freePort(), await freePort()];
    const key = join(dir, 'key');
    await run('ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key);
    const sshd = locate('sshd') ?? 'sshd';
    const file = await write('sshd_config', config(sshPort, key));
    await start({ port: sshPort }, 'unshare', ...AS_USER, sshd, '-D', '-e', '-f', file);
    const options = [
      'BatchMode=yes',
      'ExitOnForwardFailure=yes',
      'StrictHostKeyChecking=accept-new',
      `UserKnownHostsFile=${join(dir, 'known_hosts')}`,
    ].flatMap((option) => ['-o', option]);
    const login = ['-p', `${sshPort}`, '-i', key, `${CREDENTIALS.username}@127.0.0.1`];
    await start({ port }, 'ssh', '-N', '-F', 'none', '-D', `127.0.0.1:${port}`, ...options, ...login);
    return { port };
  },
});
