// Which destinations NO_PROXY lists, row by row, beside the result of curl with the same list. curl is run where it is
// installed.

import { execFile, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { proxyFromEnv } from '../src/index.ts';

type Answer = 'direct' | 'proxy';

// Why we differ from curl 7.88. A row without a reason has curl's answer.
const STAR = 'curl knows * only as the whole list; Go and Node take it for an entry';
const SUBDOMAINS = 'curl does not know *. before a name; Node and undici do';
const PORT = 'curl compares no ports; Go, Node and undici do';
const WHITE = 'curl does not split at line breaks, which a value read from a file has';
const IDN = 'curl compares the text of the list with the A-labels of the host';
const HOST = 'curl compares text; here entries and hosts are read by one rule';
const BRACKETS = 'curl does not accept brackets around an address; Go does';
const MAPPED =
  'curl keeps IPv4-mapped IPv6 addresses apart from IPv4; both lead to the same machine, and Go agrees';
const MALFORMED =
  'curl reads a prefix as far as it has digits; a malformed CIDR is more likely an error than a wish';
const ALL = 'curl takes /0 for no prefix; it is the range of all addresses for Go';
const IPV6 = 'curl 7.88 does not get IPv6 prefixes of the list right; Go does';
const RANGE = 'curl does not accept ranges from address to address; Node does';

const ROWS: readonly (readonly [
  list: string,
  destination: string,
  ours: Answer,
  curl: Answer,
  reason?: string,
])[] = [
  ['*', 'a.test', 'direct', 'direct'],
  ['*', '1.2.3.4', 'direct', 'direct'],
  ['*', '[::1]', 'direct', 'direct'],
  ['a.test,*', 'b.test', 'direct', 'proxy', STAR],
  ['* a.test', 'b.test', 'direct', 'proxy', STAR],
  ['*:80', 'a.test', 'direct', 'proxy', PORT],
  ['*:80', 'a.test:443', 'proxy', 'proxy'],
  ['', 'a.test', 'proxy', 'proxy'],
  [' ', 'a.test', 'proxy', 'proxy'],
  [',', 'a.test', 'proxy', 'proxy'],
  [' , ', '127.0.0.1', 'proxy', 'proxy'],
  ['', 'localhost', 'proxy', 'proxy'],
  ['', '127.0.0.1', 'proxy', 'proxy'],
  ['', '[::1]', 'proxy', 'proxy'],
  ['example.com', 'example.com', 'direct', 'direct'],
  ['example.com', 'EXAMPLE.com', 'direct', 'direct'],
  ['EXAMPLE.COM', 'example.com', 'direct', 'direct'],
  ['example.com', 'example.com.', 'direct', 'direct'],
  ['example.com.', 'example.com', 'direct', 'direct'],
  ['example.com.', 'example.com.', 'direct', 'direct'],
  ['example.com', 'a.b.example.com', 'direct', 'direct'],
  ['example.com', 'a.example.com.', 'direct', 'direct'],
  ['example.com', 'evilexample.com', 'proxy', 'proxy'],
  ['example.com', 'example.co', 'proxy', 'proxy'],
  ['example.com', 'example.com.evil.test', 'proxy', 'proxy'],
  ['example.com', 'com', 'proxy', 'proxy'],
  ['.example.com', 'example.com', 'direct', 'direct'],
  ['.example.com', 'a.example.com', 'direct', 'direct'],
  ['.example.com', 'evilexample.com', 'proxy', 'proxy'],
  ['..example.com', 'a.example.com', 'proxy', 'proxy'],
  ['..example.com', 'example.com', 'proxy', 'proxy'],
  ['.example.com.', 'a.example.com', 'direct', 'direct'],
  ['*.example.com', 'a.example.com', 'direct', 'proxy', SUBDOMAINS],
  ['*.example.com', 'example.com', 'proxy', 'proxy'],
  ['*.example.com', 'evilexample.com', 'proxy', 'proxy'],
  ['*example.com', 'a.example.com', 'proxy', 'proxy'],
  ['*example.com', 'evilexample.com', 'proxy', 'proxy'],
  ['*.', 'a.test', 'proxy', 'proxy'],
  ['*.', 'localhost', 'proxy', 'proxy'],
  ['*.:80', 'a.test', 'proxy', 'proxy'],
  ['localhost,*.', 'a.test', 'proxy', 'proxy'],
  ['*.*', 'a.test', 'proxy', 'proxy'],
  ['.', 'a.test', 'proxy', 'proxy'],
  ['..', 'a.test', 'proxy', 'proxy'],
  ['..', 'a.undefined', 'proxy', 'proxy'],
  ['.', 'a.', 'proxy', 'proxy'],
  ['*..', 'a.test', 'proxy', 'proxy'],
  ['**', 'a.test', 'proxy', 'proxy'],
  ['*,', 'a.test', 'direct', 'proxy', STAR],
  [',*', 'a.test', 'direct', 'proxy', STAR],
  ['example.com:80', 'example.com', 'direct', 'proxy', PORT],
  ['example.com:80', 'example.com:443', 'proxy', 'proxy'],
  ['example.com:80', 'a.example.com', 'direct', 'proxy', PORT],
  ['example.com:', 'example.com', 'proxy', 'proxy'],
  ['example.com:0', 'example.com', 'proxy', 'proxy'],
  ['example.com:http', 'example.com', 'proxy', 'proxy'],
  ['example.com:080', 'example.com', 'direct', 'proxy', PORT],
  ['example.com:65616', 'example.com', 'proxy', 'proxy'],
  ['test', 'a.test', 'direct', 'direct'],
  ['com', 'example.com', 'direct', 'direct'],
  ['a.test b.test', 'b.test', 'direct', 'direct'],
  ['a.test\tb.test', 'b.test', 'direct', 'direct'],
  ['a.test\nb.test', 'b.test', 'direct', 'proxy', WHITE],
  ['a.test,b.test', 'a.test', 'direct', 'direct'],
  ['a.test,b.test', 'b.test', 'direct', 'direct'],
  ['a.test, b.test', 'b.test', 'direct', 'direct'],
  ['a.test ,b.test', 'a.test', 'direct', 'direct'],
  ['a.test,,b.test', 'b.test', 'direct', 'direct'],
  [',a.test', 'a.test', 'direct', 'direct'],
  ['a.test;b.test', 'b.test', 'proxy', 'proxy'],
  ['a.test|b.test', 'b.test', 'proxy', 'proxy'],
  ['my-host', 'my-host', 'direct', 'direct'],
  ['my-host', 'host', 'proxy', 'proxy'],
  ['a-b.test', 'a-b.test', 'direct', 'direct'],
  ['under_score.test', 'under_score.test', 'direct', 'direct'],
  ['bücher.example', 'bücher.example', 'direct', 'proxy', IDN],
  ['bücher.example', 'xn--bcher-kva.example', 'direct', 'proxy', IDN],
  ['xn--bcher-kva.example', 'bücher.example', 'direct', 'direct'],
  ['BÜCHER.example', 'bücher.example', 'direct', 'proxy', IDN],
  ['bücher.example', 'a.bücher.example', 'direct', 'proxy', IDN],
  ['büro|x', 'a.test', 'proxy', 'proxy'],
  ['*.büro|x', 'a.test', 'proxy', 'proxy'],
  ['10.1.2.3', '10.1.2.3', 'direct', 'direct'],
  ['10.1.2.3', '10.1.2.4', 'proxy', 'proxy'],
  ['10.1.2.3', '10.1.2.3.example.com', 'proxy', 'proxy'],
  ['10.1.2.3', '[::ffff:10.1.2.3]', 'direct', 'proxy', MAPPED],
  ['10.1.2.3', '[::ffff:a01:203]', 'direct', 'proxy', MAPPED],
  ['::ffff:10.1.2.3', '10.1.2.3', 'direct', 'proxy', MAPPED],
  ['10.1.2.3.', '10.1.2.3', 'direct', 'proxy', HOST],
  ['10.1.2.3', '10.1.2.3.', 'direct', 'direct'],
  ['.10.1.2.3', '10.1.2.3', 'proxy', 'proxy'],
  ['*.1.2.3', '10.1.2.3', 'proxy', 'proxy'],
  ['1.2.3', '10.1.2.3', 'proxy', 'proxy'],
  ['2.3', '10.1.2.3', 'proxy', 'proxy'],
  ['10.1.2.', '10.1.2.3', 'proxy', 'proxy'],
  ['10.', '10.1.2.3', 'proxy', 'proxy'],
  ['10.1.2.3:80', '10.1.2.3', 'direct', 'proxy', PORT],
  ['10.1.2.3:80', '10.1.2.3:443', 'proxy', 'proxy'],
  ['010.1.2.3', '10.1.2.3', 'proxy', 'proxy'],
  ['127.0.0.1', '127.1', 'direct', 'direct'],
  ['127.1', '127.0.0.1', 'direct', 'proxy', HOST],
  ['127.0.0.1', '2130706433', 'direct', 'direct'],
  ['127.0.0.1', '0x7f.1', 'direct', 'direct'],
  ['127.0.0.1', '0177.0.0.1', 'direct', 'direct'],
  ['127.0.0.1', '１２７.0.0.1', 'direct', 'direct'],
  ['１２７.0.0.1', '127.0.0.1', 'direct', 'proxy', HOST],
  ['127.0.0.1', 'localhost', 'proxy', 'proxy'],
  ['localhost', '127.0.0.1', 'proxy', 'proxy'],
  ['localhost', 'localhost', 'direct', 'direct'],
  ['localhost', 'a.localhost', 'direct', 'direct'],
  ['2130706433', '127.0.0.1', 'direct', 'proxy', HOST],
  ['::1', '[::1]', 'direct', 'direct'],
  ['[::1]', '[::1]', 'direct', 'proxy', BRACKETS],
  ['::1', '[0:0:0:0:0:0:0:1]', 'direct', 'direct'],
  ['0:0:0:0:0:0:0:1', '[::1]', 'direct', 'proxy', HOST],
  ['::1', '[::2]', 'proxy', 'proxy'],
  ['::1', '127.0.0.1', 'proxy', 'proxy'],
  ['[::1]:80', '[::1]', 'direct', 'proxy', PORT],
  ['[::1]:80', '[::1]:443', 'proxy', 'proxy'],
  ['::1:80', '[::1]', 'proxy', 'proxy'],
  ['FD00::1', '[fd00::1]', 'direct', 'direct'],
  ['fe80::1%25eth0', '[fe80::1]', 'proxy', 'proxy'],
  ['fe80::1%eth0', 'fe80.test', 'proxy', 'proxy'],
  ['[::1', '[::1]', 'proxy', 'proxy'],
  ['::1]', '[::1]', 'proxy', 'proxy'],
  ['[10.1.2.3]', '10.1.2.3', 'proxy', 'proxy'],
  ['[a.test]', 'a.test', 'proxy', 'proxy'],
  ['10.0.0.0/8', '10.255.0.1', 'direct', 'direct'],
  ['10.0.0.0/8', '11.0.0.1', 'proxy', 'proxy'],
  ['10.0.0.0/8', 'ten.test', 'proxy', 'proxy'],
  ['10.0.0.0/8', '[::ffff:10.0.0.1]', 'direct', 'proxy', MAPPED],
  ['10.1.2.3/8', '10.9.9.9', 'direct', 'direct'],
  ['10.0.0.0/32', '10.0.0.0', 'direct', 'direct'],
  ['10.0.0.0/32', '10.0.0.1', 'proxy', 'proxy'],
  ['10.0.0.0/31', '10.0.0.1', 'direct', 'direct'],
  ['10.0.0.0/33', '10.0.0.1', 'proxy', 'proxy'],
  ['10.0.0.0/33', '10.0.0.0', 'proxy', 'proxy'],
  ['10.0.0/8', '10.0.0.1', 'proxy', 'proxy'],
  ['10/8', '10.0.0.1', 'proxy', 'proxy'],
  ['10/8', '0.0.0.1', 'proxy', 'proxy'],
  ['10.0.0.0/', '10.0.0.0', 'proxy', 'direct', MALFORMED],
  ['10.0.0.0/', '10.0.0.1', 'proxy', 'proxy'],
  ['10.0.0.0/x', '10.0.0.0', 'proxy', 'direct', MALFORMED],
  ['10.0.0.0/-1', '10.0.0.1', 'proxy', 'proxy'],
  ['10.0.0.0/ 8', '10.0.0.1', 'proxy', 'proxy'],
  ['10.0.0.0/08', '10.0.0.1', 'direct', 'direct'],
  ['10.0.0.0/8x', '10.0.0.1', 'proxy', 'direct', MALFORMED],
  ['10.0.0.0/255.0.0.0', '10.0.0.1', 'proxy', 'proxy'],
  ['0.0.0.0/0', '8.8.8.8', 'direct', 'proxy', ALL],
  ['0.0.0.0/0', 'a.test', 'proxy', 'proxy'],
  ['0.0.0.0/0', '[2001:db8::1]', 'proxy', 'proxy'],
  ['10.0.0.1/0', '8.8.8.8', 'direct', 'proxy', ALL],
  ['10.0.0.0/8:80', '10.0.0.1', 'direct', 'direct'],
  ['a.test/8', 'a.test', 'proxy', 'proxy'],
  ['/8', '10.0.0.1', 'proxy', 'proxy'],
  ['/', 'a.test', 'proxy', 'proxy'],
  ['fd00::/8', '[fd12::1]', 'direct', 'proxy', IPV6],
  ['fd00::/8', '[fe80::1]', 'proxy', 'proxy'],
  ['fd00::/8', '10.0.0.1', 'proxy', 'proxy'],
  ['[fd00::]/8', '[fd12::1]', 'direct', 'proxy', IPV6],
  ['[fd00::]/16:80', '[fd00:12::1]', 'direct', 'proxy', IPV6],
  ['[fd00::/8]', '[fd12::1]', 'proxy', 'proxy'],
  ['[fd00::]/8:80', '[fd12::1]', 'direct', 'proxy', IPV6],
  ['::/0', '[2001:db8::1]', 'direct', 'proxy', IPV6],
  ['::/0', '10.0.0.1', 'proxy', 'proxy'],
  ['::/64', '10.0.0.1', 'proxy', 'proxy'],
  ['::/80', '10.0.0.1', 'proxy', 'proxy'],
  ['::/0', 'a.test', 'proxy', 'proxy'],
  ['::/0', '[::ffff:10.0.0.1]', 'proxy', 'proxy'],
  ['::/64', '[::1]', 'direct', 'proxy', IPV6],
  ['::/129', '[::1]', 'proxy', 'proxy'],
  ['2001:db8::/33', '[2001:db8:8000::1]', 'proxy', 'proxy'],
  ['2001:db8::/33', '[2001:db8:7fff::1]', 'direct', 'proxy', IPV6],
  ['::ffff:10.0.0.0/104', '10.1.2.3', 'direct', 'proxy', MAPPED],
  ['::ffff:10.0.0.0/104', '11.1.2.3', 'proxy', 'proxy'],
  ['::ffff:0:0/96', '10.1.2.3', 'direct', 'proxy', MAPPED],
  ['::ffff:10.0.0.0/90', '10.1.2.3', 'proxy', 'proxy'],
  ['fd00::%1/8', '[fd12::1]', 'proxy', 'proxy'],
  ['10.0.0.1-10.0.0.9', '10.0.0.1', 'direct', 'proxy', RANGE],
  ['10.0.0.1-10.0.0.9', '10.0.0.9', 'direct', 'proxy', RANGE],
  ['10.0.0.1-10.0.0.9', '10.0.0.10', 'proxy', 'proxy'],
  ['10.0.0.9-10.0.0.1', '10.0.0.5', 'proxy', 'proxy'],
  ['::1-::9', '[::5]', 'direct', 'proxy', RANGE],
  ['::1-10.0.0.9', '10.0.0.5', 'proxy', 'proxy'],
  ['1-2', '0.0.0.1', 'proxy', 'proxy'],
  ['foo-10.0.0.1', '10.0.0.1', 'proxy', 'proxy'],
  ['foo-10.0.0.1', 'foo', 'proxy', 'proxy'],
  ['10.0.0.1-foo', '10.0.0.1-foo', 'direct', 'direct'],
  ['http://a.test', 'a.test', 'proxy', 'proxy'],
  ['a.test/', 'a.test', 'proxy', 'proxy'],
  ['user@a.test', 'a.test', 'proxy', 'proxy'],
  ['a.test#x', 'a.test', 'proxy', 'proxy'],
  ['a%2etest', 'a.test', 'proxy', 'proxy'],
];

const OURS = ROWS.map(([list, destination, answer]) => ({
  list,
  destination,
  answer,
  ours: answer === 'direct' ? 'direct' : 'proxied',
}));
test.each(OURS)(
  'with NO_PROXY=$list, the connection for http://$destination/ is $ours',
  ({ list, destination, answer }) => {
    const select = proxyFromEnv({ ALL_PROXY: 'socks5://s', NO_PROXY: list });
    const [, host = '', port = '80'] = /^(\[.*\]|[^:]*)(?::(\d+))?$/.exec(destination) ?? [];
    expect(select({ host, port: Number(port) }) === undefined ? 'direct' : 'proxy').toBe(answer);
  },
);

test('every difference from curl has a reason, and there is no other reason', () => {
  for (const [list, destination, ours, curl, reason] of ROWS) {
    expect(reason !== undefined, `${list} ${destination}`).toBe(ours !== curl);
  }
});

// The proxy and the site both answer every request with 200, and the test sees to which of them curl connected.
let proxy: Server;
let site: Server;
const listen = async (): Promise<Server> => {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (data) => {
      const tunnel = data.toString('latin1').startsWith('CONNECT ');
      socket.write(`HTTP/1.1 200 OK\r\n${tunnel ? '' : 'content-length: 0\r\nconnection: close\r\n'}\r\n`);
    });
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return server;
};
beforeAll(async () => {
  [proxy, site] = await Promise.all([listen(), listen()]);
});
afterAll(() => {
  proxy.close();
  site.close();
});
const portOf = (server: Server) => (server.address() as AddressInfo).port;

