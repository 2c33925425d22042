// Seen from outside: what leaves a namespace by its only interface, and the system calls that would send it there.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makeFolder } from './folder.ts';
import { COMMAND, execute, here, results } from './run-program.ts';

const { path: folder } = makeFolder();

/** @param command what comes before the program */
async function leave(...command: readonly string[]): Promise<Record<string, string>> {
  const args = [here('leak/namespace.sh'), folder, process.execPath, here('leak/proxy.js'), ...command];
  const program = [process.execPath, here('leak/bypasses.js')];
  const env = command.length > 0 ? { SOCKSIFIED: '1' } : {};
  return results(await execute('sh', [...args, ...program], env));
}

const socksify = [process.execPath, COMMAND];

test('without socksify packets leave, so that the counter counts', async () => {
  const { packets, stderr } = await leave();
  expect(stderr).toBeUndefined();
  expect(Number(packets)).toBeGreaterThanOrEqual(20);
});

test('without strict, sockets, DNS and UDP of the program send packets, because they are left alone', async () => {
  const { packets, proxied } = await leave(...socksify);
  expect(proxied).toBe('hello');
  expect(Number(packets)).toBeGreaterThanOrEqual(10);
});

test.each(['--strict', '--strict=tcp'])('with %s no packet leaves, and the proxy is used', async (strict) => {
  expect(await leave(...socksify, strict)).toMatchObject({ packets: '0', proxied: 'hello', attempts: '46' });
});

test.each(['--strict', '--strict=tcp'])(
  'with %s no system call names an address but that of the proxy',
  async (strict) => {
    const log = join(folder, `strace${strict}`);
    const calls = ['strace', '-f', '-qq', '-e', 'trace=connect,sendto,sendmsg,sendmmsg', '-o', log];
    const found = await leave(...calls, ...socksify, strict);
    expect(found).toMatchObject({ packets: '0', proxied: 'hello' });
    const addresses = readFileSync(log, 'utf8').matchAll(
      /sin6?_port=htons\((\d+)\), (?:sin_addr=inet_addr|inet_pton\(AF_INET6)\W+([\w.:]+)/g,
    );
    const named = new Set([...addresses].map(([, port, address]) => `${address} ${port}`));
    expect([...named]).toEqual([`127.0.0.1 ${found['proxy']}`]);
  },
);
