// Which users a server accepts.

import { inspect } from 'node:util';
import { dialRaw, startDestination } from '@socksify/support';
import type { TcpDestination } from '@socksify/support';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { startServer } from '../src/index.ts';
import type { ServerOptions, SocksServer } from '../src/index.ts';

const USERS = { alice: 'secret', bob: '', zoë: 'pässword' };
const ALICE = '01 05 616c696365 06 736563726574';

let destination: TcpDestination;
let server: SocksServer;

beforeAll(async () => {
  destination = await startDestination((socket) => socket.resume());
});
afterAll(() => destination.close());
afterEach(() => server.close());

async function converseWith(options: ServerOptions, hex: string): Promise<string> {
  server = await startServer(options);
  const client = await dialRaw(server.port);
  client.send(hex.replaceAll('PORT', destination.hex));
  client.stream.end();
  const answer = await client.rest();
  client.stream.destroy();
  return answer;
}

const REQUEST = '05 01 00 01 7f000001 PORT';
const DONE = /^0502010005000001[0-9a-f]{12}$/;

test.each([
  ['alice', `05 01 02 ${ALICE} ${REQUEST}`, 'alice'],
  ['an empty password', `05 01 02 01 03 626f62 00 ${REQUEST}`, 'bob'],
  ['bytes beyond ASCII', `05 02 00 02 01 04 7a6fc3ab 09 70c3a47373776f7264 ${REQUEST}`, 'zoë'],
])('a server accepts %s', async (_, hex, user) => {
  // The destination answers a FIN with nothing; end it from here.
  server = await startServer({ users: USERS });
  const client = await dialRaw(server.port);
  client.send(hex.replaceAll('PORT', destination.hex));
  expect(await client.receive(14)).toMatch(DONE);
  expect(server.log).toMatchObject([{ user, method: 0x02, reply: 0x00 }]);
  client.stream.destroy();
});

test.each([
  ['a wrong password', '05 01 02 01 05 616c696365 06 534543524554', '05020101'],
  ['a longer password', '05 01 02 01 05 616c696365 07 73656372657474', '05020101'],
  ['no password', '05 01 02 01 05 616c696365 00', '05020101'],
  ['an unknown user', '05 01 02 01 03 657665 06 736563726574', '05020101'],
  ["another user's password", '05 01 02 01 03 626f62 06 736563726574', '05020101'],
  ['a property of every object', '05 01 02 01 09 5f5f70726f746f5f5f 00', '05020101'],
  ['another version of the message', '05 01 02 05 01 61 01 62', '0502'],
  ['a client without credentials', '05 01 00', '05ff'],
  ['SOCKS4', '04 01 PORT 7f000001 616c696365 00', '005b000000000000'],
])('a server refuses %s', async (_, hex, answer) => {
  expect(await converseWith({ users: USERS }, hex)).toBe(answer);
  expect(server.refusals.length + server.log.length).toBe(1);
});

test('allowAnonymous serves clients without credentials, and still checks those with', async () => {
  const options = { users: USERS, allowAnonymous: true };
  expect(await converseWith(options, '05 01 00 05 01 00 01 7f000001 0000')).toMatch(/^0500/);
  await server.close();
  expect(await converseWith(options, '04 09 PORT 7f000001 00')).toBe('005b000000000000');
  expect(server.log).toMatchObject([{ command: 'unknown' }]);
  await server.close();
  expect(await converseWith(options, '05 02 00 02 01 01 61 01 62')).toBe('05020101');
});

test("users: 'any' accepts all credentials", async () => {
  const answer = await converseWith({ users: 'any' }, '05 01 02 01 01 61 01 62 05 09 00 01 7f000001 0050');
  expect(answer).toBe('0502010005070001000000000000');
});

test('userIds applies to SOCKS4 alone', async () => {
  const options = { users: USERS, userIds: ['bob'] };
  expect(await converseWith(options, '04 09 PORT 7f000001 626f62 00')).toBe('005b000000000000');
  expect(server.log).toMatchObject([{ command: 'unknown', user: 'bob' }]);
  await server.close();
  expect(await converseWith(options, '04 01 PORT 7f000001 657665 00')).toBe('005b000000000000');
  expect(server.log).toMatchObject([{ command: 'connect', user: 'eve' }]);
});

test('no password is in the log, and none in what the server shows of itself', async () => {
  server = await startServer({ users: USERS });
  for (const password of ['06 736563726574', '06 534543524554']) {
    const client = await dialRaw(server.port);
    client.send(`05 01 02 01 05 616c696365 ${password} 05 09 00 01 7f000001 0050`);
    await client.rest();
    client.stream.destroy();
  }
  expect(server.log).toHaveLength(1);
  expect(server.refusals).toHaveLength(1);
  for (const shown of [inspect(server.log), inspect(server.refusals), inspect(server, { depth: 6 })]) {
    expect(shown).toContain('alice');
    expect(shown).not.toMatch(/secret|736563726574/i);
  }
});
