// A site with names that the proxy alone knows, proxies that want a password, and programs that run beside them in
// processes of their own: under strict the proxy could not run in the same one.

import { spawn } from 'node:child_process';
import type { SpawnOptions } from 'node:child_process';
import { once } from 'node:events';
import { createSecureServer } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { startSite, TLS } from '@socksify/support';
import type { Site } from '@socksify/support';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';

export const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
export const REGISTER: string = here('../dist/preload.cjs');
export const COMMAND: string = here('../dist/command.js');
export const CA: string = here('../../../test/support/certificate/cert.pem');
const ALICE = { username: 'alice', password: 'secret' };

export interface Stage {
  readonly web: Site;
  /** HTTP/2 over TLS: answers `h2`. */
  readonly h2: number;
  readonly proxy: SocksServer;
  /** With its password. */
  readonly url: string;
  readonly tlsProxy: SocksServer;
  /** How many connections came to the site that no proxy made. */
  direct(): number;
  close(): Promise<void>;
}

export async function startStage(): Promise<Stage> {
  const web = await startSite();
  const h2 = createSecureServer(TLS);
  const ports: number[] = [];
  h2.on('connection', ({ remotePort = 0 }) => ports.push(remotePort));
  h2.on('stream', (stream) => {
    stream.respond({ ':status': 200 });
    stream.end('h2');
  });
  h2.listen(0, '::');
  await once(h2, 'listening');
  const names = { 'origin.test': '127.0.0.1' };
  const proxy = await startServer({ names, users: { alice: 'secret' } });
  const tlsProxy = await startServer({ names, tls: TLS, users: { alice: 'secret' } });
  return {
    web,
    h2: (h2.address() as AddressInfo).port,
    proxy,
    url: proxy.url('socks5', ALICE),
    tlsProxy,
    direct: () => {
      const outgoing = new Set([...proxy.log, ...tlsProxy.log].map(({ outgoingPort }) => outgoingPort));
      return [...web.hits, ...ports].filter((port) => !outgoing.has(port)).length;
    },
    close: async () => {
      h2.close();
      await Promise.all([proxy.close(), tlsProxy.close(), web.close()]);
    },
  };
}

export interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Runs to the end. The environment is what is given, and a PATH. */
export async function execute(
  command: string,
  args: readonly string[],
  env: Record<string, string | undefined> = {},
  { input = '', ...options }: SpawnOptions & { input?: string } = {},
): Promise<Ended> {
  const child = spawn(command, args, {
    ...options,
    env: { PATH: process.env['PATH'], NODE_NO_WARNINGS: '1', ...env },
    stdio: 'pipe',
  });
  child.stdin?.on('error', () => {}).end(input);
  const [stdout, stderr, [status, signal]] = await Promise.all([
    text(child.stdout as NodeJS.ReadableStream),
    text(child.stderr as NodeJS.ReadableStream),
    once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>,
  ]);
  return { stdout, stderr, status, signal };
}

/** What each program of the tests finds: addresses by name, and a function that prints what became of each attempt. */
const PRELUDE = `
  const { HTTP, HTTPS, H2 } = process.env;
  const http1 = 'http://origin.test:' + HTTP + '/', https1 = 'https://origin.test:' + HTTPS + '/';
  const HEAD = 'GET / HTTP/1.0\\r\\n\\r\\n';
  const read = async (stream) => {
    let all = '';
    for await (const chunk of stream) all += chunk;
    return all.split('\\r\\n').at(-1);
  };
  const attempt = async (name, run) => {
    try {
      console.log(name + ': ' + (await run()));
    } catch (error) {
      let at = error;
      while (at.cause && !at.code) at = at.cause;
      console.log(name + ': ' + (at.code ?? at.message));
    }
  };
`;

/** Runs the source of an ES module, preloaded with socksify. */
export function run(
  stage: Stage,
  source: string,
  env: Record<string, string | undefined> = {},
  args: readonly string[] = ['--require', REGISTER],
): Promise<Ended> {
  const { web, h2, url } = stage;
  const ports = { HTTP: `${web.http}`, HTTPS: `${web.https}`, H2: `${h2}` };
  return execute(
    process.execPath,
    [...args, '--input-type=module', '--eval', PRELUDE + source],
    {
      SOCKS_PROXY: url,
      NODE_EXTRA_CA_CERTS: CA,
      ...ports,
      ...env,
    },
    { cwd: here('../../../test/programs') },
  );
}

/** The lines `name: result` of a program. */
export function results({ stdout, stderr }: Ended): Record<string, string> {
  const lines = stdout.trim().split('\n');
  const entries = lines.map((line) => {
    const at = line.lastIndexOf(': ');
    return [line.slice(0, at), line.slice(at + 2)];
  });
  return { ...(Object.fromEntries(entries) as Record<string, string>), ...(stderr && { stderr }) };
}
