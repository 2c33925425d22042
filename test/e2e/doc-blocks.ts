// The blocks of code in the documents, and a reader who runs them: with a proxy, a site and a certificate of their own,
// in a folder that has the packages.

import { execFile, execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { startServer } from '@socksify/server';
import { listen } from '@socksify/support';
import { read } from './pages.ts';

export interface Block {
  /** Page and line, such as `README.md:9`. */
  readonly place: string;
  /** The heading above the block, without its marks. */
  readonly heading: string;
  readonly language: string;
  readonly code: string;
  /** What the comments in front of the block say, by the word that each begins with. */
  readonly notes: ReadonlyMap<string, string>;
}

/** @param page its path in the repository */
export function blocksOf(page: string): Block[] {
  const text = read(page);
  return [...text.matchAll(/((?:^<!--(?:(?!-->)[\s\S])*-->\s*?\n)*)^```(\w*)\n([\s\S]*?)^```$/gm)].map(
    (match) => {
      const [, comments = '', language = '', code = ''] = match;
      const line = text.slice(0, match.index + comments.length).split('\n').length;
      const heading =
        text
          .slice(0, match.index)
          .match(/^#+ .*$/gm)
          ?.at(-1) ?? '';
      const notes = [...comments.matchAll(/<!--\s*([\s\S]*?)\s*-->/g)].map(
        ([, note = '']): [string, string] => {
          const [, name = note, value = ''] = /^([a-z -]+?): ?\n?([\s\S]*)$/.exec(note) ?? [];
          return [name, value];
        },
      );
      const place = `${page}:${line}`;
      return { place, heading: heading.replace(/^#+ /, ''), language, code, notes: new Map(notes) };
    },
  );
}

/** True for a block that is run as it stands. */
export function isRun({ language, notes }: Block): boolean {
  return /^(?:js|cjs|sh)$/.test(language) && !notes.has('not run') && !notes.has('run by');
}

const ENDINGS: Readonly<Record<string, string>> = { js: 'mjs', cjs: 'cjs', ts: 'mts', sh: 'sh' };
export function fileOf({ place, language }: Block): string {
  return `${place.replaceAll(/\W+/g, '-')}.${ENDINGS[language]}`;
}

export function sourceOf({ code, notes }: Block): string {
  return [notes.get('set-up'), code].filter(Boolean).join('\n');
}

export interface Outcome {
  readonly output: string;
  readonly errors: string;
  readonly status: unknown;
  /** The hosts of the requests that the proxy got. */
  readonly hosts: readonly string[];
}

export interface Reader {
  /** Runs a block with the binary of a Node. */
  readonly run: (block: Block, node: string) => Promise<Outcome>;
  readonly close: () => void;
}

/** What a block of sh can start. */
const APP = `fetch(process.argv[2] ?? process.env.SITE).then(async (response) => {
  console.log(response.status, await response.text());
});
`;

const hello: RequestListener = (request, response) => {
  request.resume();
  response.setHeader('content-type', request.url === '/json' ? 'application/json' : 'text/plain');
  response.end(request.url === '/json' ? '{"hello":"world"}' : 'hello');
};

/**
 * @param folder where the blocks are run; it gets the program, the certificate and the blocks
 * @param bin the folder of the commands that the packages install
 */
export async function startReader(folder: string, bin: string): Promise<Reader> {
  writeFileSync(join(folder, 'app.js'), APP);
  const request = '-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=docs';
  const names = 'subjectAltName=DNS:example.com,DNS:example.org,DNS:proxy.example,IP:127.0.0.1';
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'ca.pem')];
  const out = ['-addext', names, '-keyout', key, '-out', cert];
  execFileSync('openssl', ['req', ...request.split(' '), ...out], { stdio: 'ignore' });
  const tls = { key: readFileSync(key), cert: readFileSync(cert) };
  const site = [createHttpServer(hello), createHttpsServer(tls, hello)] as const;
  const [http = 0, https = 0] = await Promise.all(site.map((server) => listen(server)));
  const ports = { http, https };

  const run: Reader['run'] = async (block, node) => {
    const options = { names: { 'example.com': '127.0.0.1', 'example.org': '127.0.0.1' } };
    const users = { users: 'any', allowAnonymous: true } as const;
    const proxy = await startServer({ ...options, ...users });
    const inTls = await startServer({ ...options, ...users, tls });
    // The block as it stands, but for the ports: those that a reader has are not free here.
    const source = sourceOf(block)
      .replaceAll('127.0.0.1:1080', `127.0.0.1:${proxy.port}`)
      .replaceAll("host: '127.0.0.1', port: 1080", `host: '127.0.0.1', port: ${proxy.port}`)
      .replaceAll('127.0.0.1:1443', `127.0.0.1:${inTls.port}`)
      .replaceAll(
        /\b(http|https):\/\/(example\.(?:com|org))\//g,
        (_, scheme: keyof typeof ports, host: string) => `${scheme}://${host}:${ports[scheme]}/`,
      )
      .replaceAll(
        /(host: 'example\.(?:com|org)', port: )(80|443)\b/g,
        (_, before: string, port: string) => `${before}${port === '80' ? http : https}`,
      );
    const file = join(folder, `run-${fileOf(block)}`);
    writeFileSync(file, source);
    const path = [dirname(node), bin, process.env['PATH']].join(delimiter);
    const certificate = { NODE_EXTRA_CA_CERTS: cert };
    const env = { PATH: path, HOME: folder, SITE: `https://example.com:${https}/`, ...certificate };
    const [command, ...args] = block.language === 'sh' ? ['sh', '-e', file] : [node, file];
    const { output, errors, status } = await promisify(execFile)(command, args, {
      cwd: folder,
      env,
      timeout: 20_000,
    }).then(
      ({ stdout, stderr }) => ({ output: stdout, errors: stderr, status: 0 }),
      (error: { stdout: string; stderr: string; code: unknown; signal: unknown }) => ({
        output: error.stdout,
        errors: error.stderr,
        status: error.code ?? error.signal,
      }),
    );
    const hosts = [...proxy.log, ...inTls.log].map(({ host }) => host);
    await Promise.all([proxy.close(), inTls.close()]);
    return { output, errors, status, hosts };
  };

  const close = (): void => {
    for (const server of site) {
      server.closeAllConnections();
      server.close();
    }
  };
  return { run, close };
}
