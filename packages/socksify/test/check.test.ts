// checkProxy() against the reference server, and against servers that do what a script or a function says.

import { mkdtempSync, rmSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { BROKEN_TUNNELS, MISBEHAVIOURS, startScript, startServer } from '@socksify/server';
import type { Misbehaviour } from '@socksify/server';
import {
  CERTIFICATE,
  closed,
  EXPIRED_CERTIFICATE,
  rejection,
  startDestination,
  startEcho,
  startRawServer,
  startSite,
  TLS,
} from '@socksify/support';
import type { Read } from '@socksify/support';
import { checkProxy } from 'socksify';
import type { CheckReport } from 'socksify';
import { describe, expect, test } from 'vitest';

/** Every field of a report, with the types that it may have. Without `idle` there is no other field. */
function expectShape(report: CheckReport): void {
  const truth = [true, false, null];
  expect(Object.keys(report)).toEqual(
    ['proxy', 'usable', 'reachable', 'rtt', 'tls', 'versions', 'methods', 'authentication', 'names'].concat([
      'ipv6',
      'target',
      'pipelining',
      'early',
      'looksLike',
      'phases',
      'errors',
    ]),
  );
  expect(report.proxy).toMatch(/^socks(?:4|4a|5|5s):\/\/[^@]+$/);
  expect(truth).toContain(report.usable);
  expect([true, false]).toContain(report.reachable);
  expect(report.rtt === null || report.rtt >= 0).toBe(true);
  expect(Object.keys(report.versions)).toEqual(['socks4', 'socks4a', 'socks5']);
  for (const value of Object.values(report.versions)) expect(truth).toContain(value);
  for (const field of ['authentication', 'names', 'ipv6', 'target', 'pipelining', 'early'] as const) {
    expect(truth).toContain(report[field]);
  }
  for (const method of report.methods ?? []) expect([0, 1, 2]).toContain(method);
  for (const { ms, roundTrips } of Object.values(report.phases)) {
    expect(ms).toBeGreaterThanOrEqual(0);
    expect(roundTrips).toBeGreaterThanOrEqual(1);
  }
  for (const error of report.errors) {
    expect(Object.keys(error)).toEqual(['probe', 'code', 'phase', 'hint']);
    expect(error.code).toMatch(/^ERR_SOCKS_/);
    expect(error.hint).toMatch(/\w/);
  }
  expect(JSON.parse(JSON.stringify(report))).toEqual(report);
}

const codesOf = ({ errors }: CheckReport): string[] => errors.map(({ probe, code }) => `${probe} ${code}`);
const names = { 'site.test': '127.0.0.1', 'six.test': '::1' };
const ALICE = { username: 'alice', password: 'secret' };

describe('a proxy in order', () => {
  test('is usable, and gets requests for a reserved name and documentation addresses alone', async () => {
    const server = await startServer({ names });
    const report = await checkProxy(server.url('socks5'));
    expectShape(report);
    expect(report).toMatchObject({
      proxy: server.url('socks5'),
      usable: true,
      reachable: true,
      tls: false,
      versions: { socks4: true, socks4a: true, socks5: true },
      methods: [0],
      authentication: null,
      target: null,
      pipelining: true,
      early: false,
      looksLike: null,
      errors: [],
    });
    expect(Object.keys(report.phases)).toEqual(['dial', 'greeting', 'request']);
    const hosts = new Set(server.log.map(({ host }) => host));
    expect([...hosts].toSorted()).toEqual(['192.0.2.1', '2001:db8::1', 'socksify-check.invalid']);
    await server.idle();
    await server.close();
  });

  test('with a password gets it in a message of method 02 alone, and tells whether it is right', async () => {
    const server = await startServer({ names, users: { alice: 'secret' } });
    const right = await checkProxy(server.url('socks5', ALICE));
    expectShape(right);
    expect(right).toMatchObject({ usable: true, methods: [2], authentication: true, pipelining: true });
    expect(right.phases.authentication?.roundTrips).toBe(1);
    const wrong = await checkProxy(server.url('socks5', { username: 'alice', password: 'other' }));
    expect(wrong).toMatchObject({ usable: false, authentication: false });
    expect(codesOf(wrong)).toEqual(['authentication ERR_SOCKS_AUTH_FAILED']);
    const without = await checkProxy(server.url('socks5'));
    expect(without).toMatchObject({ usable: false, authentication: null });
    expect(codesOf(without)).toEqual(['methods ERR_SOCKS_NO_ACCEPTABLE_METHOD']);
    await server.close();
  });

  test('without a password is usable with one in the URL, which is not sent', async () => {
    const server = await startServer({ names });
    const report = await checkProxy(server.url('socks5', ALICE));
    expect(report).toMatchObject({ usable: true, methods: [0], authentication: null });
    expect(report.errors).toMatchObject([{ probe: 'methods', hint: expect.stringContaining('not sent') }]);
    await server.close();
  });

  test('behind TLS shows its certificate, trusted or not', async () => {
    const server = await startServer({ names, tls: TLS });
    const trusting = { version: 5, host: '127.0.0.1', port: server.port, tls: { ca: CERTIFICATE } } as const;
    const certificate = { protocol: 'TLSv1.3', subject: 'socksify tests', issuer: 'socksify tests' };
    const trusted = await checkProxy(trusting);
    expectShape(trusted);
    expect(trusted).toMatchObject({ usable: true, tls: { ...certificate, authorized: true } });
    expect(trusted.phases['proxy-tls']?.roundTrips).toBe(1);
    const distrusted = await checkProxy(server.url('socks5s', ALICE));
    expectShape(distrusted);
    expect(distrusted).toMatchObject({ usable: false, tls: { ...certificate, authorized: false } });
    expect(distrusted.errors).toMatchObject([{ code: 'ERR_SOCKS_PROXY_TLS', phase: 'proxy-tls' }]);
    const plain = await checkProxy(server.url('socks5'), { timeout: 1000 });
    expect(plain).toMatchObject({ usable: false, looksLike: 'SOCKS5 proxy behind TLS' });
    expect(plain.errors[0]?.hint).toContain('socks5s://');
    await server.close();
  });

  test('behind TLS that wants a certificate of the client gets it, and leads to a destination that speaks TLS', async () => {
    const site = await startSite();
    const server = await startServer({ names, tls: { ...TLS, requestCert: true, ca: CERTIFICATE } });
    const proxy = { version: 5, host: '127.0.0.1', port: server.port } as const;
    const target = { host: 'site.test', port: site.https };
    const report = await checkProxy({ ...proxy, tls: { ca: CERTIFICATE, ...TLS } }, { target });
    expect(report).toMatchObject({ usable: true, target: true, errors: [] });
    expect(report.phases['destination-tls']?.roundTrips).toBe(1);
    const without = await checkProxy({ ...proxy, tls: { ca: CERTIFICATE } });
    expect(without).toMatchObject({ usable: false, versions: { socks5: null } });
    expect(without.errors).toEqual([
      {
        probe: 'methods',
        code: 'ERR_SOCKS_PROXY_TLS',
        phase: 'proxy-tls',
        hint: 'the proxy wants a client certificate: give it as tls: { cert, key } of the proxy object',
      },
    ]);
    await server.close();
    await site.close();
  });

  test('behind TLS with a certificate that is refused says what is wrong with it, and not to write socks5s', async () => {
    const hintOf = async (cert: Buffer, tls: object): Promise<unknown> => {
      const server = await startServer({ names, tls: { ...TLS, cert } });
      const proxy = { version: 5, host: '127.0.0.1', port: server.port, tls } as const;
      const { usable, errors } = await checkProxy(proxy);
      await server.close();
      return [usable, errors.map(({ code, hint }) => `${code} ${hint}`)];
    };
    const said = (hint: string): unknown => [false, [`ERR_SOCKS_PROXY_TLS ${hint}`]];
    expect(await hintOf(CERTIFICATE, {})).toEqual(
      said('give the certificate authority by NODE_EXTRA_CA_CERTS'),
    );
    expect(await hintOf(EXPIRED_CERTIFICATE, { ca: EXPIRED_CERTIFICATE })).toEqual(
      said('the certificate of the proxy has expired'),
    );
    expect(await hintOf(CERTIFICATE, { ca: CERTIFICATE, servername: 'elsewhere.test' })).toEqual(
      said('the certificate of the proxy names origin.test, ip6.test, dual.test'),
    );
  });

  test('is found at an IPv6 address and at a Unix socket', async () => {
    const six = await startServer({ host: '::1' });
    expect(await checkProxy(six.url('socks5'))).toMatchObject({ proxy: six.url('socks5'), usable: true });
    await six.close();
    const folder = mkdtempSync(join(tmpdir(), 'socksify-'));
    const unix = await startServer({ path: join(folder, 'proxy.sock') });
    const report = await checkProxy(unix.url('socks5'));
    expectShape(report);
    expect(report).toMatchObject({ proxy: `socks5://localhost${folder}/proxy.sock`, usable: true });
    await unix.close();
    expect(codesOf(await checkProxy(unix.url('socks5')))).toEqual(['dial ERR_SOCKS_PROXY_UNREACHABLE']);
    rmSync(folder, { recursive: true });
  });

  test('keeps an idle connection, or closes it, for as long as is watched', async () => {
    const server = await startServer({ handshakeTimeout: 300 });
    const report = await checkProxy(server.url('socks5'), { idle: 5 });
    expect(report.idle).toMatchObject({ closed: true });
    expect(report.idle?.ms).toBeGreaterThan(100);
    expect(report.idle?.ms).toBeLessThan(3000);
    expect(await checkProxy(server.url('socks5'), { idle: 0.05 })).toMatchObject({ idle: { closed: false } });
    expect(await checkProxy('socks5://127.0.0.1:9', { idle: 0.05 })).toMatchObject({ idle: null });
    await server.close();
  });
});

describe('a destination', () => {
  test('that speaks TLS, HTTP or first is found by the bytes that it sends', async () => {
    const site = await startSite();
    const talker = await startDestination((socket) => void socket.write('220 hello\r\n'));
    const server = await startServer({ names, rules: [] });
    for (const [host, port, tls] of [
      ['site.test', site.https, true],
      ['site.test', site.http, false],
      ['127.0.0.1', talker.port, false],
      ['::1', site.http, false],
    ] as const) {
      const report = await checkProxy(server.url('socks5'), { target: { host, port } });
      expectShape(report);
      expect(report).toMatchObject({ usable: true, target: true, errors: [] });
      expect('destination-tls' in report.phases).toBe(tls);
      if (host === 'site.test') expect(report).toMatchObject({ names: true, versions: { socks4a: true } });
      if (host === '::1') expect(report.ipv6).toBe(true);
    }
    await Promise.all([site.close(), talker.close()]);
    await server.close();
  });

  test('that the rules of the proxy refuse makes the proxy unusable, and one that is down does not', async () => {
    const server = await startServer({ names, allow: ({ host }) => host !== '127.0.0.1' });
    const forbidden = await checkProxy(server.url('socks5'), { target: { host: '127.0.0.1', port: 80 } });
    expect(forbidden).toMatchObject({ usable: false, target: false });
    expect(codesOf(forbidden)).toEqual(['target ERR_SOCKS_NOT_ALLOWED']);
    const unknown = await checkProxy(server.url('socks5'), { target: { host: 'no.test', port: 80 } });
    expect(unknown).toMatchObject({ usable: true, target: false });
    expect(codesOf(unknown)).toEqual(['target ERR_SOCKS_HOST_UNREACHABLE']);
    await server.close();
  });

  test('that never answers has another code than one that closes', async () => {
    const silent = await startDestination(() => {});
    const closing = await startDestination((socket) => void socket.resume().end());
    const server = await startServer({ names });
    const options = { timeout: 700 };
    const waits = await checkProxy(server.url('socks5'), {
      ...options,
      target: { host: '127.0.0.1', port: silent.port },
    });
    expect(waits).toMatchObject({ usable: false, target: false });
    expect(codesOf(waits)).toEqual(['target ERR_SOCKS_TIMEOUT']);
    const ends = await checkProxy(server.url('socks5'), {
      ...options,
      target: { host: '127.0.0.1', port: closing.port },
    });
    expect(ends).toMatchObject({ usable: false, target: false });
    expect(codesOf(ends)).toEqual(['target ERR_SOCKS_PROXY_CLOSED']);
    await Promise.all([silent.close(), closing.close()]);
    await server.close();
  });

  test('is requested over SOCKS4A and SOCKS4 when the URL says so', async () => {
    const echo = await startEcho();
    const server = await startServer({ names });
    const named = { target: { host: 'site.test', port: echo.port } };
    expect(await checkProxy(server.url('socks4a'), named)).toMatchObject({ usable: true, target: true });
    const address = { target: { host: '127.0.0.1', port: echo.port } };
    expect(await checkProxy(server.url('socks4'), address)).toMatchObject({ usable: true, target: true });
    const user = await checkProxy(server.url('socks4a', { username: 'carol' }), address);
    expect(user).toMatchObject({ usable: true, versions: { socks4: true, socks4a: true } });
    const users = new Set(server.log.filter(({ version }) => version === 4).map(({ user: name }) => name));
    expect([...users]).toEqual(['', 'carol']);
    expect(await rejection(checkProxy(server.url('socks4'), named))).toMatchObject({
      code: 'ERR_SOCKS_INVALID_DESTINATION',
    });
    await echo.close();
    await server.close();
  });
});

describe('a proxy of SOCKS4', () => {
  test('that accepts addresses and rejects every name is not usable as socks4a://, and is as socks4://', async () => {
    // As dante: a name is rejected as soon as the first eight bytes and USERID have come.
    const server = await startRawServer((socket) => {
      let request = '';
      socket.on('data', (chunk: Buffer) => {
        request += chunk.toString('hex');
        if (!request.startsWith('04')) socket.destroy();
        else if (request.length >= 18 && request.startsWith('00000001', 8))
          socket.end(Buffer.from('005b000000000000', 'hex'));
        else if (request.length >= 18) socket.write(Buffer.from('005a000000000000', 'hex'));
      });
    });
    const at = `127.0.0.1:${server.port}`;
    const named = await checkProxy(`socks4a://${at}`, { timeout: 1000 });
    expectShape(named);
    expect(named).toMatchObject({ usable: false, versions: { socks4: true, socks4a: false } });
    expect(named.errors).toEqual([
      {
        probe: 'socks4a',
        code: 'ERR_SOCKS_REJECTED',
        phase: 'request',
        hint: 'the proxy does not take SOCKS4A: write socks4://, which resolves names on this machine',
      },
    ]);
    expect(await checkProxy(`socks4://${at}`, { timeout: 1000 })).toMatchObject({ usable: true, errors: [] });
    await server.close();
  });

  test('that rejects what does not exist is unknown, and usable with a destination that answers', async () => {
    const echo = await startEcho();
    const server = await startServer({ names });
    for (const scheme of ['socks4', 'socks4a'] as const) {
      const report = await checkProxy(server.url(scheme), { timeout: 1000 });
      expectShape(report);
      expect(report).toMatchObject({ usable: null, versions: { [scheme]: true } });
      expect(report.errors).toEqual([
        {
          probe: scheme,
          code: 'ERR_SOCKS_REJECTED',
          phase: 'request',
          hint: 'SOCKS4 gives no reason, and the check requests what does not exist: give --target a destination that answers',
        },
      ]);
      const target = { host: '127.0.0.1', port: echo.port };
      expect(await checkProxy(server.url(scheme), { timeout: 1000, target })).toMatchObject({
        usable: true,
        errors: [],
      });
      const down = await checkProxy(server.url(scheme), { timeout: 1000, target: { ...target, port: 9 } });
      expect(down).toMatchObject({ usable: false });
      expect(codesOf(down)).toEqual(['target ERR_SOCKS_REJECTED']);
    }
    await server.close();
    await echo.close();
  });
});

/** What is to be said of each misbehaviour: usable or not, and the errors. */
const GREETING_ONLY = ['methods ERR_SOCKS_PROTOCOL'];
// A script answers every greeting alike, and so chooses methods that were not offered. That alone makes no proxy unusable.
const IN_REQUEST = (code: string): string[] => [...GREETING_ONLY, `names ${code}`];
// The client of these has a password. A script waits for four bytes, and a greeting that offers one method has three.
const WAITS = ['methods ERR_SOCKS_TIMEOUT'];

const SAID: Readonly<
  Record<string, readonly [usable: boolean | null, errors: readonly string[], like?: string]>
> = {
  'accepts no method and closes': [false, ['methods ERR_SOCKS_NO_ACCEPTABLE_METHOD']],
  'accepts no method and stays': [false, ['methods ERR_SOCKS_NO_ACCEPTABLE_METHOD']],
  'chooses a method that was not offered': [false, GREETING_ONLY],
  'chooses GSSAPI': [false, GREETING_ONLY],
  'answers the greeting with VER 00': [false, GREETING_ONLY],
  'answers the greeting with VER 06': [false, GREETING_ONLY],
  'answers the greeting with junk': [false, GREETING_ONLY],
  'answers the request with junk': [false, IN_REQUEST('ERR_SOCKS_PROTOCOL')],
  'answers the credentials with junk': [false, WAITS],
  'answers SOCKS4 with junk': [false, ['socks4 ERR_SOCKS_PROTOCOL']],
  'sends a megabyte of zeros unasked': [false, GREETING_ONLY],
  'speaks first, as SSH does': [false, GREETING_ONLY, 'SSH server'],
  'speaks HTTP': [false, ['methods ERR_SOCKS_WRONG_PROTOCOL'], 'HTTP server'],
  'speaks HTTP to SOCKS4': [false, ['socks4 ERR_SOCKS_WRONG_PROTOCOL'], 'HTTP server'],
  'speaks TLS': [false, ['methods ERR_SOCKS_WRONG_PROTOCOL'], 'TLS server'],
  'speaks SOCKS4 only': [false, ['methods ERR_SOCKS_WRONG_PROTOCOL'], 'SOCKS4 proxy'],
  'speaks no TLS': [false, ['dial ERR_SOCKS_PROXY_TLS']],
  'closes in the TLS handshake': [false, ['dial ERR_SOCKS_PROXY_TLS']],
  'falls silent in the TLS handshake': [false, ['dial ERR_SOCKS_TIMEOUT'], 'silent port'],
  'answers the request with VER 00': [false, IN_REQUEST('ERR_SOCKS_PROTOCOL')],
  'grants with ATYP 00': [false, IN_REQUEST('ERR_SOCKS_PROTOCOL')],
  'grants with ATYP 09': [false, IN_REQUEST('ERR_SOCKS_PROTOCOL')],
  'grants in two bytes and closes': [false, IN_REQUEST('ERR_SOCKS_PROXY_CLOSED')],
  'grants with a name shorter than its length': [false, IN_REQUEST('ERR_SOCKS_PROXY_CLOSED')],
  'refuses the credentials with 05': [false, WAITS],
  'answers the credentials with VER 02': [false, WAITS],
  // It reads the request to its end, so it may reject the address that does not exist, and no other.
  'rejects over SOCKS4': [null, ['socks4 ERR_SOCKS_REJECTED'], 'SOCKS4 proxy'],
  'cannot connect to identd': [false, ['socks4 ERR_SOCKS_IDENTD_UNREACHABLE'], 'SOCKS4 proxy'],
  'gets another name from identd': [false, ['socks4 ERR_SOCKS_IDENTD_MISMATCH'], 'SOCKS4 proxy'],
  'grants SOCKS4 with an unknown CD': [false, ['socks4 ERR_SOCKS_UNASSIGNED_REPLY']],
  'dante, bad password': [false, WAITS],
  'dante, SOCKS4A': [false, ['socks4a ERR_SOCKS_REJECTED'], 'SOCKS4 proxy'],
  'microsocks, bad password': [false, WAITS],
  'microsocks, SOCKS4': [false, ['socks4 ERR_SOCKS_WRONG_PROTOCOL']],
  'openssh, no acceptable method': [false, ['methods ERR_SOCKS_PROXY_CLOSED']],
  'tor, taken for an HTTP proxy': [false, ['methods ERR_SOCKS_WRONG_PROTOCOL'], 'HTTP server'],
  'v2ray, bad password': [false, WAITS],
  'stunnel, without TLS': [false, ['methods ERR_SOCKS_PROXY_CLOSED']],
  'stunnel, nothing behind it': [false, ['dial ERR_SOCKS_PROXY_TLS']],
  'grants SOCKS4 and closes': [true, [], 'SOCKS4 proxy'],
};

const ALL = Object.entries<Misbehaviour>({ ...MISBEHAVIOURS, ...BROKEN_TUNNELS });
// Those that wait for a time limit are run at the same time, the others in groups: more at once would be late.
const isSlow = ([name, { client }]: readonly [string, Misbehaviour]): boolean =>
  client.startsWith('socks4') || /TIMEOUT/.test(String(SAID[name]?.[1]));
const GROUPS = [ALL.filter(isSlow)];
for (const each of ALL.filter((entry) => !isSlow(entry))) {
  if (GROUPS.length === 1 || (GROUPS.at(-1)?.length ?? 0) >= 8) GROUPS.push([]);
  GROUPS.at(-1)?.push(each);
}

describe.each(GROUPS.map((group, i) => ({ group, timeout: i === 0 ? 1500 : 1000 })))(
  'a server that',
  ({ group, timeout }) => {
    test.concurrent.each(group)('%s, is described as it is', async (name, { client, script }) => {
      const server = await startScript(script);
      const report = await checkProxy(`${client}127.0.0.1:${server.port}`, { timeout });
      // Refusals of a name that does not exist are in order, whatever their form; so are early grants.
      const [usable, errors, like = null] = SAID[name] ?? [true, GREETING_ONLY];
      expectShape(report);
      expect([report.usable, codesOf(report), report.looksLike]).toEqual([usable, errors, like]);
      if (name in BROKEN_TUNNELS) expect(report.early).toBe(true);
      await server.close();
    });
  },
);

describe('the time', () => {
  const hostile: Readonly<Record<string, (socket: Socket, read: Read) => unknown>> = {
    'never answers': () => {},
    'drips one byte of a METHOD reply and stalls': (socket) => socket.write('\u0005'),
    'sends one byte at a time, for ever': (socket) => {
      const timer = setInterval(() => socket.write('\u0005'), 50);
      socket.on('close', () => clearInterval(timer));
    },
    floods: (socket) => {
      const junk = Buffer.alloc(65_536, 0x05);
      const flood = (): void => {
        if (socket.writable) socket.write(junk, (error) => void (error ?? setImmediate(flood)));
      };
      flood();
    },
    resets: (socket) => socket.resetAndDestroy(),
    'resets behind the METHOD reply': async (socket, read) => {
      await read(3);
      socket.write(Buffer.from([0x05, 0x00]), () => socket.resetAndDestroy());
    },
    'answers the greeting and never the request': async (socket, read) => {
      const [, , method] = Buffer.from(await read(3), 'hex');
      socket.write(Buffer.from([0x05, method === 0 ? 0x00 : 0xff]));
    },
    'grants everything and is silent': async (socket, read) => {
      const [, , method] = Buffer.from(await read(3), 'hex');
      socket.write(Buffer.from([0x05, method === 0 ? 0x00 : 0xff]));
      await read(1);
      socket.write(Buffer.from([0x05, 0x00, 0x00, 0x01, 0, 0, 0, 0, 0, 0]));
    },
  };

  test.concurrent.each(Object.entries(hostile))(
    'with a server that %s is at most ten time limits',
    async (_, serve) => {
      const server = await startRawServer(serve);
      const timeout = 300;
      const start = performance.now();
      const target = { host: '127.0.0.1', port: server.port };
      const reports = await Promise.all(
        (['socks5', 'socks4a', 'socks5s'] as const).map((scheme) =>
          checkProxy(`${scheme}://127.0.0.1:${server.port}`, { timeout, target }),
        ),
      );
      expect(performance.now() - start).toBeLessThan(10 * timeout);
      for (const report of reports) {
        expectShape(report);
        expect(report.usable).toBe(false);
        expect(report.errors.length).toBeGreaterThan(0);
      }
      for (const socket of server.open) await closed(socket);
      await server.close();
    },
  );

  test('is not up while the process is too busy to look at its sockets', async () => {
    const server = await startServer();
    server.once('received', () => {
      const end = performance.now() + 500;
      while (performance.now() < end);
    });
    const checked = checkProxy(server.url('socks5'), { timeout: 400 });
    expect(await checked).toMatchObject({ usable: true, errors: [] });
    await server.close();
  });

  test('ends with the signal, and nothing is left open', async () => {
    const server = await startRawServer(() => {});
    const signal = AbortSignal.timeout(100);
    expect(await rejection(checkProxy(server.url, { signal }))).toBe(signal.reason);
    for (const socket of server.open) await closed(socket);
    expect(await rejection(checkProxy(server.url, { signal: AbortSignal.abort('early') }))).toBe('early');
    await server.close();
  });
});

describe('the password', () => {
  const PASSWORD = 'pa:ss/w@rd é';
  const FORMS = [PASSWORD, encodeURIComponent(PASSWORD), 'pa%3Ass%2Fw%40rd%20%C3%A9'].concat(
    Buffer.from(PASSWORD).toString('base64'),
    Buffer.from(`alice:${PASSWORD}`).toString('base64'),
    Buffer.from(PASSWORD).toString('hex'),
  );
  const credentials = { username: 'alice', password: PASSWORD };

  test('is in no report, whatever the server repeats, and is sent in method 02 alone', async () => {
    const sent: string[][] = [];
    // Repeats what it gets, in every phase and in each of its forms.
    const server = await startRawServer((socket) => {
      const chosen: string[] = [];
      sent.push(chosen);
      let authenticated = false;
      const text = Buffer.from(FORMS.join(' ')).subarray(0, 200);
      const refusal = [Buffer.of(0x05, 0x04, 0x00, 0x03, text.length), text, Buffer.of(0, 80)];
      socket.on('data', (chunk: Buffer) => {
        chosen.push(chunk.toString('latin1'));
        const isGreeting = chunk[0] === 0x05 && chunk.length <= 4;
        const isLogin = chunk[0] === 0x01 && !authenticated;
        if (isLogin) authenticated = true;
        if (isGreeting) socket.write(Buffer.of(0x05, 0x02));
        else socket.write(isLogin ? Buffer.of(0x01, 0x00) : Buffer.concat(refusal));
      });
    });
    const proxy = { version: 5, host: '127.0.0.1', port: server.port, credentials } as const;
    const report = await checkProxy(proxy, { timeout: 500, target: { host: 'a.test', port: 80 } });
    const printed = inspect(report, { depth: null }) + JSON.stringify(report);
    for (const form of FORMS) expect(printed).not.toContain(form);
    const uname = Buffer.from(PASSWORD).toString('latin1');
    const told = sent.filter((messages) => messages.join('').includes(uname));
    expect(told.length).toBeGreaterThan(0);
    for (const [greeting] of told) expect(greeting).toBe('\u0005\u0001\u0002');
    await server.close();
  });

  test.each([
    ['chooses method 00', '05 00'],
    ['accepts none', '05 ff'],
    ['chooses GSSAPI', '05 01'],
    ['speaks HTTP', '48 54 54 50 2f 31 2e 31 20 34 30 37'],
    ['speaks SOCKS4', '00 5b 00 00 00 00 00 00'],
    ['is silent', ''],
  ])('is not sent to a server that %s', async (_, answer) => {
    const server = await startScript([{ read: 3 }, { send: answer }, { stall: true }]);
    const proxy = { version: 5, host: '127.0.0.1', port: server.port, credentials } as const;
    await checkProxy(proxy, { timeout: 300, target: { host: 'a.test', port: 80 } });
    const all = Buffer.concat(server.connections.map(({ received }) => received)).toString();
    expect(server.connections.length).toBeGreaterThan(3);
    for (const form of FORMS) expect(all).not.toContain(form);
    await server.close();
  });

  test('is hidden when it is a name in the certificate', async () => {
    const server = await startServer({ tls: TLS });
    const named = { username: 'alice', password: 'socksify tests' };
    const { tls } = await checkProxy(server.url('socks5s', named));
    expect(tls).toMatchObject({ subject: '(hidden)', issuer: '(hidden)' });
    await server.close();
  });
});

describe('bad input', () => {
  test.each([
    [
      'a chain',
      [['socks5://a', 'socks5://b']],
      'ERR_SOCKS_INVALID_PROXY',
      'check each proxy of a chain by itself',
    ],
    ['a selector', [() => 'socks5://a'], 'ERR_SOCKS_INVALID_PROXY', 'one proxy'],
    ['an HTTP proxy', ['http://u:hunter2@h'], 'ERR_SOCKS_INVALID_PROXY', 'use socks5'],
    ['nothing', [undefined], 'ERR_SOCKS_INVALID_PROXY', 'a proxy is a URL'],
    ['a time of 0', ['socks5://h', { timeout: 0 }], 'ERR_INVALID_ARG_VALUE', 'timeout'],
    ['an idle time of NaN', ['socks5://h', { idle: NaN }], 'ERR_INVALID_ARG_VALUE', 'idle'],
    [
      'a bad destination',
      ['socks5://h', { target: { host: 'a b', port: 1 } }],
      'ERR_SOCKS_INVALID_DESTINATION',
      'host',
    ],
    [
      'IPv6 on SOCKS4',
      ['socks4a://h', { target: { host: '::1', port: 1 } }],
      'ERR_SOCKS_INVALID_DESTINATION',
      'socks5',
    ],
  ])('%s is refused before anything is dialled', async (_, args, code, words) => {
    const error = (await rejection(Reflect.apply(checkProxy, undefined, args))) as Error;
    expect(error).toMatchObject({ code });
    expect(error.message).toContain(words);
    expect(error.message).not.toContain('hunter2');
  });
});
