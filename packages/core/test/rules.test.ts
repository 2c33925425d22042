// docs/protocol.md, rule by rule: tests of the rules that no other test shows, and a check that the name of at least
// one test cites each rule.

import { readdirSync, readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { relative } from 'node:path';
import { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { bytes, outputOf } from '@socksify/support';
import { expect, test } from 'vitest';
import { connect } from '../src/index.ts';
import type { ProxyLike } from '../src/index.ts';
import { startScripted } from './proxies.ts';

const destination = { host: 'example.com', port: 80 };

/** Everything that is written to a proxy that answers with these messages, a write an entry. */
async function writes(
  proxy: ProxyLike,
  ...answers: readonly string[]
): Promise<{ sent: string[]; error: unknown }> {
  const sent: string[] = [];
  const queue = answers.map(bytes);
  const socket = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      sent.push(chunk.toString('hex'));
      const answer = queue.shift();
      if (answer) setImmediate(() => this.push(answer));
      done();
    },
  });
  const error = await connect(proxy, destination, { socket, timeout: 1000 }).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return { sent, error };
}

const REQUEST = '050100030b6578616d706c652e636f6d0050';
const SUCCESS = '0500 0001 00000000 0000';

test('rule 3: each message is one write', async () => {
  expect(await writes('socks5://u:p@h', '0502', '0100', SUCCESS)).toEqual({
    sent: ['05020200', '0101750170', REQUEST],
    error: undefined,
  });
  expect((await writes('socks4a://u@h', '005a 0000 00000000')).sent).toEqual([
    '0401005000000001' + '7500' + '6578616d706c652e636f6d00',
  ]);
});

test('rule 3: the socket of a tunnel has TCP_NODELAY', async () => {
  const server = await startScripted({ read: 3 }, { send: '0500' }, { read: 18 }, { send: SUCCESS });
  const { socket } = await connect(server.url('socks5'), destination);
  const noDelay = Object.getOwnPropertySymbols(socket).find(
    ({ description }) => description === 'kSetNoDelay',
  );
  expect(noDelay && (socket as unknown as Record<symbol, unknown>)[noDelay]).toBe(true);
  socket.destroy();
});

test.each<[string, ProxyLike, string[], number]>([
  ['a method that was not offered', 'socks5://h', ['0502'], 1],
  ['refused credentials', 'socks5://u:p@h', ['0502', '0101'], 2],
  ['a refusal', 'socks5://h', ['0500', '0501'], 2],
  ['another version', 'socks5://h', ['005b'], 1],
  ['a SOCKS5 server', 'socks4a://h', ['05ff'], 1],
])('rule 6: nothing is sent after %s', async (_, proxy, answers, count) => {
  const { sent, error } = await writes(proxy, ...answers);
  expect(error).toMatchObject({ name: 'SocksError' });
  expect(sent).toHaveLength(count);
});

test("rule 10: USERID is not the operating system's user", async () => {
  const { sent } = await writes('socks4a://h', '005a 0000 00000000');
  expect(Buffer.from(sent[0] ?? '', 'hex').toString('latin1')).not.toContain(userInfo().username);
  expect(sent).toEqual(['0401005000000001' + '00' + '6578616d706c652e636f6d00']);
});

test('rule 12: the refusal of IPv6 over SOCKS4 says to use SOCKS5', async () => {
  await expect(connect('socks4://127.0.0.1', { host: '::1', port: 80 })).rejects.toThrow(/use socks5:/);
});

test('rule 13: VN 04 is accepted', async () => {
  expect((await writes('socks4a://h', '045a 0000 00000000')).error).toBeUndefined();
});

test('rules 15 and 24: the hint of a refusal says what servers mean by it', async () => {
  const hints = [
    await writes('socks4a://h', '005b 0000 00000000'),
    await writes('socks5://h', '0500', '0501'),
    await writes('socks5://u:p@h', '0500', '0502'),
    await writes('socks5://h', '0500', '0506'),
  ].map(({ error }) => (error as { hint?: string }).hint);
  expect(hints).toEqual([
    expect.stringContaining('without SOCKS4A'),
    expect.stringContaining('microsocks'),
    expect.stringContaining('credentials'),
    expect.stringContaining('tor'),
  ]);
});

test('rule 24: an end before the reply says what OpenSSH means by it', async () => {
  const server = await startScripted({ read: 3 }, { send: '0500' }, { read: 18 }, { close: true });
  await expect(connect(server.url('socks5'), destination)).rejects.toMatchObject({
    code: 'ERR_SOCKS_PROXY_CLOSED',
    phase: 'request',
    hint: expect.stringContaining('OpenSSH') as string,
  });
});

test('the name of at least one test cites each rule', { timeout: 120_000 }, async () => {
  const root = fileURLToPath(new URL('../../../', import.meta.url));
  const rules = [...readFileSync(`${root}docs/protocol.md`, 'utf8').matchAll(/^(\d+)\. /gm)].map(
    ([, number]) => Number(number),
  );
  expect(rules).toEqual(Array.from({ length: 29 }, (_, i) => i + 1));
  const citing = new Map<number, string[]>(rules.map((rule) => [rule, []]));
  for (const { name, file } of await listTests(root)) {
    for (const [, list = ''] of name.matchAll(/\brules? (\d+(?:(?:, | and )\d+)*)/g)) {
      for (const rule of list.match(/\d+/g) ?? []) {
        citing.get(Number(rule))?.push(`${relative(root, file)}: ${name}`);
      }
    }
  }
  for (const [rule, [first, ...others]] of citing)
    console.log(`rule ${rule}: ${first}${others.length > 0 ? `, and ${others.length} more` : ''}`);
  expect([...citing].filter(([, tests]) => tests.length === 0).map(([rule]) => rule)).toEqual([]);
});

/** The tests that Vitest finds in the files which mention a rule. Vitest leaves out tests that are skipped. */
async function listTests(root: string): Promise<{ readonly name: string; readonly file: string }[]> {
  const folders = ['packages/core/test/', 'test/server/test/'];
  const files = folders.flatMap((folder) =>
    readdirSync(root + folder)
      .filter((name) => name.endsWith('.test.ts'))
      .map((name) => folder + name)
      .filter((path) => /\brules? \d|\bshows\b/.test(readFileSync(root + path, 'utf8'))),
  );
  const vitest = [`${root}node_modules/vitest/vitest.mjs`, 'list', '--config', 'test/vitest.config.ts'];
  // A worker has variables that would make the child take itself for one.
  const env = { PATH: process.env['PATH'] ?? '' };
  const output = await outputOf(process.execPath, [...vitest, ...files, '--json'], { cwd: root, env });
  return JSON.parse(output) as { name: string; file: string }[];
}
