// A SOCKS5 and SOCKS4A proxy for these tests: no authentication, every name is 127.0.0.1. It records what it was
// asked for and how many of its connections are open.

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';

export interface TestProxy extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** `host:port` of every request. */
  readonly requests: string[];
  readonly open: ReadonlySet<Socket>;
  readonly accepted: number;
  /** When `count` connections have been made. */
  reached(count: number): Promise<void>;
  /** When no connection is open (any more). */
  idle(): Promise<void>;
}

/** @param reply the REP byte; 0 connects; `hang` reads everything and never answers */
export async function startProxy(reply: number | 'hang' = 0): Promise<TestProxy> {
  const requests: string[] = [];
  const open = new Set<Socket>();
  let accepted = 0;
  const server = createServer((client) => {
    accepted++;
    open.add(client);
    client.on('close', () => {
      open.delete(client);
      server.emit('closed');
    });
    client.on('error', () => {});
    if (reply === 'hang') client.resume();
    else serve(client, reply).catch(() => client.destroy());
  });

  const serve = async (client: Socket, rep: number): Promise<void> => {
    const [version] = await read(client, 1);
    let host: string;
    let port: number;
    if (version === 5) {
      await read(client, (await read(client, 1)).readUInt8(0));
      client.write(Buffer.from('0500', 'hex'));
      const atyp = (await read(client, 4)).readUInt8(3);
      const length = atyp === 1 ? 4 : atyp === 4 ? 16 : (await read(client, 1)).readUInt8(0);
      const address = await read(client, length);
      host = atyp === 3 ? address.toString() : atyp === 1 ? address.join('.') : '::1';
      port = (await read(client, 2)).readUInt16BE();
    } else {
      const header = await read(client, 7);
      port = header.readUInt16BE(1);
      while ((await read(client, 1))[0] !== 0);
      host = '';
      for (let byte = await read(client, 1); byte[0] !== 0; byte = await read(client, 1))
        host += byte.toString();
    }
    requests.push(`${host}:${port}`);
    const refuse = Buffer.from(
      version === 5 ? `050${rep}0001000000000000` : `00${rep ? '5b' : '5a'}000000000000`,
      'hex',
    );
    if (rep !== 0) return void client.end(refuse);
    const target = connect(port, host === '::1' ? '::1' : '127.0.0.1');
    await once(target, 'connect');
    client.write(refuse);
    client.pipe(target).pipe(client);
    client.on('close', () => target.destroy());
    target.on('error', () => client.destroy()).on('close', () => client.destroy());
  };

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `socks5://127.0.0.1:${port}`,
    port,
    requests,
    open,
    get accepted() {
      return accepted;
    },
    async reached(count) {
      for (let now = accepted; now < count; now = accepted) await once(server, 'connection');
    },
    async idle() {
      while (open.size > 0) await once(server, 'closed');
    },
    async [Symbol.asyncDispose]() {
      for (const socket of open) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

async function read(socket: Socket, length: number): Promise<Buffer> {
  for (;;) {
    const bytes = socket.read(length) as Buffer | null;
    if (bytes?.length === length) return bytes;
    if (socket.readableEnded || socket.destroyed) throw new Error('closed');
    await Promise.race([once(socket, 'readable'), once(socket, 'close')]);
  }
}
