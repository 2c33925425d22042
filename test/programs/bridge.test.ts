// Programs and packages of others as clients of a bridge. The proxy behind it wants a password and alone knows the
// names; its log shows that it carried the traffic, by name.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, request } from 'node:http';
import type { IncomingMessage, RequestListener } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { CERTIFICATE, CERTIFICATE_FILE, freePort, listen, outputOf, sha256, TLS } from '@socksify/support';
import { startBridge } from 'socksify';
import type { Bridge } from 'socksify';
import { SocksProxyAgent } from 'socks-proxy-agent';
import { fetch as fetch7, ProxyAgent, Socks5ProxyAgent } from 'undici7';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { WebSocketServer } from 'ws';
import { mustSkipProgram, openProgramFolder, PROGRAMS } from '../e2e/interop/programs.ts';
import { isIsolated } from '../e2e/interop/server-process.ts';

const here = (path: string): string => join(import.meta.dirname, path);
const NODE_24 = here('../runtimes/node_modules/node24/bin/node');
const folder = mkdtempSync(join(tmpdir(), 'socksify-bridge-'));
const FILE = randomBytes(300_000);
/** One pixel. */
const PICTURE = Buffer.from('R0lGODlhAQABAIAAAP8AAP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==', 'base64');

let bridge: Bridge;
let upstream: SocksServer;
const ports = { http: 0, https: 0, grpc: 0, ssh: 0 };
const closing: (() => unknown)[] = [];

const site: RequestListener = (req, res) => {
  const path = (req.url ?? '').split('?')[0] ?? '';
  if (path === '/') {
    res.setHeader('content-type', 'text/html');
    res.end(`<!doctype html><link rel="stylesheet" href="/style.css"><body><h1>by a name of the proxy</h1>
      <img src="/picture.gif"><a href="/file.bin" download>file</a><script src="/script.js"></script>`);
  } else if (path === '/style.css')
    res.setHeader('content-type', 'text/css').end('body { color: rgb(1, 2, 3) }');
  else if (path === '/picture.gif') res.setHeader('content-type', 'image/gif').end(PICTURE);
  else if (path === '/script.js') {
    res.setHeader('content-type', 'text/javascript');
    res.end(
      'new WebSocket(location.origin.replace("http", "ws") + "/socket").onmessage = ({ data }) => (window.greeting = data);',
    );
  } else if (path === '/file.bin') res.setHeader('content-type', 'application/octet-stream').end(FILE);
  else if (existsSync(join(folder, 'files', path)) && statSync(join(folder, 'files', path)).isFile())
    res.end(readFileSync(join(folder, 'files', path)));
  else res.writeHead(path === '/hello' ? 200 : 404).end('hello');
};

