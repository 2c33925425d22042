// Groups without IO: their options, the order of their members, and how long a member rests, by a clock of the test's
// own.

import { channel } from 'node:diagnostics_channel';
import { inspect } from 'node:util';
import { IN_ORDER } from '@socksify/support';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Alternatives } from '../src/group/group.ts';
import { inOrder, Member } from '../src/group/member.ts';
import { chainKey, connect, parseProxy, proxyGroup, SocksClient, SocksError } from '../src/index.ts';
import type { GroupMessage, GroupOptions, ProxyGroup, ProxyLike } from '../src/index.ts';
import { runCore } from './core-program.ts';

const URLS = ['socks5://a:1', 'socks5://b:2', 'socks5://c:3'];

/** The order in which members are tried, by the names of their hosts. */
const order = (alternatives: Alternatives): string =>
  inOrder(Alternatives.contentOf(alternatives).members)
    .map(({ chain }) => chain.map(({ host }) => host).join('>'))
    .join(' ');

const failure = (code: 'ERR_SOCKS_PROXY_UNREACHABLE' | 'ERR_SOCKS_AUTH_FAILED'): SocksError =>
  new SocksError(code, { phase: 'dial' });

function membersOf(group: ProxyGroup): readonly Member[] {
  return Alternatives.contentOf(group.select()).members;
}

describe('a group', () => {
  test.each<[string, unknown, string]>([
    ['no list', 'socks5://a', 'a group is made of a list'],
    ['an empty list', [], 'at least one proxy'],
    ['a hole', [, 'socks5://a'], 'undefined is a direct connection'], // oxlint-disable-line no-sparse-arrays
    ['undefined', ['socks5://a', undefined], 'undefined is a direct connection'],
    ['a selector', [() => 'socks5://a'], 'not a selector or a group'],
    ['a group', [proxyGroup(URLS)], 'not a selector or a group'],
    ['alternatives', [proxyGroup(URLS).select()], 'not a selector or a group'],
    ['an empty chain', [[]], 'a chain has at least one proxy'],
    ['a URL of HTTP', ['http://a'], 'not a SOCKS scheme'],
  ])('refuses %s', (_, routes, detail) => {
    const error = new RegExp(detail);
    expect(() => proxyGroup(routes as ProxyLike[])).toThrow(error);
    expect(() => proxyGroup(routes as ProxyLike[])).toThrow(
      expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY' }),
    );
  });

  test.each<[unknown, string]>([
    [null, 'options are an object'],
    [{ order: 'random' }, "order is 'given' or 'rotate'"],
    [{ rest: -1 }, 'rest is 0 to'],
    [{ rest: Number.NaN }, 'rest is 0 to'],
    [{ rest: '5' }, 'rest is 0 to'],
    [{ stagger: 0 }, 'stagger is 1 to'],
    [{ stagger: Infinity }, 'stagger is 1 to'],
    [{ now: 5 }, 'now is a function'],
  ])('refuses the options %j', (options, message) => {
    expect(() => proxyGroup(URLS, options as GroupOptions)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE', message: expect.stringContaining(message) }),
    );
  });

  test('takes an option that is undefined for one that was not given', () => {
    const options = { order: undefined, rest: undefined, stagger: undefined, now: undefined };
    expect(proxyGroup(URLS, options).state()).toHaveLength(3);
  });

  test('is a selector and a route, as is what its select() gives, also where a selector returns it', async () => {
    const group = proxyGroup(URLS);
    const destination = { host: 'd', port: 1 };
    for (const route of [group, group.select(), () => group, () => group.select()]) {
      const selected = await new SocksClient(route).select(destination);
      expect(chainKey(selected)).toBe(chainKey(group.select()));
    }
    const other = (() => () => URLS[0]) as never;
    expect(() => new SocksClient(other).select(destination)).toThrow('a proxy is a URL or an object');
  });

  test('of thousands of proxies takes little memory', async () => {
    const source = `
      const urls = Array.from({ length: 8000 }, (_, i) => 'socks5://proxy' + i + '.test');
      const groups = ['given', 'rotate'].map((order) => core.proxyGroup(urls, { order }));
      for (const group of groups) for (let i = 0; i < 1000; i++) group.select(i % 300 ? undefined : 'key' + i);
      groups[0].rest(urls[7]);
    `;
    const flags = ['--max-old-space-size=120'];
    expect(await runCore(source, [], flags)).toEqual(IN_ORDER);
  });

  test('shows no credential, neither by its alternatives nor by its state', () => {
    const group = proxyGroup([
      'socks5://alice:secret@a',
      ['socks5s://bob:hidden@b', 'socks5://carol:x-y-z@c'],
    ]);
    const values = [group, group.select(), group.select('alice-account'), group.state()];
    const printed = values.map((value) => inspect(value, { showHidden: true, depth: 9, getters: true }));
    const copies = values
      .filter((value) => typeof value !== 'function')
      .map((value) => structuredClone(value));
    const text = [...printed, JSON.stringify(values), inspect(copies, { depth: 9 })].join('\n');
    expect(text).not.toMatch(/alice|secret|bob|hidden|carol|x-y-z/);
    expect(chainKey(group.select('alice-account'))).not.toMatch(/alice|secret/);
    expect(group.state()[1]?.proxies).toEqual(['socks5s://b:1080', 'socks5://c:1080']);
  });

  test('refuses a socket that is handed in, because it is connected to one proxy, and destroys it', async () => {
    const { Duplex } = await import('node:stream');
    const socket = new Duplex({ read() {} });
    await expect(
      connect(proxyGroup(['socks5://a']), { host: 'd', port: 1 }, { socket }),
    ).rejects.toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' });
    expect(socket.destroyed).toBe(true);
  });
});

