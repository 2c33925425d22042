// What a program can observe of a tunnel: diagnostics channels and NODE_DEBUG.

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { format } from 'node:util';
import { startServer } from '@socksify/server';
import type { SocksServer } from '@socksify/server';
import { freePort, rejection, runProgram } from '@socksify/support';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { connect, parseProxy } from '../src/index.ts';
import type { TunnelMessage } from '../src/index.ts';
import type { Trial } from '../src/tunnel/alternatives.ts';
import { Progress } from '../src/tunnel/progress.ts';

let server: SocksServer;
let destination: SocksServer; // anything that listens
beforeEach(async () => {
  destination = await startServer();
  server = await startServer({ names: { 'origin.test': '127.0.0.1' }, users: { alice: 'secret' } });
});
afterEach(async () => {
  await server.close();
  await destination.close();
});

const EVENTS = ['start', 'end', 'error'] as const;

async function watched(run: () => Promise<unknown>): Promise<[string, TunnelMessage][]> {
  const seen: [string, TunnelMessage][] = [];
  const listeners = EVENTS.map((event) => {
    const listener = (message: unknown) => void seen.push([event, message as TunnelMessage]);
    subscribe(`socksify:tunnel:${event}`, listener);
    return () => unsubscribe(`socksify:tunnel:${event}`, listener);
  });
  try {
    await run();
  } finally {
    for (const stop of listeners) stop();
  }
  return seen;
}

const url = () => server.url('socks5', { username: 'alice', password: 'secret' });

test('a tunnel is announced when it starts and when it is open, with the duration of each phase', async () => {
  const address = { host: 'origin.test', port: destination.port };
  const seen = await watched(async () => (await connect(url(), address)).socket.destroy());
  const about = {
    proxies: [`socks5://127.0.0.1:${server.port}`],
    destination: `origin.test:${destination.port}`,
  };
  expect(seen).toMatchObject([
    ['start', { ...about, phase: 'dial' }],
    ['end', { ...about, phase: 'request', bound: { host: '127.0.0.1' } }],
  ]);
  const durations: TunnelMessage['durations'] = seen[1]?.[1].durations ?? {};
  expect(Object.keys(durations).toSorted()).toEqual(['authentication', 'dial', 'greeting', 'request']);
  expect(Object.values(durations).every((duration) => duration >= 0 && duration < 5000)).toBe(true);
  expect(JSON.stringify(seen)).not.toContain('secret');
});

test('a tunnel that fails is announced with its error', async () => {
  const seen = await watched(() => rejection(connect(url(), { host: 'unknown.test', port: 80 })));
  expect(seen).toMatchObject([
    ['start', {}],
    ['error', { phase: 'request', error: { code: 'ERR_SOCKS_HOST_UNREACHABLE' } }],
  ]);
});

test('a direct connection is announced without proxies', async () => {
  const seen = await watched(async () => {
    (await connect(() => undefined, { host: '127.0.0.1', port: destination.port })).socket.destroy();
  });
  expect(seen.map(([event, { proxies }]) => [event, proxies])).toEqual([
    ['start', []],
    ['end', []],
  ]);
});

test('NODE_DEBUG=socksify prints the same, and no password', async () => {
  const core = new URL('../dist/index.js', import.meta.url).href;
  const program = `import { connect } from ${JSON.stringify(core)};
    const [proxy, port] = process.argv.slice(1);
    (await connect(proxy, { host: 'origin.test', port: Number(port) })).socket.destroy();
    await connect(proxy, { host: 'unknown.test', port: 80 }).catch(() => {});`;
  const { stderr } = await runProgram(
    process.execPath,
    ['--input-type=module', '-e', program, url(), String(destination.port)],
    { env: { ...process.env, NODE_DEBUG: 'socksify' } },
  );
  const route = `socks5://127.0.0.1:${server.port} > origin.test:${destination.port}`;
  expect(stderr).toContain(`start ${route} dial`);
  expect(stderr).toContain(`end ${route} request`);
  expect(stderr).toMatch(/error .* > unknown\.test:80 request .*ERR_SOCKS_HOST_UNREACHABLE/s);
  expect(stderr).not.toContain('secret');
});

test('NODE_DEBUG=socksify prints what became of each proxy of a group', async () => {
  const core = new URL('../dist/index.js', import.meta.url).href;
  const program = `import { connect, proxyGroup } from ${JSON.stringify(core)};
    const [proxy, dead, port] = process.argv.slice(1);
    const group = proxyGroup([dead, proxy]);
    (await connect(group, { host: 'origin.test', port: Number(port) })).socket.destroy();`;
  const dead = `socks5://127.0.0.1:${await freePort()}`;
  const { stderr } = await runProgram(
    process.execPath,
    ['--input-type=module', '-e', program, url(), dead, String(destination.port)],
    { env: { ...process.env, NODE_DEBUG: 'socksify' } },
  );
  expect(stderr).toMatch(new RegExp(`tried ${dead}: error \\{.*\\} .*ECONNREFUSED`));
  expect(stderr).toMatch(new RegExp(`tried socks5://127\\.0\\.0\\.1:${server.port}: tunnel \\{"dial":`));
  expect(stderr).not.toContain('secret');
});

