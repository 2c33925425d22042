// What socksify costs: CPU of a start with the preload over plain Node; a kept-alive request over that of the agent
// without it, through the same proxy; a listed connection under strict; a gigabyte under tcp over a tunnel of core. Each
// number is the median of pairs that ran side by side. Run: pnpm run build && node test/bench/install.js

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const REGISTER = here('../../packages/socksify/register.cjs');
const CORE = new URL('../../packages/core/dist/index.js', import.meta.url).href;
const AGENT = new URL('../../packages/agent/dist/index.js', import.meta.url).href;
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

const servers = spawn(process.execPath, [here('install-servers.js')], { stdio: ['pipe', 'pipe', 'inherit'] });
const [line] = await once(createInterface({ input: servers.stdout }), 'line');
const { proxy, http, sink, bulk } = JSON.parse(line);

/** CPU of a process in microseconds, as it tells itself at its end. */
function cpu(source, preload, env = {}) {
  const print = `process.on('exit', () => { const { user, system } = process.cpuUsage(globalThis.since); console.log((user + system) / (globalThis.count ?? 1)); });`;
  const args = [...(preload ? ['--require', REGISTER] : []), '--input-type=module', '--eval', print + source];
  const output = execFileSync(process.execPath, args, {
    env: { PATH: process.env.PATH, SOCKS_PROXY: proxy, HTTP: http, SINK: sink, BULK: bulk, ...env },
    encoding: 'utf8',
  });
  return Number(output.trim().split('\n').at(-1));
}

function pairs(rounds, one, other) {
  const found = Array.from({ length: rounds }, (_, i) => {
    if (i % 2) {
      const second = other();
      return [one(), second];
    }
    return [one(), other()];
  });
  return found;
}

const start = pairs(
  15,
  () => cpu('', true),
  () => cpu('', false),
);
console.log(`start: +${(median(start.map(([a, b]) => a - b)) / 1000).toFixed(1)} ms CPU`);

const REQUESTS = (agent) => `
  import http from 'node:http';
  ${agent}
  const get = () => new Promise((resolve, reject) =>
    http.get(process.env.HTTP, { agent }, (response) => response.resume().on('end', resolve)).on('error', reject));
  for (let i = 0; i < 500; i++) await get();
  globalThis.since = process.cpuUsage();
  globalThis.count = 5000;
  for (let i = 0; i < 5000; i++) await get();
  process.exit();`;
const requests = pairs(
  9,
  () => cpu(REQUESTS('const agent = new http.Agent({ keepAlive: true });'), true),
  () =>
    cpu(
      REQUESTS(
        `import { SocksAgent } from '${AGENT}'; const agent = new SocksAgent(process.env.SOCKS_PROXY, { keepAlive: true });`,
      ),
      false,
    ),
);
console.log(`kept-alive request: ${median(requests.map(([a, b]) => a / b)).toFixed(3)} of the agent`);

const CONNECTIONS = `
  import net from 'node:net';
  const dial = () => new Promise((resolve, reject) => {
    const socket = net.connect(process.env.SINK, '127.0.0.1', () => socket.destroy()).on('close', resolve).on('error', reject);
  });
  for (let i = 0; i < 300; i++) await dial();
  globalThis.since = process.cpuUsage();
  globalThis.count = 3000;
  for (let i = 0; i < 3000; i++) await dial();`;
const connections = pairs(
  9,
  () => cpu(CONNECTIONS, true, { SOCKSIFY_STRICT: '1', NO_PROXY: '127.0.0.1' }),
  () => cpu(CONNECTIONS, false),
);
console.log(
  `allowed connection under strict: +${median(connections.map(([a, b]) => a - b)).toFixed(1)} µs CPU`,
);

const READ = `
  let size = 0;
  globalThis.since = process.cpuUsage();
  socket.on('data', (data) => (size += data.length));
  await new Promise((resolve) => socket.on('end', resolve));
  if (size !== 2 ** 30) throw new Error(String(size));`;
const gigabyte = pairs(
  5,
  () =>
    cpu(
      `import net from 'node:net'; const socket = net.connect(process.env.BULK, '127.0.0.1'); await new Promise((r) => socket.on('connect', r));${READ}`,
      true,
      {
        SOCKSIFY_STRICT: 'tcp',
      },
    ),
  () =>
    cpu(
      `import { connect } from '${CORE}'; const { socket } = await connect(process.env.SOCKS_PROXY, { host: '127.0.0.1', port: process.env.BULK });${READ}`,
      false,
    ),
);
console.log(`1 GiB under tcp: ${median(gigabyte.map(([a, b]) => a / b)).toFixed(3)} of a tunnel of core`);
servers.kill();