describe('the order', () => {
  test('is the given one', () => {
    const group = proxyGroup(URLS);
    expect([order(group()), order(group.select())]).toEqual(['a b c', 'a b c']);
  });

  test('rotates, and passes over members that rest', () => {
    const group = proxyGroup(URLS, { order: 'rotate' });
    expect([1, 2, 3, 4].map(() => order(group()))).toEqual(['a b c', 'b c a', 'c a b', 'a b c']);
    group.rest('socks5://b:2');
    expect([1, 2, 3, 4].map(() => order(group()))).toEqual(['c a b', 'a c b', 'c a b', 'a c b']);
  });

  test('rotates over all members when all rest', () => {
    let now = 0;
    const group = proxyGroup(URLS, { order: 'rotate', now: () => now });
    for (const url of URLS) group.rest(url, 1000 - now++);
    const keys = new Set([1, 2, 3].map(() => chainKey(group())));
    expect(keys.size).toBe(3);
  });

  test('has first the members that are ready, then those whose rest ends soonest', () => {
    const group = proxyGroup(URLS, { now: () => 0 });
    group.rest('socks5://a:1', 900);
    group.rest('socks5://b:2', 500);
    expect(order(group())).toBe('c b a');
    group.rest('socks5://c:3', 700);
    expect(order(group())).toBe('b c a');
  });

  test('does not change the name of a pool when a member fails, and does when the application lets one rest', () => {
    const group = proxyGroup(URLS);
    const [before, keyed] = [chainKey(group()), chainKey(group.select('alice'))];
    membersOf(group)[0]?.failed(performance.now());
    expect(group.state()[0]?.state).toBe('resting');
    expect(chainKey(group())).toBe(before);
    const resting = proxyGroup(URLS);
    resting.rest('socks5://a:1');
    expect(chainKey(resting())).not.toBe(before);
    expect(chainKey(resting.select('alice'))).not.toBe(keyed);
    expect(chainKey(proxyGroup(URLS)())).toBe(before);
    expect(chainKey(proxyGroup(URLS.toReversed())())).not.toBe(before);
    const turning = proxyGroup(URLS, { order: 'rotate' });
    expect(new Set([1, 2, 3, 4, 5, 6].map(() => chainKey(turning()))).size).toBe(3);
  });
});