/** `--connect-to` sends direct connections to the site, so that no name is looked up and nothing leaves loopback. */
async function runCurl(list: string, destination: string): Promise<Answer | undefined> {
  const options = [
    '-q',
    '--silent',
    '--output',
    '/dev/null',
    '--write-out',
    '%{remote_port}',
    '--max-time',
    '10',
  ];
  options.push('--noproxy', list, '--proxy', `http://127.0.0.1:${portOf(proxy)}`);
  options.push('--connect-to', `::127.0.0.1:${portOf(site)}`, `http://${destination}/`);
  const env = { PATH: process.env['PATH'] ?? '', LC_ALL: 'C.UTF-8' };
  const { stdout } = await promisify(execFile)('curl', options, { env });
  return stdout === String(portOf(proxy)) ? 'proxy' : stdout === String(portOf(site)) ? 'direct' : undefined;
}

test('curl 7.88 connects as the table says', async () => {
  const installed = spawnSync('curl', ['-q', '--version'], { encoding: 'utf8' }).stdout?.startsWith(
    'curl 7.88.',
  );
  if (process.env['CI'] === 'true') expect(installed, 'curl 7.88 is installed').toBe(true);
  const rows = installed ? [...ROWS] : [];
  const work = async (): Promise<void> => {
    for (let row = rows.pop(); row; row = rows.pop()) {
      const [list, destination, , expected] = row;
      expect(await runCurl(list, destination), `${list} ${destination}`).toBe(expected);
    }
  };
  await Promise.all(Array.from({ length: 8 }, work));
}, 60_000);
