// Run by connector.test.ts in a process of its own. undici 5 and 6 listen to their first socket only when their parser is
// compiled. Here this takes until the socket has closed, or until the dispatcher was destroyed. Prints what happened.

import { once } from 'node:events';
import { createServer } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';

const [kind, event, undici] = process.argv.slice(2);
const { compile } = WebAssembly;
let finishCompiling;
const compiling = new Promise((resolve) => (finishCompiling = resolve));
WebAssembly.compile = async (...given) => {
  await compiling;
  return compile.apply(WebAssembly, given);
};
const { SocksDispatcher, socksConnector } = await import('../dist/index.js');
const { Agent, fetch: fetchOf } = undici ? await import(undici) : { fetch };

let grant;
const granted = new Promise((resolve) => (grant = resolve));
const proxy = createServer((socket) => {
  socket.on('error', () => {});
  socket.once('data', () => {
    socket.write('\x05\x00');
    socket.once('data', async () => {
      socket.write(Buffer.from('05000001000000000000', 'hex'));
      grant(socket);
      if (event === 'end') socket.end();
      await nextTurn();
      if (event === 'reset') socket.resetAndDestroy();
    });
  });
}).listen(0, '127.0.0.1');
await once(proxy, 'listening');
const url = `socks5://127.0.0.1:${proxy.address().port}`;
const dispatcher =
  kind === 'dispatcher'
    ? new SocksDispatcher(url, Agent && { Agent })
    : new Agent({ connect: socksConnector(url) });

const request = fetchOf('http://origin.test/', { dispatcher }).catch((error) => error.cause ?? error);
const socket = await granted;
if (event === 'destroy') {
  // The client has the socket by now.
  for (let turn = 0; turn < 10; turn++) await nextTurn();
  void dispatcher.destroy();
} else while (process.getActiveResourcesInfo().includes('TCPSocketWrap')) await nextTurn();
finishCompiling();
console.log((await request).code);
if (!socket.closed) await once(socket, 'close');
proxy.close();
await dispatcher.destroy();