describe('a key', () => {
  const hosts = (count: number): string[] => Array.from({ length: count }, (_, i) => `socks5://h${i}:1`);
  const first = (alternatives: Alternatives): string => order(alternatives).split(' ')[0] ?? '';

  test('keeps its order, in another group of equal members too', () => {
    const [one, other] = [proxyGroup(hosts(5)), proxyGroup(hosts(5).toReversed(), { order: 'rotate' })];
    for (const key of ['alice', 'bob', '']) {
      expect(order(one.select(key))).toBe(order(one.select(key)));
      expect(order(other.select(key))).toBe(order(one.select(key)));
    }
  });

  test('gives this order to alice, in every process', () => {
    expect(order(proxyGroup(hosts(5)).select('alice'))).toBe('h1 h0 h2 h4 h3');
  });

  test('has a pool of its own, also where two keys have the same order', () => {
    const group = proxyGroup(hosts(1));
    const names = ['alice', 'bob', ''].map((key) => chainKey(group.select(key)));
    expect(new Set([...names, chainKey(group.select())]).size).toBe(4);
    expect(chainKey(group.select('alice'))).toBe(names[0]);
  });

  test('gets another first member only if its own was removed, or if a new one comes first', () => {
    const property = fc.property(
      fc.integer({ min: 2, max: 12 }),
      fc.nat(),
      fc.array(fc.string()),
      (count, at, keys) => {
        const all = hosts(count);
        const fewer = all.filter((_, i) => i !== at % count);
        const gone = `h${at % count}`;
        const [before, after] = [proxyGroup(all), proxyGroup(fewer)];
        for (const key of keys) {
          const rest = order(before.select(key))
            .split(' ')
            .filter((host) => host !== gone);
          if (order(after.select(key)) !== rest.join(' ')) return false;
        }
        return true;
      },
    );
    expect(() => fc.assert(property, { numRuns: 50 })).not.toThrow();
  });

  test('is spread evenly over the members', () => {
    const group = proxyGroup(hosts(5));
    const counts = new Map<string, number>();
    for (let i = 0; i < 5000; i++) {
      const host = first(group.select(`account ${i}`));
      counts.set(host, (counts.get(host) ?? 0) + 1);
    }
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });

  test('tells members apart that differ in the password alone', () => {
    const group = proxyGroup(['socks5://u:1@h', 'socks5://u:2@h']);
    const passwords = new Set<unknown>();
    for (let i = 0; i < 50; i++) {
      const [member] = Alternatives.contentOf(group.select(String(i))).members;
      passwords.add(member?.chain[0]?.credentials?.password);
    }
    expect(passwords).toEqual(new Set(['1', '2']));
  });

  test('is remembered for the last thousand keys only', () => {
    const group = proxyGroup(hosts(3));
    const alice = group.select('alice');
    expect(group.select('alice')).toBe(alice);
    for (let i = 0; i < 1000; i++) group.select(String(i));
    expect(group.select('alice')).not.toBe(alice);
    expect(chainKey(group.select('alice'))).toBe(chainKey(alice));
  });

  test.each([[null], [5], [{}]])('that is %j is refused', (key) => {
    expect(() => proxyGroup(URLS).select(key as never)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_VALUE' }),
    );
  });
});

