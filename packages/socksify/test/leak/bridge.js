// A bridge, a proxy and a site, where all packets leave by one interface. Clients request names and addresses by
// every protocol; the proxy refuses all but the site. Every packet that leaves is the bridge's.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import { startServer } from '@socksify/server';
import { startSite } from '@socksify/support';

const [mode, ...command] = process.argv.slice(2);
const site = await startSite();
const proxy = await startServer({
  names: { 'origin.test': '127.0.0.1' },
  allow: ({ host }) => host === 'origin.test',
  users: { alice: 'secret' },
});
const options = mode === 'direct' ? ['--no-proxy', '*'] : [];
const bridge = spawn(command[0], [...command.slice(1), '--listen', 'localhost:0', ...options], {
  env: {
    SOCKS_PROXY: proxy.url('socks5', { username: 'alice', password: 'secret' }),
    PATH: process.env.PATH,
  },
  stdio: ['ignore', 'pipe', 'inherit'],
});
const [line] = await once(createInterface({ input: bridge.stdout }), 'line');
const port = Number(/:(\d+)$/.exec(line)[1]);

const hex = (text) => Buffer.from(text).toString('hex');
const bytes = (text) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const at = (number) => number.toString(16).padStart(4, '0');
const named = (name) => `03 ${name.length.toString(16).padStart(2, '0')} ${hex(name)}`;
const requestsFor = (name, destination) => [
  bytes(`05 01 00 05 01 00 ${named(name)} ${at(destination)}`),
  bytes(`05 01 00 05 f0 00 ${named(name)} 0000`),
  bytes(`04 01 ${at(destination)} 00000001 00 ${hex(name)} 00`),
  Buffer.from(`CONNECT ${name}:${destination} HTTP/1.1\r\nHost: x\r\n\r\n`),
  Buffer.from(`GET http://${name}:${destination}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`),
];

let answers = 0;
async function answerTo(sent) {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  socket.on('error', () => {}).setTimeout(1_500, () => socket.destroy());
  socket.end(sent);
  let answer = '';
  socket.on('data', (chunk) => (answer += chunk.toString('latin1')));
  while (!socket.closed && !socket.readableEnded) {
    await Promise.race([once(socket, 'end'), once(socket, 'close')]).catch(() => {});
  }
  socket.destroy();
  if (answer !== '') answers++;
  return answer;
}

const all = ['elsewhere.test', 'example.com', '192.0.2.80', 'www.onion', 'localhost'].flatMap((name) =>
  requestsFor(name, 80),
);
await Promise.all(all.map(answerTo));
const [last = ''] = (await answerTo(requestsFor('origin.test', site.http)[4])).split('\r\n').slice(-1);
console.log(`proxied: ${last}`);
console.log(`answers: ${answers}`);
console.log(`attempts: ${proxy.log.length}`);
// strace writes its log before it ends. The bridge itself is not given time to drain; it ends with the namespace.
bridge.kill(mode === 'direct' ? 'SIGKILL' : 'SIGTERM');
await once(bridge, 'exit');
console.log(`proxy: ${proxy.port}`);
await Promise.all([proxy.close(), site.close()]);
process.exit();
