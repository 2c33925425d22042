// The processes around the bridge under load, each in its own: `upstream`, the SOCKS server; `relay`, the least that Node
// can do, to compare with; `destination`, which does what the first line of a connection says.

import { createHash } from 'node:crypto';
import { connect, createServer } from 'node:net';
import { startServer } from '@socksify/server';
import { chunksOf, writeChunks } from './chunks.js';

const listen = (server) =>
  new Promise((resolve) =>
    server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => resolve(server.address().port)),
  );

async function upstream() {
  const server = await startServer({ names: { 'origin.test': '127.0.0.1' }, users: { alice: 'secret' } });
  server.on('closed', () => (server.log.length = 0));
  return { port: server.port };
}

/** Plain pipes between each client and a connection to this port. */
async function relay(to) {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const socket = connect({ port: Number(to), host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    for (const each of [client, socket]) each.on('error', () => {});
    client.pipe(socket);
    socket.pipe(client);
  });
  return { port: await listen(server) };
}

async function destination() {
  const digests = new Map();
  const commands = {
    /** Answers with the hash of what comes. */
    up(socket, _, rest) {
      const hash = createHash('sha256').update(rest);
      socket.on('data', (chunk) => hash.update(chunk)).once('end', () => socket.end(hash.digest('hex')));
    },
    /** Sends so many bytes. */
    async down(socket, [bytes, id]) {
      const hash = createHash('sha256');
      const chunks = chunksOf(Number(bytes), Number(id));
      if (!(await writeChunks(socket, chunks, (chunk) => hash.update(chunk)))) return;
      digests.set(id, hash.digest('hex'));
      socket.end();
    },
    digest: (socket, [id]) => socket.end(digests.get(id)),
    /** Sends a little, and resets. */
    reset: (socket) => socket.write(Buffer.alloc(64 * 1024), () => socket.resetAndDestroy()),
  };
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on('error', () => {});
    let head = Buffer.alloc(0);
    const onData = (chunk) => {
      head = Buffer.concat([head, chunk]);
      const end = head.indexOf(0x0a);
      if (end < 0) return;
      socket.off('data', onData);
      const [command, ...args] = head.toString('latin1', 0, end).split(' ');
      void commands[command](socket, args, head.subarray(end + 1));
      socket.resume();
    };
    socket.on('data', onData);
  });
  return { port: await listen(server) };
}

const { port } = await { upstream, relay, destination }[process.argv[2]](process.argv[3]);
process.send(port);
process.on('disconnect', () => process.exit());
