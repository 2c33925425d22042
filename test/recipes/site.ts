// The site behind the proxy: answers for every API that the recipes call, at its own name and at the port of https. Each
// answer contains the word hello, which the program prints.

import { once } from 'node:events';
import { createServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import net from 'node:net';
import type { Server, Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import { BSON } from 'mongodb';
import { Server as SocketServer } from 'socket.io';
import { WebSocketServer } from 'ws';
import type { WebSocket } from 'ws';

/** The names that the recipes use. The certificate is for them, and only the proxy resolves them. */
export const HOSTS = [
  'api.anthropic.com',
  'api.github.com',
  'api.openai.com',
  'api.stripe.com',
  'api.telegram.org',
  'bucket.s3.us-east-1.amazonaws.com',
  'discord.com',
  'example.com',
  'gateway.discord.gg',
  'slack.com',
] as const;

/** What the recipe for isomorphic-git reads: one reference, in Git's lines with a length. */
const REFERENCES = `001e# service=git-upload-pack\n0000${line(`${'0'.repeat(39)}1 refs/heads/hello\0agent=site\n`)}0000`;

function line(content: string): string {
  return (content.length + 4).toString(16).padStart(4, '0') + content;
}

const TELEGRAM_BOT = { id: 1, is_bot: true, first_name: 'hello', username: 'hello_bot' };
const ANSWERS: Readonly<Record<string, unknown>> = {
  'api.anthropic.com/v1/messages': { type: 'message', content: [{ type: 'text', text: 'hello' }] },
  'api.github.com/user': { login: 'hello' },
  'api.openai.com/v1/responses': {
    object: 'response',
    output: [{ type: 'message', content: [{ type: 'output_text', text: 'hello' }] }],
  },
  'api.stripe.com/v1/balance': { object: 'hello' },
  'api.telegram.org/botTOKEN/getMe': { ok: true, result: TELEGRAM_BOT },
  'api.telegram.org/botTOKEN/sendPhoto': { ok: true, result: { message_id: 1, text: 'hello' } },
  'bucket.s3.us-east-1.amazonaws.com/key': 'hello',
  'discord.com/api/v10/gateway/bot': {
    url: 'wss://gateway.discord.gg',
    shards: 1,
    session_start_limit: { total: 1, remaining: 1, reset_after: 0, max_concurrency: 1 },
  },
  'discord.com/api/v10/users/@me': { id: '1', username: 'hello' },
  'example.com/': 'hello',
  'example.com/graphql': { data: { hello: 'hello' } },
  'example.com/photo.jpg': 'photo',
  'example.com/repository.git/info/refs': REFERENCES,
  'slack.com/api/auth.test': { ok: true, user: 'hello' },
};

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { url = '' } = request;
  const { host = '' } = request.headers;
  // A client that is killed leaves its request unfinished.
  if ((await text(request).catch(() => undefined)) === undefined) return;
  const found = ANSWERS[`${host}${url.split('?')[0]}`];
  if (found === undefined) response.statusCode = 404;
  if (host === 'example.com' && url.startsWith('/repository.git'))
    response.setHeader('content-type', 'application/x-git-upload-pack-advertisement');
  else if (typeof found !== 'string') response.setHeader('content-type', 'application/json');
  else response.setHeader('content-type', 'text/plain');
  response.end(typeof found === 'string' ? found : JSON.stringify(found ?? { missing: host + url }));
}

export interface Visits {
  /** The names that the requests were for. */
  readonly hosts: Set<string>;
  /** The remote ports of all connections. */
  readonly ports: number[];
}

export interface RecipeSite extends Visits {
  readonly close: () => void;
}

/**
 * Listens at the port of https, and at those of MongoDB and gRPC.
 * @throws the system's error if the process may not listen at port 443
 */
export async function startRecipeSite(
  address: string,
  tls: { readonly key: Buffer; readonly cert: Buffer },
): Promise<RecipeSite> {
  const hosts = new Set<string>();
  const ports: number[] = [];
  const web = createServer(tls, (request, response) => void answer(request, response));
  for (const event of ['request', 'upgrade'] as const)
    web.on(event, ({ headers }: IncomingMessage) => hosts.add(headers.host ?? ''));
  const sockets = new WebSocketServer({ noServer: true });
  web.on('upgrade', (request: IncomingMessage, socket, head) => {
    if (request.url?.startsWith('/socket.io')) return;
    sockets.handleUpgrade(request, socket, head, (client) => {
      if (request.headers.host === 'gateway.discord.gg') serveDiscord(client);
      else client.send('hello');
    });
  });
  const io = new SocketServer(web);
  const grpc = await startGrpc();
  const mongo = net.createServer(serveMongo);
  const front = net.createServer((client) => {
    const inner = net.connect(grpc.port, '127.0.0.1');
    client.on('error', () => inner.destroy()).pipe(inner);
    inner.on('error', () => client.destroy()).pipe(client);
  });
  const open = new Set<Socket>();
  const listeners = new Map<Server, number>([
    [web, 443],
    [mongo, 27_017],
    [front, 50_051],
  ]);
  for (const [server, port] of listeners) {
    server.on('connection', (socket: Socket) => {
      ports.push(socket.remotePort ?? 0);
      // These protocols do not say which name the client connected to.
      if (server !== web) hosts.add('example.com');
      open.add(socket.once('close', () => open.delete(socket)));
    });
    server.listen(port, address);
    await once(server, 'listening');
  }
  return {
    hosts,
    ports,
    close: () => {
      void io.close();
      grpc.close();
      for (const server of listeners.keys()) server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

/** Discord's gateway as far as a client is ready: hello, identify, READY. */
function serveDiscord(client: WebSocket): void {
  const send = (op: number, d: unknown, more = {}): void => client.send(JSON.stringify({ op, d, ...more }));
  send(10, { heartbeat_interval: 60_000 });
  client.on('message', (data: Buffer) => {
    const { op } = JSON.parse(data.toString()) as { op: number };
    if (op === 1) send(11, null);
    if (op !== 2) return;
    const user = { id: '1', username: 'hello', discriminator: '0', avatar: null };
    const ready = { v: 10, user, guilds: [], session_id: 's', application: { id: '1', flags: 0 } };
    send(0, { ...ready, resume_gateway_url: 'wss://gateway.discord.gg' }, { t: 'READY', s: 1 });
  });
}

/** MongoDB's wire protocol as far as one find: OP_QUERY with its OP_REPLY, and OP_MSG. */
function serveMongo(client: Socket): void {
  const [OP_REPLY, OP_QUERY, OP_MSG] = [1, 2004, 2013];
  const hello = { isWritablePrimary: true, minWireVersion: 0, maxWireVersion: 25, ok: 1 };
  const cursor = { id: BSON.Long.ZERO, ns: 'db.greetings', firstBatch: [{ greeting: 'hello' }] };
  let input = Buffer.alloc(0);
  client.on('error', () => {});
  client.on('data', (data: Buffer) => {
    input = Buffer.concat([input, data]);
    for (let length; input.length >= 4 && input.length >= (length = input.readInt32LE(0)); ) {
      const message = input.subarray(0, length);
      input = input.subarray(length);
      const isQuery = message.readInt32LE(12) === OP_QUERY;
      const isFind = message.includes('find\0');
      const body = BSON.serialize(isFind ? { cursor, ok: 1 } : hello);
      // Flags, cursor, start and number of documents; or flags and the kind of the section.
      const before = Buffer.alloc(isQuery ? 20 : 5);
      if (isQuery) before.writeInt32LE(1, 16);
      const header = Buffer.alloc(16);
      header.writeInt32LE(header.length + before.length + body.length, 0);
      header.writeInt32LE(message.readInt32LE(4), 8);
      header.writeInt32LE(isQuery ? OP_REPLY : OP_MSG, 12);
      client.write(Buffer.concat([header, before, body]));
    }
  });
}

const serialize = (value: string): Buffer => Buffer.from(value);

async function startGrpc(): Promise<{ readonly port: number; readonly close: () => void }> {
  const server = new GrpcServer();
  const greet = {
    path: '/Greeter/Greet',
    requestStream: false,
    responseStream: false,
    requestSerialize: serialize,
    requestDeserialize: String,
    responseSerialize: serialize,
    responseDeserialize: String,
  } as const;
  server.addService(
    { greet },
    { greet: (_: unknown, reply: (error: null, value: string) => void) => reply(null, 'hello') },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  return { port, close: () => server.forceShutdown() };
}
