// What socksify costs: CPU of a start with the preload over plain Node; a kept-alive request over that of the agent
// without it, through the same proxy; a listed connection under strict; a gigabyte under tcp over a tunnel of core, in a
// plain process and in one with the preload, whose larger heap makes the collector of V8 work differently. Each number is
// the median of pairs that ran side by side, with its quartiles; the noise is a control against itself.
// Run: pnpm run build && node test/bench/install.js

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const REGISTER = here('../../packages/socksify/dist/preload.cjs');
const CORE = new URL('../../packages/core/dist/index.js', import.meta.url).href;
const AGENT = new URL('../../packages/agent/dist/index.js', import.meta.url).href;
/** The median and the quartiles. */
const spread = (values, digits) => {
  const sorted = values.toSorted((a, b) => a - b);
  const [first, median, third] = [1, 2, 3].map((n) =>
    sorted[Math.floor((sorted.length * n) / 4)].toFixed(digits),
  );
  return `${median} (${first} to ${third})`;
};

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

/** Compares `one` with `control`, and `control` with itself. */
function compare(what, rounds, { one, control, by, digits, unit }) {
  const measured = Array.from({ length: rounds }, (_, i) => {
    const rows = [one, control, control];
    if (i % 2) rows.reverse();
    const found = rows.map((row) => row());
    if (i % 2) found.reverse();
    return found;
  });
  const value = spread(
    measured.map(([a, b]) => by(a, b)),
    digits,
  );
  const noise = spread(
    measured.map(([, b, c]) => by(c, b)),
    digits,
  );
  console.log(`${what}: ${value}${unit}; noise ${noise}`);
}
const ratio = { by: (a, b) => a / b, digits: 3, unit: '' };

compare('start', 21, {
  one: () => cpu('', true) / 1000,
  control: () => cpu('', false) / 1000,
  by: (a, b) => a - b,
  digits: 1,
  unit: ' ms CPU more',
});

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
const OURS = 'const agent = new http.Agent({ keepAlive: true });';
const AGENTS = `import { SocksAgent } from '${AGENT}';
  const agent = new SocksAgent(process.env.SOCKS_PROXY, { keepAlive: true });`;
compare('kept-alive request, of the agent', 9, {
  one: () => cpu(REQUESTS(OURS), true),
  control: () => cpu(REQUESTS(AGENTS), false),
  ...ratio,
});

const CONNECTIONS = `
  import net from 'node:net';
  const dial = () => new Promise((resolve, reject) => {
    const socket = net.connect(process.env.SINK, '127.0.0.1', () => socket.destroy()).on('close', resolve).on('error', reject);
  });
  for (let i = 0; i < 300; i++) await dial();
  globalThis.since = process.cpuUsage();
  globalThis.count = 3000;
  for (let i = 0; i < 3000; i++) await dial();`;
compare('allowed connection under strict', 9, {
  one: () => cpu(CONNECTIONS, true, { SOCKSIFY_STRICT: '1', NO_PROXY: '127.0.0.1' }),
  control: () => cpu(CONNECTIONS, false),
  by: (a, b) => a - b,
  digits: 1,
  unit: ' µs CPU more',
});

const READ = `
  let size = 0;
  globalThis.since = process.cpuUsage();
  socket.on('data', (data) => (size += data.length));
  await new Promise((resolve) => socket.on('end', resolve));
  if (size !== 2 ** 30) throw new Error(String(size));`;
const TUNNELLED = `import net from 'node:net';
  const socket = net.connect(process.env.BULK, '127.0.0.1');
  await new Promise((resolve) => socket.on('connect', resolve));${READ}`;
const CORES = `import { connect } from '${CORE}';
  const { socket } = await connect(process.env.SOCKS_PROXY, { host: '127.0.0.1', port: process.env.BULK });${READ}`;
const tcp = { SOCKSIFY_STRICT: 'tcp' };
compare('1 GiB under tcp, of a tunnel of core', 9, {
  one: () => cpu(TUNNELLED, true, tcp),
  control: () => cpu(CORES, false),
  ...ratio,
});
compare('1 GiB under tcp, of a tunnel of core in a process with the preload', 9, {
  one: () => cpu(TUNNELLED, true, tcp),
  control: () => cpu(CORES, true, tcp),
  ...ratio,
});
servers.kill();
