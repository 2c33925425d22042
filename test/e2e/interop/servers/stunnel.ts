// stunnel: TLS to the proxy itself, with microsocks behind it.

import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '@socksify/support';
import { CREDENTIALS } from '../machine.ts';
import type { InteropServer } from '../server-traits.ts';
import { defineServer } from '../server-process.ts';
import { microsocksUserpass } from './microsocks.ts';

function config(accept: number, connect: number, cert: string, key: string): string {
  return `
foreground = yes
pid =
cert = ${cert}
key = ${key}
[socks]
accept = 127.0.0.1:${accept}
connect = 127.0.0.1:${connect}
`;
}

export const stunnel: InteropServer = defineServer({
  name: 'stunnel before microsocks with a password',
  binaries: ['stunnel4', 'microsocks', 'openssl'],
  supports: microsocksUserpass.supports,
  traits: microsocksUserpass.traits,
  setUp: async ({ dir, write, run, start }) => {
    const [inner, port] = [await freePort(), await freePort()];
    const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')];
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1,DNS:localhost'];
    const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key];
    await run('openssl', 'req', '-x509', '-days', '2', ...newKey, ...subject, '-out', cert);
    const { username, password } = CREDENTIALS;
    const account = ['-u', username, '-P', password];
    await start({ port: inner }, 'microsocks', '-i', '127.0.0.1', '-p', `${inner}`, ...account);
    const file = await write('stunnel.conf', config(port, inner, cert, key));
    await start({ port }, 'stunnel4', file);
    return { port, credentials: CREDENTIALS, tls: { ca: await readFile(cert, 'utf8') } };
  },
});
