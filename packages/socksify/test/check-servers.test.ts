// What check says of real servers, held against what they were seen to do by hand.

import { createServer } from 'node:http';
import { checkProxy } from 'socksify';
import type { CheckReport } from 'socksify';
import { listen, startEcho, startSite } from '@socksify/support';
import type { Site, TcpDestination } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mustSkip, SERVERS } from '../../../test/e2e/interop/servers.ts';
import type { InteropServer, RunningServer } from '../../../test/e2e/interop/servers.ts';
import { openssh } from '../../../test/e2e/interop/servers/openssh.ts';
import { shadowsocks } from '../../../test/e2e/interop/servers/shadowsocks.ts';

interface Facts {
  /** SOCKS4, SOCKS4A, SOCKS5. */
  readonly versions: readonly [boolean, boolean, boolean];
  /** What a check finds out about SOCKS4 and SOCKS4A without the option target. */
  readonly untried?: readonly [boolean | null, boolean | null];
  readonly methods: readonly number[];
  readonly pipelining: boolean;
  /** Success is reported before the destination is connected. */
  readonly early: boolean;
  /** The refusal of a name that does not exist shows that the server looked it up. */
  readonly names: boolean | null;
  readonly looksLike: string;
  /** False for tor, which has no network here. */
  readonly reaches?: false;
  /** For a closed port of the destination the proxy sends REP 05, so that it is not to blame. */
  readonly blames: boolean;
}

const DANTE = { versions: [true, false, true], pipelining: true, early: false, names: true } as const;
const MICROSOCKS = {
  versions: [false, false, true],
  untried: [false, false],
  methods: [2],
  pipelining: false,
  early: false,
  names: true,
  looksLike: 'microsocks',
  blames: true,
} as const;
const TOR = {
  versions: [true, true, true],
  methods: [0, 2],
  pipelining: true,
  early: false,
  names: null,
  looksLike: 'tor',
  reaches: false,
  blames: false,
} as const;
const V2RAY = { pipelining: true, early: true, names: null, looksLike: 'v2ray', blames: false } as const;

const FACTS: Readonly<Record<string, Facts>> = {
  dante: { ...DANTE, methods: [0], looksLike: 'dante', blames: true },
  // It answers SOCKS4 with 91, because SOCKS4 has no password. It answers SOCKS4A before it has read the name.
  'dante with a password': {
    ...DANTE,
    versions: [false, false, true],
    untried: [null, false],
    methods: [2],
    looksLike: 'dante',
    blames: true,
  },
  microsocks: { ...MICROSOCKS, methods: [0] },
  'microsocks with a password': MICROSOCKS,
  OpenSSH: {
    versions: [true, true, true],
    methods: [0],
    pipelining: true,
    early: false,
    names: null,
    looksLike: 'OpenSSH',
    blames: false,
  },
  tor: TOR,
  'tor on a Unix socket': TOR,
  'ss-local': {
    versions: [false, false, true],
    methods: [0],
    pipelining: true,
    early: true,
    names: null,
    looksLike: 'ss-local',
    blames: false,
  },
  v2ray: { ...V2RAY, versions: [true, true, true], methods: [0] },
  // It answers SOCKS4 with 91 as soon as it sees the version.
  'v2ray with a password': { ...V2RAY, methods: [2], versions: [false, false, true] },
  'stunnel before microsocks with a password': MICROSOCKS,
};

let echo: TcpDestination;
// Below all ports that freePort() gives to the servers.
const CLOSED = 9;
beforeAll(async () => {
  echo = await startEcho();
});
afterAll(() => echo.close());

let started: Promise<unknown> = Promise.resolve();
/** One server after the other: a port that is free for one must not be given to another before it listens. */
function inTurn({ start }: InteropServer): Promise<RunningServer> {
  const server = started.then(start, start);
  started = server;
  return server;
}

type Given = Parameters<typeof checkProxy>[0];

function toProxy({ host, port, path, tls }: RunningServer, credentials: RunningServer['credentials']): Given {
  const where = path === undefined ? { host, port } : { path };
  return { version: 5, ...where, ...(tls && { tls }), ...(credentials && { credentials }) };
}

