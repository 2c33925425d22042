// The code of docs/recipes.md, part by part, against a site whose names only the proxy knows. The site also accepts
// direct connections, and counts them. Not on Node 20, where many of the libraries do not run.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { networkInterfaces, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startServer } from '@socksify/server';
import { freePort, runProgram } from '@socksify/support';
import type { Ended } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createFolder, PARTS, ROWS, writeProgram } from '../recipes.ts';
import { HOSTS, startRecipeSite } from '../site.ts';
import type { Visits } from '../site.ts';

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const TCP_TEST = readFileSync(here('../../programs/tcp.test.ts'), 'utf8');
const COMMAND = here('../../../packages/socksify/dist/command.js');
const RUN_HERE = PARTS.filter(({ title }) => !TCP_TEST.includes(`recipe('${title}'`));

interface Outcome extends Ended {
  /** The names in the requests that the site got. */
  readonly visited: readonly string[];
  /** The destinations of the requests that the proxy got, as `name HOST`. */
  readonly requested: readonly string[];
  /** How many connections came to the site that the proxy did not make. */
  readonly direct: number;
  /** The names that the program looked up itself. */
  readonly lookups: readonly string[];
}

const scratch = mkdtempSync(join(tmpdir(), 'socksify-recipes-'));
const folder = createFolder();
const tls = createCertificate();
const isNode20 = process.version.startsWith('v20.');
/** Elsewhere a mistake would be a connection to the Internet. */
const isAlone = Object.keys(networkInterfaces()).join() === 'lo';
/** On Node 26 telegraf does not finish sending a file, without a proxy either. */
const isWorking = (title: string): boolean =>
  !process.version.startsWith('v26.') || !title.startsWith('telegraf');
const outcomes = new Map<string, Outcome>();

interface Mistake {
  readonly source: string;
  /** The name that the program looks up itself. */
  readonly lookup: string;
  /** How many connections it makes that the proxy does not see. */
  readonly direct: number;
}

/** Programs that do not follow the page, or only half of it. */
const MISTAKES: Readonly<Record<string, Mistake>> = {
  'no recipe': {
    source: `console.log(await (await fetch('https://example.com/')).text());`,
    lookup: 'example.com',
    direct: 1,
  },
  'discord.js with a dispatcher for REST': {
    source: `import { Client } from 'discord.js';
      import { SocksDispatcher } from '@socksify/undici';
      const discord = new Client({ intents: [], rest: { agent: new SocksDispatcher(process.env.SOCKS_PROXY) } });
      discord.once('clientReady', () => discord.destroy());
      await discord.login('TOKEN');`,
    lookup: 'gateway.discord.gg',
    direct: 1,
  },
  'grammy that sends a file by its URL': {
    source: `import { Bot, InputFile } from 'grammy';
      import { SocksAgent } from '@socksify/agent';
      const agent = new SocksAgent(process.env.SOCKS_PROXY);
      const bot = new Bot('TOKEN', { client: { baseFetchConfig: { agent } } });
      await bot.api.sendPhoto(1, new InputFile(new URL('https://example.com/photo.jpg')));`,
    lookup: 'example.com',
    direct: 1,
  },
  'mongodb+srv: with its own client': {
    source: `import { MongoClient } from 'mongodb';
      const { hostname: proxyHost, port, username: proxyUsername, password: proxyPassword } = new URL(process.env.SOCKS_PROXY);
      const proxy = { proxyHost, proxyPort: Number(port), proxyUsername, proxyPassword };
      await new MongoClient('mongodb+srv://db.example.com', proxy).connect().catch(() => {});`,
    lookup: '_mongodb._tcp.db.example.com',
    direct: 0,
  },
  'mqtt with its own client': {
    source: `import mqtt from 'mqtt';
      const client = mqtt.connect('mqtt://example.com', { socksProxy: process.env.SOCKS_PROXY, reconnectPeriod: 0 });
      client.on('error', () => {});`,
    lookup: 'example.com',
    direct: 0,
  },
  'telegraf without attachmentAgent': {
    source: `import { Telegraf } from 'telegraf';
      import { SocksAgent } from '@socksify/agent';
      const { telegram } = new Telegraf('TOKEN', { telegram: { agent: new SocksAgent(process.env.SOCKS_PROXY) } });
      await telegram.sendPhoto(1, { url: 'https://example.com/photo.jpg' });`,
    lookup: 'example.com',
    direct: 1,
  },
};

function createCertificate(): { readonly key: Buffer; readonly cert: Buffer } {
  const [key, cert] = [join(scratch, 'key.pem'), join(scratch, 'cert.pem')];
  const names = `subjectAltName=${HOSTS.map((host) => `DNS:${host}`).join()}`;
  const curve = '-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=recipes';
  execFileSync('openssl', ['req', ...curve.split(' '), '-addext', names, '-keyout', key, '-out', cert], {
    stdio: 'ignore',
  });
  return { key: readFileSync(key), cert: readFileSync(cert) };
}

