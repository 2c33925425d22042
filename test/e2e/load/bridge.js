// A bridge under load, in a process of its own: gigabytes with their hashes while other connections are reset, its CPU
// beside that of a plain relay, its memory over many connections, and readers that do not read.
//
//     node test/e2e/load/bridge.js           the small size, which is a part of the suite
//     node test/e2e/load/bridge.js --full    1 GiB in each direction, 500 resets, 20,000 connections

import { fork, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chunksOf } from './chunks.js';

const MiB = 1024 * 1024;
const FULL = process.argv.includes('--full');
const SIZE = FULL
  ? { bytes: 1024 * MiB, resets: 500, rounds: 12, slice: 96 * MiB, connections: 20_000, slow: 50 }
  : { bytes: 24 * MiB, resets: 40, rounds: 2, slice: 8 * MiB, connections: 1_000, slow: 8 };
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
let failures = 0;

const children = [];
async function helper(...args) {
  const child = fork(here('bridge-servers.js'), args);
  children.push(child);
  const [port] = await once(child, 'message');
  return { port, pid: child.pid };
}

const upstream = await helper('upstream');
const destination = await helper('destination');
const relay = await helper('relay', String(upstream.port));
const bridge = await startBridge();

async function startBridge() {
  const command = here('../../../packages/socksify/dist/command.js');
  const child = spawn(process.execPath, [command, 'bridge', '--listen', '127.0.0.1:0'], {
    env: { SOCKS_PROXY: `socks5://alice:secret@127.0.0.1:${upstream.port}` },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(child);
  child.once('exit', (status) => status && fail(`the bridge ended with ${status}`));
  const [line] = await once(child.stdout, 'data');
  return { port: Number(/:(\d+)\n/.exec(line)[1]), pid: child.pid };
}

const ORIGIN = Buffer.from('050100030b6f726967696e2e74657374', 'hex');
/** Without a password to the bridge; with it through the relay to the proxy itself. */
const HANDSHAKES = new Map([
  [bridge, [Buffer.from('050100', 'hex'), 2]],
  [relay, [Buffer.from('0501020105616c69636506736563726574', 'hex'), 4]],
]);

/** A tunnel to the destination, which has got its first line. */
async function open(through, line) {
  const socket = connect({ port: through.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
  socket.on('error', () => {});
  const [hello, length] = HANDSHAKES.get(through);
  const port = Buffer.of(destination.port >> 8, destination.port & 0xff);
  socket.write(Buffer.concat([hello, ORIGIN, port]));
  await readExactly(socket, length + 10);
  socket.write(`${line}\n`);
  return socket;
}

/** With one listener for the whole wait: each new one is called at once while there are too few bytes. */
function readExactly(socket, count) {
  return new Promise((resolve, reject) => {
    const look = () => {
      const bytes = socket.read(count);
      if (bytes === null && !socket.readableEnded && !socket.destroyed) return;
      socket.off('readable', look).off('close', look);
      if (bytes?.length === count) resolve(bytes);
      else reject(new Error('there is no tunnel'));
    };
    socket.on('readable', look).on('close', look);
    look();
  });
}

let nextId = 1;

async function upload(through, bytes) {
  const socket = await open(through, 'up');
  const hash = createHash('sha256');
  const answer = read(socket);
  for (const chunk of chunksOf(bytes, nextId++)) {
    hash.update(chunk);
    if (!socket.write(chunk)) await once(socket, 'drain');
  }
  socket.end();
  if ((await answer) !== hash.digest('hex')) fail('an upload arrived as something else');
}

/** The hash of what the destination has sent. */
async function digestOf(id) {
  const socket = connect({ port: destination.port, host: '127.0.0.1', allowHalfOpen: true });
  socket.end(`digest ${id}\n`);
  return read(socket);
}

async function read(socket) {
  let all = '';
  for await (const chunk of socket) all += chunk;
  return all;
}

async function download(through, bytes) {
  const id = nextId++;
  const socket = await open(through, `down ${bytes} ${id}`);
  const hash = createHash('sha256');
  for await (const chunk of socket) hash.update(chunk);
  if (hash.digest('hex') !== (await digestOf(id))) fail('a download arrived as something else');
  socket.destroy();
}

/** Checks that both directions stay whole while either side resets other tunnels. */
async function bulk() {
  let resets = 0;
  const transfers = Promise.all([upload(bridge, SIZE.bytes), download(bridge, SIZE.bytes)]);
  while (resets < SIZE.resets) {
    const batch = Array.from({ length: 10 }, async (_, i) => {
      const socket = await open(bridge, i % 2 === 0 ? 'reset' : `down ${64 * MiB} 1`);
      if (i % 2 === 1) socket.once('data', () => socket.resetAndDestroy());
      else socket.resume();
      while (!socket.closed) await once(socket, 'close').catch(() => {});
      resets++;
    });
    await Promise.all(batch);
    // Spread over the transfers.
    await wait(FULL ? 50 : 5);
  }
  await transfers;
  console.log(
    `bulk: ${SIZE.bytes / MiB} MiB in each direction, hashes equal, ${resets} other connections reset`,
  );
}

/** The CPU of the bridge over that of the relay, measured by turns so that both have the same machine. */
async function cpu() {
  const ratios = [];
  const spent = { bridge: 0, relay: 0 };
  for (let round = 0; round < SIZE.rounds; round++) {
    const used = {};
    const pair = round % 2 === 0 ? { bridge, relay } : { relay, bridge };
    for (const [name, through] of Object.entries(pair)) {
      const before = cpuOf(through);
      await upload(through, SIZE.slice);
      await download(through, SIZE.slice);
      used[name] = cpuOf(through) - before;
      spent[name] += used[name];
    }
    ratios.push(used.bridge / used.relay);
  }
  const sorted = ratios.toSorted((a, b) => a - b);
  const total = spent.bridge / spent.relay;
  console.log(
    `cpu: bridge ${perGiB(spent.bridge)} s/GiB, relay ${perGiB(spent.relay)} s/GiB, ratio ${total.toFixed(2)} ` +
      `(rounds: median ${sorted[sorted.length >> 1].toFixed(2)}, ${sorted[0].toFixed(2)} to ${sorted.at(-1).toFixed(2)})`,
  );
  // A round of the small size takes a few ticks of the clock.
  if (FULL && total > 1.25) fail(`the bridge takes ${total.toFixed(2)} times the CPU of a plain relay`);
}

function perGiB(seconds) {
  return (seconds / ((2 * SIZE.rounds * SIZE.slice) / (1024 * MiB))).toFixed(2);
}

/** In seconds, from the 100 ticks a second of Linux. */
function cpuOf({ pid }) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function memory() {
  const descriptors = descriptorsOf(bridge);
  const seen = [];
  const part = SIZE.connections / 8;
  for (let i = 0; i < 8; i++) {
    for (let done = 0; done < part; done += 25) {
      await Promise.all(
        Array.from({ length: 25 }, async () => {
          const socket = await open(bridge, 'up');
          socket.end('hello');
          await read(socket);
        }),
      );
    }
    seen.push(memoryOf(bridge));
  }
  // The heap of Node comes to its size in the first half: 230 MiB on Node 24, and no more after 100,000 connections.
  const grown = Math.max(...seen.slice(4)) - Math.min(...seen.slice(4));
  const until = performance.now() + 5_000;
  while (descriptorsOf(bridge) > descriptors && performance.now() < until) await wait(20);
  console.log(
    `memory: ${SIZE.connections} connections, ${seen.map((bytes) => Math.round(bytes / MiB)).join(' ')} MiB, ` +
      `descriptors ${descriptors} -> ${descriptorsOf(bridge)}`,
  );
  // The heap of a process of the small size has not come to its size yet.
  if (FULL && grown > 16 * MiB) fail(`the bridge has grown by ${grown / MiB} MiB`);
  if (descriptorsOf(bridge) > descriptors) fail('the bridge has left descriptors open');
}

async function slow() {
  const before = memoryOf(bridge);
  const sockets = await Promise.all(
    Array.from({ length: SIZE.slow }, async () => {
      const socket = await open(bridge, `down ${64 * MiB} 7`);
      return socket.pause();
    }),
  );
  // Until nothing more comes to the bridge.
  for (let last = -1; last !== cpuOf(bridge); await wait(500)) last = cpuOf(bridge);
  const held = memoryOf(bridge) - before;
  console.log(
    `slow readers: ${SIZE.slow} of 64 MiB that do not read, the bridge holds ${Math.round(held / MiB)} MiB`,
  );
  if (held > SIZE.slow * MiB + 16 * MiB) fail(`the bridge holds ${held / MiB} MiB`);
  for (const socket of sockets) socket.destroy();
}

function memoryOf({ pid }) {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))[1]) * 1024;
}

function descriptorsOf({ pid }) {
  return readdirSync(`/proc/${pid}/fd`).length;
}

function fail(reason) {
  failures++;
  console.error(reason);
}

for (const scenario of [bulk, cpu, memory, slow]) await scenario();
const bridgeProcess = children.at(-1);
bridgeProcess.kill('SIGTERM');
const [status] = await once(bridgeProcess, 'exit');
if (status !== 0) fail(`the bridge ended with ${status}`);
for (const child of children) child.disconnect?.();
console.log(`${failures} failures`);
process.exitCode = failures > 0 ? 1 : 0;