const sentenceOf = ({ probe, code, phase, hint }: CheckReport['errors'][number]): string =>
  `${probe}: ${code} in ${phase}: ${hint}`;

const versionsOf = ({ versions }: CheckReport): unknown[] => [
  versions.socks4,
  versions.socks4a,
  versions.socks5,
];

describe('check of a real server', () => {
  it('has facts of every server', () => {
    expect(Object.keys(FACTS).toSorted()).toEqual(SERVERS.map(({ name }) => name).toSorted());
  });

  it.concurrent.each(SERVERS.filter((server) => !mustSkip(server)))(
    'reports what is true of $name',
    async (interop) => {
      const { name } = interop;
      const facts = FACTS[name];
      if (facts === undefined) throw new Error('no facts');
      const { versions, methods, pipelining, early, looksLike, names } = facts;
      const server = await inTurn(interop);
      try {
        const proxy = toProxy(server, server.credentials);
        const authentication = server.credentials ? true : null;
        const common = { reachable: true, methods, authentication, pipelining, early, looksLike };

        const alone = async (): Promise<void> => {
          const report = await checkProxy(proxy);
          const untried = facts.untried ?? versions.slice(0, 2);
          expect(report).toMatchObject({ ...common, usable: true, names, ipv6: null, target: null });
          expect(versionsOf(report)).toEqual([...untried, true]);
          expect(report.tls).toEqual(
            server.tls ? expect.objectContaining({ authorized: true, subject: 'localhost' }) : false,
          );
        };
        const reaches = facts.reaches ?? true;
        const result = { usable: reaches, target: reaches };
        const address = async (): Promise<void> => {
          const report = await checkProxy(proxy, { target: { host: '127.0.0.1', port: echo.port } });
          expect(report).toMatchObject({ ...common, ...result, names });
          expect(versionsOf(report)).toEqual(versions);
        };
        const named = async (): Promise<void> => {
          const report = await checkProxy(proxy, { target: { host: 'origin.test', port: echo.port } });
          expect(report).toMatchObject({ ...common, ...result, names: reaches ? true : names });
        };
        const six = async (): Promise<void> => {
          const report = await checkProxy(proxy, { target: { host: '::1', port: echo.port } });
          expect(report).toMatchObject({ ...common, ...result, ipv6: reaches ? true : null });
        };
        const closed = async (): Promise<void> => {
          const report = await checkProxy(proxy, { target: { host: '127.0.0.1', port: CLOSED } });
          expect(report).toMatchObject({ ...common, usable: facts.blames, target: false });
          expect(report.errors.find(({ probe }) => probe === 'target')).toMatchObject({
            hint: expect.stringMatching(/./) as string,
          });
        };
        // dante takes SOCKS4, and rejects the names of SOCKS4A.
        const four = async (): Promise<void> => {
          if (name !== 'dante') return;
          const target = { host: '127.0.0.1', port: echo.port };
          expect((await checkProxy(`socks4://127.0.0.1:${server.port}`, { target })).usable).toBe(true);
          const report = await checkProxy(`socks4a://127.0.0.1:${server.port}`);
          expect(report.usable).toBe(false);
          expect(report.errors.map(sentenceOf)).toEqual([
            'socks4a: ERR_SOCKS_REJECTED in request: the proxy does not take SOCKS4A: write socks5://',
          ]);
        };
        const checks = [alone, address, named, six, closed, four];
        // tor and microsocks make each check wait for a time limit.
        if (!reaches || !pipelining) await Promise.all(checks.map((check) => check()));
        else for (const check of checks) await check();

        if (!server.credentials) return;
        const wrong = await checkProxy(toProxy(server, { username: 'alice', password: 'wrong' }));
        expect(wrong).toMatchObject({ usable: false, authentication: false, methods });
        const toCheck = 'check user and password; percent-encode them in the URL';
        expect(wrong.errors.map(sentenceOf)).toContain(
          `authentication: ERR_SOCKS_AUTH_FAILED in authentication: ${toCheck}`,
        );
        const without = await checkProxy(toProxy(server, undefined));
        expect(without).toMatchObject({ usable: false, authentication: null, methods });
        const toWrite = 'the proxy wants credentials: write socks5://user:password@host:port';
        expect(without.errors.map(sentenceOf)).toContain(
          `methods: ERR_SOCKS_NO_ACCEPTABLE_METHOD in greeting: ${toWrite}`,
        );
      } finally {
        await server.stop();
      }
    },
    60_000,
  );
});