describe('a member', () => {
  let now = 0;
  const make = (options: GroupOptions = {}): [ProxyGroup, Member] => {
    now = 0;
    const group = proxyGroup(['socks5://a', 'socks5://b'], { now: () => now, ...options });
    return [group, membersOf(group)[0] as Member];
  };

  test('rests for twice as long with each failure, and for 5 minutes at most', () => {
    const [group, member] = make();
    const rests: number[] = [];
    for (let i = 0; i < 7; i++) {
      member.failed(now, failure('ERR_SOCKS_PROXY_UNREACHABLE'));
      const { until = 0 } = group.state()[0] ?? {};
      rests.push(until - now);
      now = until;
    }
    expect(rests).toEqual([10_000, 20_000, 40_000, 80_000, 160_000, 300_000, 300_000]);
    expect(group.state()[0]).toMatchObject({ state: 'resting', failures: 7 });
  });

  test('rests as long as the option says, even if that is longer than 5 minutes', () => {
    const [group, member] = make({ rest: 3_600_000 });
    member.failed(0);
    expect(group.state()[0]?.until).toBe(3_600_000);
  });

  test('rests for no time with a rest of 0, however often it fails', () => {
    const [group, member] = make({ rest: 0 });
    for (let i = 0; i < 1100; i++) member.failed(++now);
    expect(group.state()[0]).toMatchObject({ failures: 1100, until: now });
  });

  test('rests once when many requests fail with it at the same time', () => {
    const [group, member] = make();
    const begins = Array.from({ length: 20 }, () => now++);
    for (const began of begins) member.failed(began, failure('ERR_SOCKS_PROXY_UNREACHABLE'));
    expect(group.state()[0]).toMatchObject({ failures: 1, until: 10_020 });
  });

  test('rests for the first length again after it has recovered', () => {
    const [group, member] = make();
    member.failed(0);
    now = 10_000;
    member.failed(10_000);
    expect(group.state()[0]?.until).toBe(30_000);
    member.succeeded();
    expect(group.state()[0]).toEqual({ proxies: ['socks5://a:1080'], state: 'ready', failures: 0 });
    member.failed(10_000);
    expect(group.state()[0]?.until).toBe(20_000);
  });

  test('is greeted by one request at a time when its rest is over', () => {
    const [group, member] = make();
    expect(member.startGreeting()).toBe(false);
    member.failed(0, failure('ERR_SOCKS_AUTH_FAILED'));
    now = 9999;
    expect(member.startGreeting()).toBe(false);
    now = 10_000;
    expect(member.startGreeting()).toBe(true);
    expect(member.startGreeting()).toBe(false);
    expect(group.state()[0]).toMatchObject({
      state: 'greeting',
      until: 10_000,
      error: { code: 'ERR_SOCKS_AUTH_FAILED' },
    });
    member.stopGreeting();
    expect(member.startGreeting()).toBe(true);
    member.failed(10_000);
    expect(group.state()[0]).toMatchObject({ state: 'resting', until: 30_000 });
  });

  test('rests as long as rest() says, whatever it answers meanwhile', () => {
    const [group, member] = make();
    group.rest('socks5://a', 3_600_000);
    member.succeeded();
    member.failed(0);
    expect(group.state()[0]).toEqual({
      proxies: ['socks5://a:1080'],
      state: 'resting',
      until: 3_600_000,
      failures: 0,
    });
    now = 3_600_000;
    expect(member.startGreeting()).toBe(true);
    member.succeeded();
    expect(group.state()[0]?.state).toBe('ready');
  });

  test('can be given to rest() as its URL, its object or its chain', () => {
    const group = proxyGroup(['socks5://u:p@a', ['socks5://b', 'socks4://c']]);
    group.rest(parseProxy('socks5://u:p@a:1080'));
    group.rest(['socks5h://b', 'socks4://c']);
    expect(group.state().map(({ state }) => state)).toEqual(['resting', 'resting']);
    for (const other of ['socks5://a', 'socks5://u:q@a', 'socks5://b']) {
      expect(() => group.rest(other)).toThrow(
        expect.objectContaining({
          code: 'ERR_INVALID_ARG_VALUE',
          message: expect.stringContaining('member'),
        }),
      );
    }
    expect(() => group.rest('socks5://u:p@a', -1)).toThrow('milliseconds is 0 to');
  });

  test('publishes each change of its state, without credentials', () => {
    const messages: GroupMessage[] = [];
    const listener = (message: unknown): void => void messages.push(message as GroupMessage);
    channel('socksify:group').subscribe(listener);
    const group = proxyGroup([['socks5://u:p@a', 'socks5://b']], { now: () => now });
    const [member] = membersOf(group);
    now = 0;
    const error = failure('ERR_SOCKS_PROXY_UNREACHABLE');
    member?.failed(0, error);
    now = 10_000;
    member?.startGreeting();
    member?.succeeded();
    member?.succeeded();
    channel('socksify:group').unsubscribe(listener);
    const proxies = ['socks5://a:1080', 'socks5://b:1080'];
    expect(messages).toEqual([
      { proxies, state: 'resting', for: 10_000, error },
      { proxies, state: 'greeting', for: 0, error },
      { proxies, state: 'ready', for: 0 },
    ]);
  });
});
