// Which port a request means, and what its head says: byte for byte what Node's own agent makes of it.

import http from 'node:http';
import type { RequestOptions } from 'node:http';
import https from 'node:https';
import { connect, createServer } from 'node:net';
import type { AddressInfo, NetConnectOpts, Server, Socket } from 'node:net';
import { connect as tlsConnect, createServer as createTlsServer } from 'node:tls';
import { TLS } from '@socksify/support';
import { converse, encodeReply, negotiate, REP } from '@socksify/server';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SocksAgent } from '../src/index.ts';

interface Seen {
  /** The port that was requested. */
  port: number;
  head: string;
}

/** Answers every request, whatever its port. */
function answer(socket: Socket, seen: (head: string) => void): void {
  let head = '';
  socket.on('error', () => {});
  socket.on('data', (chunk: Buffer) => {
    head += chunk.toString('latin1');
    if (!head.includes('\r\n\r\n')) return;
    seen(head);
    socket.end('HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
  });
}

let head = '';
const listener = (socket: Socket): void => answer(socket, (bytes) => (head = bytes));
const plain = createServer(listener);
const secure = createTlsServer(TLS, listener);
let port = 0;
const proxy = createServer((client) => {
  client.on('error', () => {});
  void (async () => {
    const request = await converse(client, negotiate({}));
    ({ port } = request);
    client.write(encodeReply(request.version, REP.SUCCEEDED, { host: '127.0.0.1', port: 1 }));
    client.once('readable', () => {
      const [first] = client.read(1) as Buffer;
      client.unshift(Buffer.from([first ?? 0]));
      (first === 0x16 ? secure : plain).emit('connection', client);
    });
  })();
});

const servers: readonly Server[] = [plain, secure, proxy];
const portOf = (server: Server): number => (server.address() as AddressInfo).port;
beforeAll(async () => {
  for (const server of servers) await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});
afterAll(() => {
  for (const server of servers) server.close();
});

/** Node's agents, but all of their connections lead to the servers here. */
class DirectHttp extends http.Agent {
  override createConnection(options: NetConnectOpts): Socket {
    port = Number((options as { port: number | string }).port);
    return connect(portOf(plain), '127.0.0.1');
  }
}
class DirectHttps extends https.Agent {
  override createConnection(options: object): Socket {
    port = Number((options as { port: number | string }).port);
    return tlsConnect({ ...options, host: '127.0.0.1', port: portOf(secure) });
  }
}

type Options = RequestOptions & { setDefaultHeaders?: boolean };
type Case = (protocol: string, standard: number) => [url: string | undefined, options: Options];

const CASES: Readonly<Record<string, Case>> = {
  'a URL': (protocol) => [`${protocol}://origin.test/`, {}],
  'a URL with the default port': (protocol, standard) => [`${protocol}://origin.test:${standard}/`, {}],
  'a URL with another port': (protocol) => [`${protocol}://origin.test:8000/`, {}],
  'a URL with an IPv6 address': (protocol) => [`${protocol}://[::1]/`, {}],
  'a URL with an IPv6 address and a port': (protocol) => [`${protocol}://[::1]:8000/`, {}],
  'a URL and the default port as option': (protocol, port_) => [
    `${protocol}://origin.test/`,
    { port: port_ },
  ],
  'a host': () => [undefined, { host: 'origin.test' }],
  'a hostname': () => [undefined, { hostname: 'origin.test' }],
  nothing: () => [undefined, {}],
  'a host with the default port': (_, standard) => [undefined, { host: 'origin.test', port: standard }],
  'the default port as text': (_, standard) => [undefined, { host: 'origin.test', port: String(standard) }],
  'the default port as odd text': (_, standard) => [undefined, { host: 'origin.test', port: `0${standard}` }],
  'a host with another port': () => [undefined, { host: 'origin.test', port: 8000 }],
  'port 0': () => [undefined, { host: 'origin.test', port: 0 }],
  'port null': () => [undefined, { host: 'origin.test', port: null }],
  'an empty port': () => [undefined, { host: 'origin.test', port: '' }],
  "the other protocol's port": (_, standard) => [undefined, { host: 'origin.test', port: 523 - standard }],
  'a protocol and a host': (protocol) => [undefined, { protocol: `${protocol}:`, host: 'origin.test' }],
  'an IPv6 address': () => [undefined, { host: '::1' }],
  'an IPv6 address with the default port': (_, standard) => [undefined, { host: '::1', port: standard }],
  'an IPv4 address with the default port': (_, standard) => [
    undefined,
    { host: '127.0.0.1', port: standard },
  ],
  'a name that ends in the default port': (_, standard) => [undefined, { host: `origin-${standard}` }],
  'an own Host header': (protocol) => [`${protocol}://origin.test/`, { headers: { Host: 'own.test' } }],
  'an own Host header with the default port': (protocol, standard) => [
    `${protocol}://origin.test/`,
    { port: standard, headers: { host: `own.test:${standard}` } },
  ],
  'an empty Host header': (_, standard) => [
    undefined,
    { host: 'origin.test', port: standard, headers: { host: '' } },
  ],
  'other headers': (_, standard) => [
    undefined,
    { host: 'origin.test', port: standard, headers: { 'X-One': '1', accept: 'text/plain' } },
  ],
  'setHost: false': (_, standard) => [undefined, { host: 'origin.test', port: standard, setHost: false }],
  'setDefaultHeaders: false': (_, standard) => [
    undefined,
    { host: 'origin.test', port: standard, setDefaultHeaders: false },
  ],
  'an array of headers': (_, standard) => [
    undefined,
    { host: 'origin.test', port: standard, headers: ['Host', `origin.test:${standard}`] },
  ],
  'an array of pairs': () => [
    undefined,
    { host: 'origin.test', headers: [['host', 'pair.test']] as unknown as string[] },
  ],
  'Expect: 100-continue': () => [undefined, { host: 'origin.test', headers: { expect: '100-continue' } }],
  'Expect: 100-continue with the default port': (_, standard) => [
    undefined,
    { host: 'origin.test', port: standard, headers: { expect: '100-continue' } },
  ],
  'a default port of its own': () => [undefined, { host: 'origin.test', defaultPort: 8000 }],
  'a default port of its own, and the usual one': (_, standard) => [
    undefined,
    { host: 'origin.test', defaultPort: 8000, port: standard },
  ],
  auth: (_, standard) => [undefined, { host: 'origin.test', port: standard, auth: 'a:b' }],
};

const aUrl: Case = (protocol) => [`${protocol}://origin.test/`, {}];
const aHost: Case = () => [undefined, { host: 'origin.test' }];

async function send(protocol: 'http' | 'https', agent: http.Agent, make: Case): Promise<Seen> {
  const [url, options] = make(protocol, protocol === 'https' ? 443 : 80);
  const { request } = protocol === 'https' ? https : http;
  const all = { ...options, agent, rejectUnauthorized: false };
  head = '';
  await new Promise<void>((resolve, reject) => {
    const req = url === undefined ? request(all) : request(url, all);
    req.on('response', (res) => res.resume().on('end', resolve)).on('error', reject);
    req.end();
  });
  agent.destroy();
  return { port, head };
}

const socks = (options: object = {}): SocksAgent =>
  new SocksAgent(`socks5://127.0.0.1:${portOf(proxy)}`, options);

for (const protocol of ['http', 'https'] as const) {
  const Direct = protocol === 'https' ? DirectHttps : DirectHttp;

  test.each(Object.entries(CASES))(
    `${protocol}: SocksAgent requests the same port and sends the same head as Node's agent for %s`,
    async (_, make) => {
      const direct = await send(protocol, new Direct(), make);
      expect(direct.head).toMatch(/^GET \/ HTTP\/1.1\r\n/);
      expect(await send(protocol, socks(), make)).toEqual(direct);
      expect(await send(protocol, socks({ protocol: `${protocol}:` }), make)).toEqual(direct);
    },
  );

  test(`${protocol}: SocksAgent requests the standard port as the global agent`, async () => {
    const module = protocol === 'https' ? https : http;
    const before = module.globalAgent;
    module.globalAgent = socks({ protocol: `${protocol}:` }) as never;
    try {
      port = 0;
      await new Promise<void>((resolve, reject) => {
        module
          .get(`${protocol}://origin.test/`, { rejectUnauthorized: false } as object, (res) =>
            res.resume().on('end', resolve),
          )
          .on('error', reject);
      });
      expect(port).toBe(protocol === 'https' ? 443 : 80);
    } finally {
      module.globalAgent = before;
    }
  });

  test(`${protocol}: SocksAgent finds out the protocol without a stack trace`, async () => {
    const { stackTraceLimit } = Error;
    const prepareStackTrace = Object.getOwnPropertyDescriptor(Error, 'prepareStackTrace');
    let taken = 0;
    try {
      Error.stackTraceLimit = 0;
      expect(await send(protocol, socks(), aUrl)).toMatchObject({
        port: protocol === 'https' ? 443 : 80,
      });
      Error.stackTraceLimit = 10;
      Error.prepareStackTrace = () => {
        taken++;
        return [];
      };
      expect(await send(protocol, socks(), aHost)).toMatchObject({
        port: protocol === 'https' ? 443 : 80,
      });
      expect(taken).toBe(0);
    } finally {
      Error.stackTraceLimit = stackTraceLimit;
      if (prepareStackTrace) Object.defineProperty(Error, 'prepareStackTrace', prepareStackTrace);
      else Reflect.deleteProperty(Error, 'prepareStackTrace');
    }
  });
}
