// What tor alone does. The tests send typed bytes.

import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dialServer } from './server-client.ts';
import { mustSkip } from './servers.ts';
import type { RunningServer } from './servers.ts';
import { tor, torUnix } from './servers/tor.ts';

const CONNECT_BAD_ONION = '05 01 00 03 09 6261642e6f6e696f6e 0050';

describe.skipIf(mustSkip(tor)).each([tor, torUnix])('$name', ({ start }) => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await start();
  });
  afterAll(() => server.stop());

  /** Sends each message when the answer to the one before is there, and returns the answers. */
  const talk = async (...turns: readonly (readonly [hex: string, size: number])[]): Promise<string[]> => {
    const client = await dialServer(server);
    const answers: string[] = [];
    for (const [hex, size] of turns) {
      client.send(hex);
      answers.push(await client.receiveUpTo(size));
    }
    client.stream.destroy();
    return answers;
  };

  test('answers a malformed onion name with F6', async () => {
    expect(await talk(['05 01 00', 2], [CONNECT_BAD_ONION, 2])).toEqual(['0500', '05f6']);
  });

  test('answers a malformed onion name over SOCKS4A with 91', async () => {
    expect(await talk(['04 01 0050 00000001 00 6261642e6f6e696f6e 00', 2])).toEqual(['005b']);
  });

  test('accepts any user and password', async () => {
    const answers = await talk(['05 02 00 02', 2], ['01 01 61 00', 2], [CONNECT_BAD_ONION, 2]);
    expect(answers).toEqual(['0502', '0100', '05f6']);
  });

  test('leaves out the METHOD reply when the authentication came with the greeting', async () => {
    expect(await talk(['05 01 02 01 01 61 00', 2], [CONNECT_BAD_ONION, 2])).toEqual(['0100', '05f6']);
  });

  test('answers HTTP with HTTP/1.0 501', async () => {
    expect(await talk(['474554202f20485454502f312e310d0a0d0a', 12])).toEqual(['485454502f312e3020353031']);
  });
});