describe('check of a port that is no SOCKS proxy', () => {
  let site: Site;
  beforeAll(async () => {
    site = await startSite();
  });
  afterAll(() => site.close());
  const options = { timeout: 1000 };

  it.concurrent.each(['socks5', 'socks4a', 'socks5s'])('names an HTTP server, with %s', async (scheme) => {
    const report = await checkProxy(`${scheme}://127.0.0.1:${site.http}`, options);
    expect(report).toMatchObject({ usable: false, reachable: true, looksLike: 'HTTP server' });
    expect(report.errors[0]?.hint).toContain('an HTTP server answers on this port');
  });

  it.concurrent.each(['socks5', 'socks4a', 'socks5s'])('names an HTTPS server, with %s', async (scheme) => {
    const report = await checkProxy(`${scheme}://127.0.0.1:${site.https}`, options);
    expect(report).toMatchObject({ usable: false, looksLike: 'HTTPS server', tls: { authorized: false } });
    expect(report.errors[0]?.hint).toContain('an HTTPS server answers on this port');
  });

  it.concurrent.each([
    ['502 Bad Gateway', ''],
    ['407 Proxy Authentication Required', 'Proxy-Authenticate: Basic\r\n'],
    ['403 Forbidden', 'Via: 1.1 gate\r\n'],
    ['200 Connection established', ''],
  ])('names an HTTP proxy that answers %s', async (status, header) => {
    const proxy = createServer((_, response) => void response.writeHead(400).end());
    proxy.on('connect', (_, socket) => void socket.end(`HTTP/1.1 ${status}\r\n${header}\r\n`));
    const port = await listen(proxy);
    const report = await checkProxy(`socks5://127.0.0.1:${port}`, options);
    expect(report).toMatchObject({ usable: false, looksLike: 'HTTP proxy' });
    expect(report.errors[0]?.hint).toContain('an HTTP proxy answers on this port');
    proxy.close();
    proxy.closeAllConnections();
  });

  it.skipIf(mustSkip(shadowsocks)).concurrent(
    'calls the server of shadowsocks silent, and names it in the hint',
    async () => {
      const server = await inTurn(shadowsocks);
      try {
        const port = Number(/listening at 127\.0\.0\.1:(\d+)/.exec(server.log())?.[1]);
        const report = await checkProxy(`socks5://127.0.0.1:${port}`, options);
        expect(report).toMatchObject({ usable: false, reachable: true, looksLike: 'silent port' });
        expect(report.errors[0]?.hint).toContain('ss-local');
      } finally {
        await server.stop();
      }
    },
  );

  it.skipIf(mustSkip(openssh)).concurrent('names an SSH server', async () => {
    const server = await inTurn(openssh);
    try {
      const port = Number(/Server listening on 127\.0\.0\.1 port (\d+)/.exec(server.log())?.[1]);
      const report = await checkProxy(`socks5://127.0.0.1:${port}`, options);
      expect(report).toMatchObject({ usable: false, reachable: true, looksLike: 'SSH server' });
      expect(report.errors[0]?.hint).toContain('ssh -D 1080');
    } finally {
      await server.stop();
    }
  });

  it.concurrent('says that nothing listens on a closed port', async () => {
    const report = await checkProxy(`socks5://127.0.0.1:${CLOSED}`, options);
    expect(report).toMatchObject({ usable: false, reachable: false, looksLike: null });
    expect(report.errors).toEqual([
      {
        probe: 'dial',
        code: 'ERR_SOCKS_PROXY_UNREACHABLE',
        phase: 'dial',
        hint: 'nothing listens on this port: start the proxy, or check the port',
      },
    ]);
  });
});