/** Runs programs one after the other at an address of its own, so that each visit is of one program. */
async function runAll(titles: Iterator<string>, address: string): Promise<void> {
  const site = await startRecipeSite(address, tls);
  for (let next = titles.next(); !next.done; next = titles.next()) {
    site.hosts.clear();
    site.ports.length = 0;
    outcomes.set(next.value, await run(next.value, site, address));
  }
  site.close();
}

async function run(title: string, site: Visits, address: string): Promise<Outcome> {
  const proxy = await startServer({
    names: Object.fromEntries(HOSTS.map((host) => [host, address])),
    users: { user: 'password' },
  });
  const lookups = join(scratch, `${address}.lookups`);
  writeFileSync(lookups, '');
  const byCommand = PARTS.some((part) => part.title === title && part.byCommand);
  const start = byCommand ? [COMMAND, '--strict=tcp', 'node'] : [];
  const program = await write(title, proxy.port);
  const ended = await runProgram(process.execPath, [...start, '--require', here('../direct.cjs'), program], {
    env: {
      PATH: dirname(process.execPath),
      HOME: scratch,
      NODE_EXTRA_CA_CERTS: join(scratch, 'cert.pem'),
      NODE_NO_WARNINGS: '1',
      AWS_ACCESS_KEY_ID: 'id',
      AWS_SECRET_ACCESS_KEY: 'secret',
      SOCKS_PROXY: proxy.url('socks5', { username: 'user', password: 'password' }),
      // A library that prefers it to its option connects to a port where nobody listens.
      ...(!byCommand && { HTTPS_PROXY: 'http://127.0.0.1:1' }),
      SITE: address,
      LOOKUPS: lookups,
    },
    timeout: 20_000,
  });
  const outgoing = new Set(proxy.log.map(({ outgoingPort }) => outgoingPort));
  await proxy.close();
  return {
    ...ended,
    visited: [...site.hosts].toSorted(),
    requested: [...new Set(proxy.log.map(({ atyp, host }) => `${atyp} ${host}`))].toSorted(),
    direct: site.ports.filter((port) => !outgoing.has(port)).length,
    lookups: readFileSync(lookups, 'utf8').split('\n').filter(Boolean),
  };
}

async function write(title: string, proxyPort: number): Promise<string> {
  const mistake = MISTAKES[title];
  if (!mistake) {
    return writeProgram(folder.path, title, {
      '127.0.0.1:1080': `127.0.0.1:${proxyPort}`,
      'proxyPort: 1080': `proxyPort: ${proxyPort}`,
      8080: `${await freePort()}`,
    });
  }
  const file = join(folder.path, `mistake-${proxyPort}.mjs`);
  writeFileSync(file, mistake.source);
  return file;
}

describe.skipIf(isNode20 || !isAlone)('docs/recipes.md', () => {
  beforeAll(async () => {
    const titles = [...Object.keys(MISTAKES), ...RUN_HERE.map(({ title }) => title)];
    const working = titles.filter(isWorking).values();
    await Promise.all(['127.44.3.1', '127.44.3.2', '127.44.3.3'].map((address) => runAll(working, address)));
  }, 120_000);

  test.each(RUN_HERE.map(({ title }) => title).filter(isWorking))(
    'the code for %s goes through the proxy',
    (title) => {
      const outcome = outcomes.get(title);
      expect(outcome).toMatchObject({ stderr: '', status: 0, direct: 0, lookups: [] });
      expect(outcome?.stdout).toContain('hello');
      expect(outcome?.visited).not.toEqual([]);
      expect(outcome?.requested).toEqual(outcome?.visited.map((host) => `name ${host}`));
    },
  );

  const mistakes = Object.entries(MISTAKES).filter(([title]) => isWorking(title));
  test.each(mistakes)('%s: what does not go through the proxy is seen', (title, mistake) => {
    const outcome = outcomes.get(title);
    expect(outcome?.direct).toBe(mistake.direct);
    expect(outcome?.lookups).toContain(mistake.lookup);
  });
});

describe('the table of docs/recipes.md', () => {
  const rows = ROWS.filter(({ release }) => /^\d/.test(release));

  test('has a row for each library whose code the page has, and for no other', () => {
    const libraries = [...new Set(PARTS.map(({ library }) => library))].toSorted();
    expect(rows.map(({ library }) => library)).toEqual(libraries);
  });

  test('says which test runs the code', () => {
    for (const { library, test: named } of rows) {
      const isRunHere = RUN_HERE.some((part) => part.library === library);
      expect(named, library).toContain(isRunHere ? 'recipes.test.ts' : 'tcp.test.ts');
    }
  });

  test('has the releases that are installed', () => {
    for (const { library, release } of rows) {
      const manifest = here(`../node_modules/${library}/package.json`);
      const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
      expect(release, library).toBe(version);
    }
  });
});

afterAll(() => {
  folder.remove();
  rmSync(scratch, { recursive: true });
});
