// A proxy and a site beside a program: starts both, runs its arguments with SOCKS_PROXY, and ends with them. The proxy
// connects to the site only, so that every packet that leaves is the program's.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { startSite } from '@socksify/support';
import { startServer } from '@socksify/server';

const web = await startSite();
const names = { 'origin.test': '127.0.0.1' };
const allow = ({ host }) => host === 'origin.test';
const proxy = await startServer({ names, allow, users: { alice: 'secret' } });
const [command, ...args] = process.argv.slice(2);
const env = {
  ...process.env,
  SOCKS_PROXY: proxy.url('socks5', { username: 'alice', password: 'secret' }),
  HTTP: String(web.http),
};
await once(spawn(command, args, { env, stdio: 'inherit' }), 'close');
console.log(`proxy: ${new URL(proxy.url('socks5')).port}`);
await Promise.all([proxy.close(), web.close()]);
process.exit();
