// What socksify costs: CPU of a start with the preload over plain Node; a kept-alive request over that of the agent
// without it, through the same proxy; a listed connection under strict; a gigabyte under tcp over a tunnel of core.
//
// The rows of a comparison take turns, in an order that moves by one in each round. A number is the median over the rounds
// of the row against the control in the same round, with its quartiles; the noise is a second control against the first.
//
// The gigabyte is also compared in processes with other heaps. Node allocates 64 KB outside of the heap for each read, and
// V8 collects these by cheap scavenges while its young generation is at its first size, else by collections of the whole
// heap. An almost empty process is cheaper for this reason alone: a program that keeps a megabyte and a half of objects
// pays the same with and without socksify.
//
// Run: pnpm run build && node test/bench/install.js [--rounds 25]

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { loadavg } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values: options } = parseArgs({ options: { rounds: { type: 'string', default: '25' } } });
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

/** Compares each row with the control of the same round. */
function compare(what, { rows, control, by, digits, unit }) {
  const all = { ...rows, noise: control, control };
  const names = Object.keys(all);
  const rounds = Array.from({ length: Number(options.rounds) }, (_, i) => {
    const order = names.map((_name, at) => names[(at + i) % names.length]);
    return Object.fromEntries(order.map((name) => [name, all[name]()]));
  });
  console.log(`\n${what}`);
  for (const name of names.slice(0, -1)) {
    const found = spread(
      rounds.map((round) => by(round[name], round.control)),
      digits,
    );
    console.log(`  ${name}: ${found}${unit}`);
  }
}
const ratio = { by: (a, b) => a / b, digits: 3, unit: '' };
const load = () => console.log(`load of the machine: ${loadavg()[0].toFixed(1)}`);
load();

compare('a start, ms of CPU more than plain Node', {
  rows: {
    ordinary: () => cpu('', true) / 1000,
    tcp: () => cpu('', true, { SOCKSIFY_STRICT: 'tcp' }) / 1000,
  },
  control: () => cpu('', false) / 1000,
  by: (a, b) => a - b,
  digits: 1,
  unit: ' ms',
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
compare('a kept-alive request, of one with the agent and without the preload', {
  rows: { ordinary: () => cpu(REQUESTS(OURS), true) },
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
compare('an allowed connection under strict, µs of CPU more than in plain Node', {
  rows: { strict: () => cpu(CONNECTIONS, true, { SOCKSIFY_STRICT: '1', NO_PROXY: '127.0.0.1' }) },
  control: () => cpu(CONNECTIONS, false),
  by: (a, b) => a - b,
  digits: 1,
  unit: ' µs',
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
// Objects that stay, as every program has them: of one and a half megabytes, and of ten times as much.
const keep = (count) => `globalThis.kept = Array.from({ length: ${count} }, (_, i) => ({ i, list: [i] }));`;
const tcp = { SOCKSIFY_STRICT: 'tcp' };
compare('1 GiB, of a tunnel of core in an empty process without the preload', {
  rows: {
    'under tcp': () => cpu(TUNNELLED, true, tcp),
    'tunnel of core, with the preload': () => cpu(CORES, true, tcp),
    'tunnel of core, without the preload, 1.5 MB of objects': () => cpu(keep(12_000) + CORES, false),
  },
  control: () => cpu(CORES, false),
  ...ratio,
});
compare('1 GiB with 15 MB of objects, of a tunnel of core without the preload with as many', {
  rows: { 'under tcp': () => cpu(keep(120_000) + TUNNELLED, true, tcp) },
  control: () => cpu(keep(120_000) + CORES, false),
  ...ratio,
});
load();
servers.kill();