describe('one event of a tunnel', () => {
  const proxy = parseProxy('socks5://proxy.test');
  const origin = { host: 'origin.test', port: 80 };
  const ROUTE = 'socks5://proxy.test:1080 > origin.test:80';

  let lines: string[] = [];
  beforeEach(() => {
    lines = [];
  });
  afterEach(() => {
    vi.restoreAllMocks();
    vi.resetModules();
  });

  /** A copy of the module that has printed nothing yet, with NODE_DEBUG=socksify or without it. */
  async function traceWith(enabled: boolean) {
    const load = process.getBuiltinModule.bind(process);
    const debuglog = (section: string) => {
      expect(section).toBe('socksify');
      return Object.assign((...line: unknown[]) => void lines.push(format(...line)), { enabled });
    };
    const fake = (name: string): unknown =>
      name === 'node:util' ? { ...load('node:util'), debuglog } : load(name as 'node:util');
    vi.spyOn(process, 'getBuiltinModule').mockImplementation(fake as typeof load);
    return (await import('../src/tunnel/trace.ts')).trace;
  }

  function progressOf(durations: TunnelMessage['durations'] = {}): Progress {
    const progress = new Progress(origin);
    Object.assign(progress.durations, durations);
    return progress;
  }

  function trialOf(host: string, trial: Partial<Trial>): Trial {
    const member = { chain: [parseProxy(`socks5://${host}`), proxy] };
    const attempt = { progress: progressOf({ greeting: 7 }) };
    return { member, attempt, began: 0, outcome: 'unused', ...trial } as unknown as Trial;
  }

  const refused = new Error('refused');
  const trials = (): Trial[] => [
    trialOf('a.test', { outcome: 'error', error: refused, durations: { dial: 2 } }),
    trialOf('b.test', { outcome: 'error', error: 'text' }),
    trialOf('c.test', {}),
  ];

  test('records nothing when nobody observes it', async () => {
    const trace = await traceWith(false);
    const progress = progressOf();
    const lap = vi.spyOn(progress, 'lap');
    trace('start', [proxy], origin, progress);
    expect(lap).not.toHaveBeenCalled();
    expect(lines).toEqual([]);
  });

  test('is published and not printed without NODE_DEBUG', async () => {
    const trace = await traceWith(false);
    const seen = await watched(async () => trace('start', [proxy], origin, progressOf({ dial: 2 })));
    const message = { proxies: ['socks5://proxy.test:1080'], destination: 'origin.test:80', phase: 'input' };
    expect(seen).toEqual([['start', { ...message, durations: { dial: 2 } }]]);
    expect(lines).toEqual([]);
  });

  test('is published with what became of each proxy of a group', async () => {
    const trace = await traceWith(false);
    const progress = progressOf();
    const seen = await watched(async () => trace('end', [proxy], origin, progress, {}, trials()));
    const through = (host: string) => [`socks5://${host}:1080`, 'socks5://proxy.test:1080'];
    // toStrictEqual() tells a field that is undefined from one that is absent.
    expect(seen[0]?.[1].attempts).toStrictEqual([
      { proxies: through('a.test'), outcome: 'error', durations: { dial: 2 }, error: refused },
      { proxies: through('b.test'), outcome: 'error', durations: { greeting: 7 }, error: 'text' },
      { proxies: through('c.test'), outcome: 'unused', durations: { greeting: 7 } },
    ]);
  });

  test('is printed with NODE_DEBUG, also when nobody subscribes', async () => {
    const trace = await traceWith(true);
    trace('end', [proxy], origin, progressOf({ dial: 2 }), { bound: origin });
    expect(lines).toEqual([`end ${ROUTE} input {"dial":2}`]);
  });

  test('is printed with its error', async () => {
    const trace = await traceWith(true);
    trace('error', [proxy], origin, progressOf(), { error: { code: 'ENOENT' } });
    expect(lines).toEqual([`error ${ROUTE} input {} { code: 'ENOENT' }`]);
  });

  test('is printed with a line for each proxy of a group that was tried', async () => {
    const trace = await traceWith(true);
    trace('end', 'direct', origin, progressOf(), {}, trials());
    expect(lines).toEqual([
      'end origin.test:80 input {}',
      '  tried socks5://a.test:1080 > socks5://proxy.test:1080: error {"dial":2} refused',
      '  tried socks5://b.test:1080 > socks5://proxy.test:1080: error {"greeting":7}',
      '  tried socks5://c.test:1080 > socks5://proxy.test:1080: unused {"greeting":7}',
    ]);
  });
});