beforeAll(async () => {
  const [plain, secure] = [createServer(site), createSecureServer(TLS, site)];
  const sockets = new WebSocketServer({ server: plain, path: '/socket' });
  sockets.on('connection', (socket) => socket.send('greetings'));
  [ports.http, ports.https] = [await listen(plain), await listen(secure)];
  const grpc = new GrpcServer();
  const asIs = (bytes: Buffer): Buffer => bytes;
  const method = {
    path: '/Test/Echo',
    requestStream: false,
    responseStream: false,
    requestSerialize: asIs,
    requestDeserialize: asIs,
    responseSerialize: asIs,
    responseDeserialize: asIs,
  };
  grpc.addService(
    { Echo: method },
    { Echo: (call: { request: Buffer }, done: (e: null, r: Buffer) => void) => done(null, call.request) },
  );
  ports.grpc = await new Promise((resolve, reject) => {
    grpc.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });
  const names = {
    'origin.test': '127.0.0.1',
    'proxy.onion': '127.0.0.1',
    'tor.test': '198.51.100.7',
  };
  upstream = await startServer({ names, users: { alice: 'secret' }, tor: true });
  bridge = await startBridge({
    proxy: upstream.url('socks5', { username: 'alice', password: 'secret' }),
    listen: '127.0.0.1:0',
  });
  closing.push(
    () => bridge.close(),
    () => upstream.close(),
    () => grpc.forceShutdown(),
    () => sockets.close(),
    () => [plain, secure].forEach((server) => server.close().closeAllConnections()),
  );
});
afterAll(async () => {
  for (const close of closing) await close();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(() => {
  upstream.log.length = 0;
});
/** Names that Chromium requests by itself are unknown to the proxy. */
afterEach(() => {
  const carried = upstream.log.filter(({ reply }) => reply === 0);
  expect(carried.length).toBeGreaterThan(0);
  for (const { host, user, atyp } of carried) {
    expect([host, user, atyp]).toEqual([
      expect.stringMatching(/^(?:origin\.test|proxy\.onion|tor\.test)$/),
      'alice',
      'name',
    ]);
  }
});

const http = (): string => `http://127.0.0.1:${bridge.port}`;
const socks = (): string => `socks5://127.0.0.1:${bridge.port}`;
const url = (path = '/hello', scheme: 'http' | 'https' = 'http'): string =>
  `${scheme}://origin.test:${ports[scheme]}${path}`;
const env = (more: Readonly<Record<string, string>> = {}): Record<string, string | undefined> => ({
  PATH: `${process.env['PATH']}:/usr/sbin`,
  HOME: folder,
  ...more,
});

describe('a bridge serves', () => {
  test.each([
    ['--socks5-hostname', () => ['--socks5-hostname', `127.0.0.1:${bridge.port}`]],
    ['--socks4a', () => ['--socks4a', `127.0.0.1:${bridge.port}`]],
    ['--proxy http://', () => ['--proxy', http()]],
    ['--proxy http:// with a tunnel', () => ['--proxytunnel', '--proxy', http()]],
  ])('curl with %s, plain and over TLS', async (_, args) => {
    for (const each of [url('/file.bin'), url('/file.bin', 'https')]) {
      const file = join(folder, 'curled');
      const given = ['-q', '-sS', '--noproxy', '', '--cacert', CERTIFICATE_FILE, '-o', file, ...args(), each];
      await outputOf('curl', given, { env: env() });
      expect(sha256(readFileSync(file))).toBe(sha256(FILE));
    }
  });

  test.each([
    ['http', () => http()],
    ['socks5h', () => `socks5h://127.0.0.1:${bridge.port}`],
  ])('git over https, by %s', async (name, proxy) => {
    const repository = join(folder, 'files', name);
    const identity = ['-c', 'user.name=A', '-c', 'user.email=a@b.test'];
    const git = (...args: readonly string[]): Promise<string> =>
      outputOf('git', [...identity, ...args], { env: env({ GIT_SSL_CAINFO: CERTIFICATE_FILE }) });
    await git('init', '-q', repository);
    await git('-C', repository, 'commit', '-q', '--allow-empty', '-m', 'hello');
    await git('-C', repository, 'update-server-info');
    const copy = join(folder, `copy-${name}`);
    await git('-c', `http.proxy=${proxy()}`, 'clone', '-q', url(`/${name}/.git`, 'https'), copy);
    expect(await git('-C', copy, 'log', '--format=%s')).toBe('hello\n');
  });

  test.each(['http', 'https'] as const)('npm, from a registry of %s', async (scheme) => {
    const source = join(folder, 'files', scheme);
    mkdirSync(source, { recursive: true });
    writeFileSync(join(source, 'package.json'), '{ "name": "a-package", "version": "1.2.3" }');
    await outputOf('npm', ['pack', '--silent', '--pack-destination', source], { cwd: source, env: env() });
    const tarball = url(`/${scheme}/a-package-1.2.3.tgz`, scheme);
    const dist = { tarball, shasum: await shasum(join(source, 'a-package-1.2.3.tgz')) };
    const versions = { '1.2.3': { name: 'a-package', version: '1.2.3', dist } };
    const packument = { name: 'a-package', 'dist-tags': { latest: '1.2.3' }, versions };
    writeFileSync(join(source, 'a-package'), JSON.stringify(packument));
    const project = join(folder, `project-${scheme}`);
    mkdirSync(project);
    writeFileSync(join(project, 'package.json'), '{ "private": true }');
    const options = ['--registry', url(`/${scheme}/`, scheme), '--proxy', http(), '--https-proxy', http()];
    await outputOf(
      'npm',
      ['install', '--no-audit', '--no-fund', ...options, '--cafile', CERTIFICATE_FILE, 'a-package'],
      {
        cwd: project,
        env: env({ npm_config_cache: join(folder, `cache-${scheme}`) }),
      },
    );
    const installed = readFileSync(join(project, 'node_modules/a-package/package.json'), 'utf8');
    expect(installed).toContain('1.2.3');
  });

  async function shasum(path: string): Promise<string> {
    return (await outputOf('sha1sum', [path])).slice(0, 40);
  }

  test.skipIf(!existsSync('/usr/bin/chromium') && process.env['CI'] !== 'true').each([
    ['socks5', () => socks()],
    ['http', () => http()],
  ])(
    'Chromium, by %s: a page with what belongs to it, a WebSocket and a download',
    { timeout: 60_000 },
    async (name, proxy) => {
      const downloads = mkdtempSync(join(folder, 'downloads-'));
      const pictures = here('../../node_modules/.cache/screenshots');
      mkdirSync(pictures, { recursive: true });
      const picture = join(pictures, `bridge-${name}.png`);
      rmSync(picture, { force: true });
      const args = [here('browse.js'), proxy(), url('/'), downloads, picture];
      const seen = await outputOf(NODE_24, args, { env: env(), timeout: 50_000 });
      expect(JSON.parse(seen)).toEqual({
        colour: 'rgb(1, 2, 3)',
        picture: 1,
        greeting: 'greetings',
        downloaded: true,
      });
      expect(sha256(readFileSync(join(downloads, 'file.bin')))).toBe(sha256(FILE));
      expect(readFileSync(picture).subarray(1, 4).toString()).toBe('PNG');
      console.log(`kept ${picture}`);
    },
  );

  describe.each(PROGRAMS.filter(({ name }) => !name.startsWith('curl')))('$name', (program) => {
    const schemes = program.schemes.filter((scheme) => scheme === '4a' || scheme === '5h');
    test.skipIf(mustSkipProgram(program)).each(schemes)('as %s', async (scheme) => {
      const sender = openProgramFolder('');
      // torsocks resolves names but those of onions; see below.
      const host = program.name === 'torsocks' ? 'proxy.onion' : 'origin.test';
      const sent = { scheme, proxy: bridge.port, login: undefined, host, port: ports.http };
      const outcome = await sender.send(program, sent);
      sender.remove();
      expect(outcome).toMatchObject({ code: 0, stdout: expect.stringContaining('HTTP/1.1 200') });
      expect(upstream.log).toMatchObject([{ host, command: 'connect' }]);
    });
  });

  test.skipIf(!isIsolated())('torsocks that resolves a name', async () => {
    const config = join(folder, 'torsocks.conf');
    writeFileSync(config, `TorAddress 127.0.0.1\nTorPort ${bridge.port}\n`);
    const program = 'import socket; print(socket.gethostbyname("tor.test"))';
    const output = await outputOf('torsocks', ['/usr/bin/python3', '-c', program], {
      env: env({ TORSOCKS_CONF_FILE: config }),
    });
    expect(output).toBe('198.51.100.7\n');
    expect(upstream.log).toMatchObject([{ command: 'resolve', host: 'tor.test' }]);
  });

  test.skipIf(!isIsolated())('ssh by the ProxyCommand nc', async () => {
    const port = await freePort();
    const key = join(folder, 'key');
    await outputOf('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
    const config = [
      'ListenAddress 127.0.0.1',
      `HostKey ${key}`,
      `AuthorizedKeysFile ${key}.pub`,
      'PidFile none',
    ];
    writeFileSync(
      join(folder, 'sshd_config'),
      [`Port ${port}`, ...config, 'StrictModes no', 'UsePAM no', 'PermitRootLogin yes', ''].join('\n'),
    );
    mkdirSync('/run/sshd', { recursive: true });
    const sshd = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', join(folder, 'sshd_config')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    for await (const chunk of sshd.stderr) if (String(chunk).includes('listening on')) break;
    sshd.stderr.resume();
    const options = [
      'BatchMode=yes',
      'StrictHostKeyChecking=accept-new',
      `UserKnownHostsFile=${join(folder, 'known_hosts')}`,
      `ProxyCommand=nc -X 5 -x 127.0.0.1:${bridge.port} %h %p`,
    ].flatMap((option) => ['-o', option]);
    const args = ['-F', 'none', '-i', key, ...options, '-p', `${port}`, 'root@origin.test', 'echo hello'];
    const output = await outputOf('ssh', args, { env: env(), timeout: 12_000 });
    sshd.kill();
    expect(output).toBe('hello\n');
  });

  test('gRPC, by grpc_proxy', async () => {
    const program = join(here('.'), `.grpc-${process.pid}.mjs`);
    writeFileSync(
      program,
      `import { credentials, makeGenericClientConstructor } from '@grpc/grpc-js';
       const asIs = (bytes) => bytes;
       const method = { path: '/Test/Echo', requestStream: false, responseStream: false, requestSerialize: asIs,
         requestDeserialize: asIs, responseSerialize: asIs, responseDeserialize: asIs };
       const Client = makeGenericClientConstructor({ Echo: method }, 'Test');
       const client = new Client('origin.test:${ports.grpc}', credentials.createInsecure());
       client.Echo(Buffer.from('hello'), (error, answer) => {
         console.log(error ? error.message : String(answer));
         client.close();
       });`,
    );
    try {
      expect(await outputOf(process.execPath, [program], { env: env({ grpc_proxy: http() }) })).toBe(
        'hello\n',
      );
    } finally {
      rmSync(program);
    }
  });

  test.each([
    ['ProxyAgent', () => new ProxyAgent({ uri: http(), requestTls: { ca: CERTIFICATE } })],
    ['Socks5ProxyAgent', () => new Socks5ProxyAgent(socks())],
  ])('the %s of undici', async (_, make) => {
    const dispatcher = make();
    const answer = await fetch7(url(), { dispatcher });
    expect(await answer.text()).toBe('hello');
    await dispatcher.destroy();
  });

  test('socks-proxy-agent', async () => {
    for (const scheme of ['socks5h', 'socks4a']) {
      const agent = new SocksProxyAgent(`${scheme}://127.0.0.1:${bridge.port}`);
      const answer = await new Promise<IncomingMessage>((resolve, reject) => {
        request(url(), { agent }, resolve).on('error', reject).end();
      });
      expect(await text(answer)).toBe('hello');
      agent.destroy();
    }
  });
});
