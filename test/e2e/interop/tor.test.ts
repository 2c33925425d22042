// What only tor does. Bytes typed by hand, no client.

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mustSkip } from './servers.ts';
import type { RunningServer } from './servers.ts';
import { tor, torUnix } from './servers/tor.ts';
import { dial } from './wire.ts';

const CONNECT_BAD_ONION = '05 01 00 03 09 6261642e6f6e696f6e 0050';

describe.skipIf(mustSkip(tor)).each([tor, torUnix])('$name', ({ start }) => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await start();
  });
  afterAll(() => server.stop());

  /** Sends each message when the answer to the one before is there, and returns the answers. */
  const talk = async (...turns: readonly (readonly [hex: string, size: number])[]): Promise<string[]> => {
    const wire = await dial(server);
    const answers: string[] = [];
    for (const [hex, size] of turns) {
      wire.send(hex);
      answers.push(await wire.read(size));
    }
    wire.close();
    return answers;
  };

  it('says F6 of a malformed onion name', async () => {
    expect(await talk(['05 01 00', 2], [CONNECT_BAD_ONION, 2])).toEqual(['0500', '05f6']);
  });

  it('says 91 of it to SOCKS4A', async () => {
    expect(await talk(['04 01 0050 00000001 00 6261642e6f6e696f6e 00', 2])).toEqual(['005b']);
  });

  it('goes on after any user and password', async () => {
    const answers = await talk(['05 02 00 02', 2], ['01 01 61 00', 2], [CONNECT_BAD_ONION, 2]);
    expect(answers).toEqual(['0502', '0100', '05f6']);
  });

  it('leaves out the METHOD reply when the authentication came with the greeting', async () => {
    expect(await talk(['05 01 02 01 01 61 00', 2], [CONNECT_BAD_ONION, 2])).toEqual(['0100', '05f6']);
  });

  it('answers HTTP with HTTP/1.0 501', async () => {
    expect(await talk(['474554202f20485454502f312e310d0a0d0a', 12])).toEqual(['485454502f312e3020353031']);
  });
});
