// Seen from outside: what leaves a namespace in which a bridge runs, and the system calls that would send it there.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makeFolder } from '../folder.ts';
import { COMMAND, execute, here, results } from '../run-program.ts';

const { path: folder } = makeFolder();

const BRIDGE = [process.execPath, COMMAND, 'bridge'];

async function leave(mode: string, command: readonly string[] = BRIDGE): Promise<Record<string, string>> {
  const namespace = [here('leak/namespace.sh'), folder];
  return results(
    await execute('sh', [...namespace, process.execPath, here('leak/bridge.js'), mode, ...command]),
  );
}

test('a bridge for which everything is direct sends packets, so that the counter counts', async () => {
  const { packets, stderr, attempts } = await leave('direct');
  expect(stderr).toBeUndefined();
  expect(attempts).toBe('0');
  expect(Number(packets)).toBeGreaterThanOrEqual(3);
});

test('a bridge sends no packets, whatever its clients request, and no system call names an address but that of the proxy', async () => {
  const log = join(folder, 'strace');
  const calls = ['strace', '-f', '-qq', '-I', '2', '-e', 'trace=connect,sendto,sendmsg,sendmmsg', '-o', log];
  const found = await leave('proxied', [...calls, ...BRIDGE]);
  // The proxy gets each of the 26 requests, and answers the five of RESOLVE with REP 07.
  expect(found).toMatchObject({ packets: '0', proxied: 'hello', answers: '26', attempts: '26' });
  const addresses = readFileSync(log, 'utf8').matchAll(
    /sin6?_port=htons\((\d+)\), (?:sin_addr=inet_addr|inet_pton\(AF_INET6)\W+([\w.:]+)/g,
  );
  const named = new Set([...addresses].map(([, port, address]) => `${address} ${port}`));
  expect([...named]).toEqual([`127.0.0.1 ${found['proxy']}`]);
});
