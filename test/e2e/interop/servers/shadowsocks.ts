// shadowsocks-libev: ss-local, which reports success for every request, before ss-server, which dials.

import { freePort } from '@socksify/support';
import type { InteropServer } from '../server-traits.ts';
import { defineServer } from '../server-process.ts';

export const shadowsocks: InteropServer = defineServer({
  name: 'ss-local',
  binaries: ['ss-server', 'ss-local'],
  supports: { 4: false, '4a': false, 5: true, userpass: false },
  traits: {
    connects: true,
    refused: { 5: 'ended' },
    unknownName: { 5: 'ended' },
    noAcceptableMethod: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
    unsupported: { 4: 'ERR_SOCKS_PROXY_CLOSED', '4a': 'ERR_SOCKS_PROXY_CLOSED' },
  },
  setUp: async ({ write, start }) => {
    const [serverPort, port] = [await freePort(), await freePort()];
    const common = {
      server: '127.0.0.1',
      server_port: serverPort,
      local_address: '127.0.0.1',
      local_port: port,
      password: 'between the two',
      method: 'chacha20-ietf-poly1305',
      timeout: 60,
    };
    const file = await write('config.json', JSON.stringify(common));
    await start({ port: serverPort }, 'ss-server', '-c', file);
    await start({ port }, 'ss-local', '-c', file, '-u');
    return { port };
  },
});
