// The table "Compared with others" of the README: each package is run at its pinned release, and what happened is
// compared with the cell. On Node 24 all columns are run; on the other Nodes, that of socksify.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TLSSocket } from 'node:tls';
import { connect } from '@socksify/core';
import { startScript, startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { CERTIFICATE_FILE, freePort, listen, runProgram, TLS, within } from '@socksify/support';
import type { ProgramOptions } from '@socksify/support';
import { SocksClient } from 'socks';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { here } from './proxied-site.ts';

const [MAJOR = 0] = process.versions.node.split('.').map(Number);
const NODES = [20, 22, 24, 26]
  .map((major) => ({ major, binary: here(`../../runtimes/node_modules/node${major}/bin/node`) }))
  .filter(({ binary }) => existsSync(binary));
const HAS_PROXYCHAINS = existsSync('/usr/bin/proxychains4');
if (NODES.length < 4 || !HAS_PROXYCHAINS) {
  if (process.env['CI'] === 'true') throw new Error('CI needs proxychains4 and the Nodes of test/runtimes');
  console.warn('SKIPPED: proxychains4 or a Node is not installed, so a part of the table is not run');
}

/** What makes a program use the proxy without a change to it. */
interface Setting {
  readonly env?: Readonly<Record<string, string>>;
  /** A command in front of the program. */
  readonly wrapper?: readonly string[];
}

/** A column of the table. */
interface Peer {
  /** The first argument of programs/peers.js: a package, or `none` for Node's clients as they are. */
  readonly name: string;
  readonly setting: (proxy: string) => Setting;
  /** The set-up in which a proxy is configured and the request is direct. */
  readonly direct: (stage: Stage) => Promise<string>;
}

const variables = (proxy: string): Record<string, string> => ({
  SOCKS_PROXY: proxy,
  ALL_PROXY: proxy,
  HTTP_PROXY: proxy,
  HTTPS_PROXY: proxy,
  NO_PROXY: '',
});
const preloaded =
  (name: string) =>
  (proxy: string): Setting => ({ env: { ...variables(proxy), NODE_OPTIONS: `--import=${name}` } });
const isDirect = async (stage: Stage, situation: string, setting?: Setting): Promise<boolean> =>
  (await stage.request(situation, stage.url('http'), setting && { setting })).path === 'connects directly';
const fetchWithAgent: Peer['direct'] = async (stage) =>
  (await isDirect(stage, 'fetchWithAgent')) ? '`fetch(url, { agent })`' : 'not found';
const undici = (name: string): Peer => ({
  name,
  setting: preloaded(name),
  direct: async (stage) => ((await stage.run('empty')).answer === 0 ? 'not found' : '?'),
});

const PEERS: Readonly<Record<string, Peer>> = {
  socksify: { name: 'socksify', setting: preloaded('socksify/register'), direct: fetchWithAgent },
  'socks-proxy-agent 10.1': {
    name: 'socks-proxy-agent',
    setting: preloaded('socks-proxy-agent'),
    direct: fetchWithAgent,
  },
  'fetch-socks 1.3, undici 8': {
    name: 'fetch-socks',
    setting: preloaded('fetch-socks'),
    direct: async (stage) => ((await isDirect(stage, 'emptyChain')) ? 'an empty chain' : 'not found'),
  },
  '`Socks5ProxyAgent` of undici 7.30': undici('undici7'),
  '`Socks5ProxyAgent` of undici 8.13': undici('undici8'),
  'Node 24, `NODE_USE_ENV_PROXY=1`': {
    name: 'none',
    setting: (proxy) => ({ env: { ...variables(proxy), NODE_USE_ENV_PROXY: '1' } }),
    direct: async (stage) => {
      const env = { ALL_PROXY: stage.server.url('socks5'), NODE_USE_ENV_PROXY: '1' };
      const both = [await isDirect(stage, 'http'), await isDirect(stage, 'fetch', { env })];
      return both.every(Boolean) ? '`http`; all with `ALL_PROXY`' : 'not found';
    },
  },
  'proxychains-ng 4.16': {
    name: 'none',
    setting: (proxy) => ({ wrapper: ['proxychains4', '-q', '-f', configure(proxy)] }),
    direct: async (stage) => ((await stage.asksNameServer()) ? '`dns.resolve()`, UDP' : 'not found'),
  },
};
const COLUMNS = Object.keys(PEERS).filter(
  (name) => name === 'socksify' || (MAJOR === 24 && (HAS_PROXYCHAINS || !name.startsWith('proxychains'))),
);

const folder = mkdtempSync(join(tmpdir(), 'socksify-peers-'));
function configure(proxy: string): string {
  const { protocol, hostname, port } = new URL(proxy);
  const type = protocol === 'socks4a:' ? 'socks4' : 'socks5';
  const file = join(folder, `${type}-${port}.conf`);
  writeFileSync(file, `strict_chain\nproxy_dns\n[ProxyList]\n${type} ${hostname} ${port}\n`);
  return file;
}

interface Outcome {
  readonly answer?: unknown;
  readonly code?: string;
  readonly message?: string;
}
interface RunOptions {
  readonly proxy?: string;
  readonly node?: string;
  /** In place of what the peer has. */
  readonly setting?: Setting;
  readonly name?: string;
  readonly onStart?: NonNullable<ProgramOptions['onStart']>;
}

/** A proxy and a site for one peer, and the requests of the peer. */
class Stage {
  readonly peer: Peer;
  readonly server: SocksServer;
  /** proxychains reads /etc/hosts before it sends a name. The others may look the name up here, and then it is known. */
  readonly host: string;
  /** The local ports of the connections that the site has accepted. */
  readonly #hits: number[] = [];
  readonly #sites;
  readonly #ports = { http: 0, https: 0 };

  constructor(column: string, peer: Peer, server: SocksServer) {
    this.peer = peer;
    this.server = server;
    this.host = column.startsWith('proxychains') ? 'origin.test' : 'localhost';
    const answer: RequestListener = ({ socket }, response) => {
      response.setHeader('connection', 'close');
      response.end((socket as Partial<TLSSocket>).isSessionReused?.() ? 'hello again' : 'hello');
    };
    this.#sites = { http: createHttpServer(answer), https: createHttpsServer(TLS, answer) };
    for (const site of Object.values(this.#sites))
      site.on('connection', ({ remotePort = 0 }) => this.#hits.push(remotePort));
    new WebSocketServer({ server: this.#sites.http }).on('connection', (socket) =>
      socket.on('error', () => {}),
    );
  }

  static async start(column: string): Promise<Stage> {
    const names = { localhost: '127.0.0.1', 'origin.test': '127.0.0.1' };
    const server = await startServer({ names, rules: [{ deny: { host: 'denied.test' } }] });
    const stage = new Stage(column, PEERS[column] as Peer, server);
    for (const scheme of ['http', 'https'] as const)
      stage.#ports[scheme] = await listen(stage.#sites[scheme], '::');
    return stage;
  }

  url(scheme: 'http' | 'https' | 'ws', host: string = this.host): string {
    return `${scheme}://${host}:${this.#ports[scheme === 'https' ? 'https' : 'http']}/`;
  }

  async run(situation: string, url: string = '', options: RunOptions = {}): Promise<Outcome> {
    const { proxy = this.server.url('socks5'), node = process.execPath, name = this.peer.name } = options;
    const { env, wrapper = [] } = options.setting ?? (name === 'none' ? this.peer.setting(proxy) : {});
    const program = [node, '--no-warnings', here('../programs/peers.js'), name, situation, proxy, url];
    const [command = '', ...args] = [...wrapper, ...program];
    const { stdout, stderr } = await runProgram(command, args, {
      cwd: here('.'),
      env: { ...process.env, NODE_EXTRA_CA_CERTS: CERTIFICATE_FILE, ...env },
      timeout: 20_000,
      ...(options.onStart && { onStart: options.onStart }),
    });
    return stdout === '' ? { code: 'ended', message: stderr } : (JSON.parse(stdout) as Outcome);
  }

  /** `path` is `yes` if the request used the proxy; `form` is the form of the request that the proxy got. */
  async request(
    situation: string,
    url: string,
    options: RunOptions = {},
  ): Promise<{ path: string; form?: string }> {
    const [requests, connections] = [this.server.log.length, this.#hits.length];
    const { answer } = await this.run(situation, url, options);
    const entries = this.server.log.slice(requests);
    const outgoing = new Set(entries.map(({ outgoingPort }) => outgoingPort));
    if (this.#hits.slice(connections).some((port) => !outgoing.has(port)))
      return { path: 'connects directly' };
    const [entry] = entries;
    if (!entry || answer !== 'hello') return { path: 'no' };
    return { path: 'yes', form: `${entry.form} ${entry.atyp}` };
  }

  async asksNameServer(): Promise<boolean> {
    const nameServer = createSocket('udp4').bind(0, '127.0.0.1');
    await once(nameServer, 'listening');
    let questions = 0;
    nameServer.on('message', (question, { port }) => {
      questions++;
      // The question as a response (QR) with the code REFUSED: RFC 1035 section 4.1.1.
      question.set([0x81, 0x05], 2);
      nameServer.send(question, port, '127.0.0.1');
    });
    await this.run('resolve', `127.0.0.1:${nameServer.address().port}`);
    nameServer.close();
    return questions > 0;
  }

  async close(): Promise<void> {
    await this.server.close();
    for (const site of Object.values(this.#sites)) {
      site.closeAllConnections();
      site.close();
    }
  }
}

const agree = (paths: readonly string[]): string => [...new Set(paths)].join(', ');

/** The rows of the table, and what is run for a cell of each. */
const ROWS: Readonly<Record<string, (stage: Stage) => Promise<string>>> = {
  "Node's own `fetch`": async (stage) => {
    const works: number[] = [];
    const others: string[] = [];
    for (const { major, binary } of NODES) {
      const { path } = await stage.request('fetch', stage.url('http'), { node: binary });
      if (path === 'yes') works.push(major);
      else others.push(path);
    }
    if (works.length === 0) return agree(others);
    return works.length === NODES.length ? 'Node 20 to 26' : `Node ${works.join(', ')}`;
  },
  '`http`, `https`, `ws`': async (stage) => {
    const paths: string[] = [];
    for (const [situation, scheme] of [
      ['http', 'http'],
      ['http', 'https'],
      ['ws', 'ws'],
    ] as const)
      paths.push((await stage.request(situation, stage.url(scheme))).path);
    return agree(paths);
  },
  'a program that is not changed': async (stage) => {
    const unchanged = { name: 'none', setting: stage.peer.setting(stage.server.url('socks5')) };
    const fetched = await stage.request('fetch', stage.url('http'), unchanged);
    const got = await stage.request('http', stage.url('http'), unchanged);
    if (fetched.path === got.path) return got.path === 'yes' ? 'yes' : 'no';
    return fetched.path === 'yes' ? 'its `fetch` alone' : `${fetched.path}, ${got.path}`;
  },
  'who looks up the names of `socks5://`': async (stage) => {
    const { form } = await stage.request('request', stage.url('http'));
    if (form === '5 name') return 'the proxy';
    return form === '5 ipv4' ? 'this machine' : '?';
  },
  SOCKS4A: async (stage) => {
    const proxy = stage.server.url('socks4a');
    const { path, form = '4a name' } = await stage.request('request', stage.url('http'), { proxy });
    return form === '4a name' ? path : form;
  },
  'an IPv6 address as destination': async (stage) =>
    (await stage.request('request', stage.url('http', '[::1]'))).path,
  'a `code` for each refusal': async (stage) => {
    // With socks5:// socks-proxy-agent would look the names up, and the proxy would refuse nothing.
    const proxy = stage.server.url(stage.peer.name === 'socks-proxy-agent' ? 'socks5h' : 'socks5');
    const codes: unknown[] = [];
    for (const host of [`${stage.host}:${await freePort()}`, 'denied.test:80', 'unknown.test:80'])
      codes.push((await stage.run('request', `http://${host}/`, { proxy })).code);
    const replies = stage.server.log.slice(-3).map(({ reply }) => reply);
    if (replies.join() !== '5,2,4') return '?';
    return new Set(codes).size === codes.length ? 'yes' : 'no';
  },
  'an abort closes the connection to the proxy': async (stage) => {
    const silent = await startScript([{ stall: true }]);
    const children: { kill: (signal: NodeJS.Signals) => boolean }[] = [];
    const onStart: RunOptions['onStart'] = (child) => void children.push(child);
    const ended = stage.run('abort', stage.url('http'), { proxy: silent.url('socks5'), onStart });
    const connection = await silent.connection();
    for (const child of children) child.kill('SIGUSR2');
    const isClosed = await within(connection.closedByClient, 'the connection', 3000).then(
      () => true,
      () => false,
    );
    for (const child of children) child.kill('SIGKILL');
    await ended;
    await silent.close();
    return isClosed ? 'yes' : 'no';
  },
  'TLS sessions are resumed': async (stage) => {
    const { answer } = await stage.run('twice', stage.url('https'));
    if (answer === 'hello again') return 'yes';
    return answer === 'hello' ? 'no' : '?';
  },
  'connects directly, without an error': (stage) => stage.peer.direct(stage),
};

const found = new Map<string, Map<string, string>>();
beforeAll(async () => {
  await Promise.all(
    COLUMNS.map(async (column) => {
      const stage = await Stage.start(column);
      const cells = new Map<string, string>();
      try {
        for (const [row, measure] of Object.entries(ROWS)) cells.set(row, await measure(stage));
      } finally {
        await stage.close();
      }
      found.set(column, cells);
    }),
  );
}, 120_000);
afterAll(() => rmSync(folder, { recursive: true }));

/** The cells of the README by row, then by column, without the marks of bold text. */
const table = readTable();
function readTable(): Map<string, ReadonlyMap<string, string>> {
  const page = readFileSync(here('../../../README.md'), 'utf8').replaceAll('**', '');
  const [, section = ''] = page.split('\n## Compared with others\n');
  const lines = (section.split('\n## ')[0] ?? '').split('\n').filter((line) => line.startsWith('|'));
  const cellsOf = (line: string): string[] =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
  const [[, ...columns] = [], , ...rows] = lines.map(cellsOf);
  return new Map(
    rows.map(([row = '', ...cells]) => [row, new Map(columns.map((column, i) => [column, cells[i] ?? '']))]),
  );
}

test('the table has these rows and columns', () => {
  expect([...table.keys()]).toEqual(Object.keys(ROWS));
  for (const cells of table.values()) expect([...cells.keys()].slice(0, -1)).toEqual(Object.keys(PEERS));
});

describe.each(COLUMNS)('the column of %s says what its run showed', (column) => {
  test.each(Object.keys(ROWS))('%s', (row) => {
    if (row === "Node's own `fetch`" && NODES.length < 4) return;
    expect(table.get(row)?.get(column)).toBe(found.get(column)?.get(row));
  });
});

test.each([
  ['socks-proxy-agent', '10.1'],
  ['fetch-socks', '1.3'],
  ['socks', '2.8'],
  ['undici7', '7.30'],
  ['undici8', '8.13'],
])('the release of %s is the one that the documents name', (name, release) => {
  const manifest = readFileSync(here(`../node_modules/${name}/package.json`), 'utf8');
  expect((JSON.parse(manifest) as { version: string }).version).toMatch(new RegExp(`^${release}\\.`));
});

test('fetch-socks installs the newest undici', () => {
  const manifest = readFileSync(here('../node_modules/fetch-socks/package.json'), 'utf8');
  expect((JSON.parse(manifest) as { dependencies: object }).dependencies).toMatchObject({ undici: '>=7' });
});

test.skipIf(!HAS_PROXYCHAINS)('the release of proxychains is the one that the table names', async () => {
  const { stderr } = await runProgram('proxychains4', ['-f', configure('socks5://127.0.0.1:1'), 'true']);
  expect(stderr).toContain('proxychains-ng 4.16');
});

test('the command socksify covers what connects directly in the first column', async () => {
  const stage = await Stage.start('socksify');
  const setting = stage.peer.setting(stage.server.url('socks5'));
  const { path } = await stage.request('fetchWithAgent', stage.url('http'), { setting });
  await stage.close();
  expect(path).toBe('yes');
});

describe('socks 2.8', () => {
  const destination = { host: 'origin.test', port: 25 };

  test('loses bytes that come with the reply for a reader with for await, and connect() keeps them', async () => {
    const server = await startScript([
      { read: 3 },
      { send: '05 00' },
      { read: 18 },
      { send: '05 00 00 01 00000000 0000 68656c6c6f' },
      { close: true },
    ]);
    const read = async (stream: AsyncIterable<Buffer>): Promise<string> => {
      const chunks: Buffer[] = [];
      for await (const chunk of stream) chunks.push(chunk);
      return Buffer.concat(chunks).toString();
    };
    const proxy = { host: '127.0.0.1', port: server.port, type: 5 } as const;
    const { socket } = await SocksClient.createConnection({ proxy, command: 'connect', destination });
    expect(await read(socket)).toBe('');
    expect(await read((await connect(server.url('socks5'), destination)).socket)).toBe('hello');
    await server.close();
  });

  test('ignores the timeout of a chain, and connect() does not', async () => {
    const silent = await startScript([{ read: 3 }, { stall: true }]);
    const proxy = { host: '127.0.0.1', port: silent.port, type: 5 } as const;
    const proxies = [proxy, proxy];
    const settings = { proxies, command: 'connect', timeout: 50, destination } as const;
    const chained = SocksClient.createConnectionChain(settings).catch(({ message }: Error) => message);
    const chain = [silent.url('socks5'), silent.url('socks5')];
    await expect(connect(chain, destination, { timeout: 50 })).rejects.toMatchObject({
      code: 'ERR_SOCKS_TIMEOUT',
    });
    await expect(within(chained, 'the chain', 1000)).rejects.toThrow('hangs: the chain');
    await silent.close();
    await chained;
  });
});
