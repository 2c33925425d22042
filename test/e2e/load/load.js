// Socksify under load: what it holds, loses and leaves open. It runs in a process of its own, and server and site run in
// two others. `node --expose-gc test/e2e/load/load.js` runs the small size, `--full` the full size. Exits with 1 when
// bytes were lost, or something hung or leaked.

import { fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { SocksClient } from '@socksify/core';
import { countDescriptors, measureHeap, sha256, within as withinTime } from '@socksify/support';
import { chunksOf } from './chunks.js';
import { ADAPTERS, codeOf } from './adapters.js';

const MiB = 1024 * 1024;
const { values } = parseArgs({ options: { full: { type: 'boolean', default: false } } });
const SIZE = values.full
  ? { tunnels: 4096, connects: 50_000, bytes: 1024 * MiB, deaths: 20, slow: 256 * MiB, reading: 10_000 }
  : { tunnels: 256, connects: 3_000, bytes: 64 * MiB, deaths: 3, slow: 64 * MiB, reading: 1_000 };
/** No single wait takes so long, even on a slow machine. */
const DEADLINE = values.full ? 120_000 : 20_000;
/** What the kernel and four sockets may hold of one download, and what a client may hold of it. */
const [IN_TRANSIT, IN_THE_CLIENT] = [40 * MiB, 16 * MiB];

const total = { lost: 0, hangs: 0, leaked: 0, failures: 0 };
const processes = { proxy: helper('proxy'), site: helper('site') };
const { socks, lossy } = await processes.proxy('ready');
const ports = await processes.site('ready');
const proxy = `socks5://127.0.0.1:${socks}`;
const url = (path) => `http://127.0.0.1:${ports.web}${path}`;

let nextId = 1;

await scenario('tunnels held', held);
await scenario('connects in sequence', sequence);
await scenario('bulk, beside tunnels that are reset', bulk);
await scenario('a proxy that dies and comes back', restart);
await scenario('slow readers', slow);

const { lost, hangs, leaked, failures } = total;
console.log(
  `${lost} lost bytes, ${hangs} hangs, ${leaked} leaked descriptors${failures ? `, ${failures} failures` : ''}`,
);
process.exit(lost + hangs + leaked + failures > 0 ? 1 : 0);

/** So many at once, each with a message of its own, there and back. */
async function held(figures) {
  const client = new SocksClient(proxy);
  const destination = { host: '127.0.0.1', port: ports.echo };
  const tunnels = await within(
    'tunnels',
    inBatches(SIZE.tunnels, () => client.connect(destination)),
  );
  figures.tunnels = tunnels.length;
  const echoed = tunnels.map(async ({ socket }, i) => {
    const message = Buffer.from(`tunnel ${i} of ${SIZE.tunnels}`);
    socket.end(message);
    const answer = Buffer.concat(await readAll(socket));
    verify(answer.equals(message), message.length, figures);
  });
  await within('messages', Promise.all(echoed));
  await client.close();
  // The site answers no request before all have arrived.
  for (const make of ADAPTERS.slice(1)) {
    const adapter = make(proxy);
    const asked = inBatches(
      SIZE.tunnels,
      async (i) => {
        const body = Buffer.from(`${adapter.name} ${i}`);
        const response = await adapter.send(url(`/barrier?count=${SIZE.tunnels}`), { body });
        const answer = Buffer.concat(await readAll(response)).toString();
        verify(answer === sha256(body), body.length, figures);
      },
      SIZE.tunnels,
    );
    await within(`requests of ${adapter.name}`, asked);
    figures.tunnels += SIZE.tunnels;
    await adapter.close();
  }
}

async function sequence(figures) {
  const client = new SocksClient(proxy);
  const destination = { host: '127.0.0.1', port: ports.echo };
  const connect = async () => {
    const { socket } = await client.connect(destination);
    await new Promise((resolve) => socket.once('close', resolve).destroy());
  };
  const [agent, dispatcher] = ADAPTERS.slice(1).map((make) => make(proxy));
  const parts = [
    [connect, 0.6],
    [() => get(agent), 0.2],
    [() => get(dispatcher), 0.2],
  ];
  const half = async () => {
    for (const [one, share] of parts) {
      for (let i = 0; i < (SIZE.connects * share) / 2; i++) await within('a connect', one());
    }
  };
  await half();
  const middle = await measureHeap();
  await half();
  figures.connects = SIZE.connects;
  const grown = (await measureHeap()) - middle;
  figures.grown = mib(grown);
  // A leak of each connection would be more than this.
  if (grown > Math.max(MiB, 50 * SIZE.connects))
    fail(`the heap has grown by ${figures.grown} in the second half`);
  await Promise.all([client.close(), agent.close(), dispatcher.close()]);
}

/** Up and down, hashed at both ends. */
async function bulk(figures) {
  const over = new AbortController();
  const victims = ADAPTERS.map(async (make) => {
    const adapter = make(`socks5://127.0.0.1:${lossy}`);
    while (!over.signal.aborted) {
      const id = nextId++;
      const outcome = await within(
        'a victim',
        adapter.send(url(`/download?bytes=${4 * MiB}&id=${id}`)).then(readAll),
      ).then(() => 'whole', codeOf);
      if (outcome === 'whole') fail(`${adapter.name} took a part for the whole`);
      figures.faults = (figures.faults ?? 0) + 1;
      await wait(5);
    }
    await adapter.close();
  });
  for (const make of ADAPTERS) {
    const adapter = make(proxy);
    const up = createHash('sha256');
    const hashed = function* () {
      for (const chunk of chunksOf(SIZE.bytes, nextId)) {
        up.update(chunk);
        yield chunk;
      }
    };
    const response = await within(
      `upload by ${adapter.name}`,
      adapter.send(url('/upload'), { body: hashed() }),
    );
    const answer = Buffer.concat(await readAll(response)).toString();
    verify(answer === up.digest('hex'), SIZE.bytes, figures);

    const id = nextId++;
    const down = createHash('sha256');
    const download = await adapter.send(url(`/download?bytes=${SIZE.bytes}&id=${id}`));
    await within(
      `download by ${adapter.name}`,
      consume(download, (chunk) => void down.update(chunk)),
    );
    verify(down.digest('hex') === (await processes.site('digest', id)), SIZE.bytes, figures);
    await adapter.close();
  }
  over.abort();
  await Promise.all(victims);
  const lostLinks = await processes.proxy('lost');
  if (lostLinks !== figures.faults) fail(`${lostLinks} links lost, ${figures.faults} errors`);
}

async function restart(figures) {
  const adapters = ADAPTERS.map((make) => make(proxy, { keepAlive: true }));
  const empty = sha256(Buffer.alloc(0));
  figures.faults = 0;
  for (let death = 0; death < SIZE.deaths; death++) {
    // Idle sockets in every pool, and a download that has begun.
    for (const adapter of adapters)
      await within('idle', Promise.all(Array.from({ length: 4 }, () => get(adapter))));
    const underWay = adapters.map(async (adapter) => {
      const response = await adapter.send(url(`/download?bytes=${512 * MiB}&id=${nextId++}`));
      return { ended: readAll(response).then(() => 'whole', codeOf) };
    });
    const downloads = await within('downloads', Promise.all(underWay));
    figures.faults += await processes.proxy('die');
    for (const { ended } of downloads) {
      if ((await within('a download that was reset', ended)) === 'whole')
        fail('a part was taken for the whole');
    }
    for (const adapter of adapters) {
      const code = await within(
        'a dead proxy',
        get(adapter).then(() => 'an answer', codeOf),
      );
      if (code !== 'ERR_SOCKS_PROXY_UNREACHABLE')
        fail(`${adapter.name} says ${code} of a proxy that is gone`);
    }
    await processes.proxy('revive');
    for (const adapter of adapters) {
      for (let i = 0; i < 10; i++) {
        verify((await within(`${adapter.name} again`, get(adapter))) === empty, empty.length, figures);
      }
    }
  }
  for (const adapter of adapters) await adapter.close();
}

async function slow(figures) {
  const before = outside();
  figures.held = 0;
  let furthest = 0;
  // The same for all: what one reads at full speed is garbage for a while, and would count as held by another.
  const until = performance.now() + SIZE.reading;
  const readers = ADAPTERS.map(async (make) => {
    const adapter = make(proxy);
    const id = nextId++;
    const response = await adapter.send(url(`/download?bytes=${SIZE.slow}&id=${id}`));
    const hash = createHash('sha256');
    let read = 0;
    let most = 0;
    await within(
      `a slow reader by ${adapter.name}`,
      consume(response, async (chunk) => {
        hash.update(chunk);
        read += chunk.length;
        if (performance.now() > until) return;
        await wait(20);
        most = Math.max(most, (await processes.site('sent', id)) - read);
        // Not while the others read on at full speed: the collector is behind them.
        if (performance.now() < until) figures.held = Math.max(figures.held, outside() - before);
      }),
    );
    if (most > IN_TRANSIT) fail(`${adapter.name}: ${mib(most)} in transit to a slow reader`);
    furthest = Math.max(furthest, most);
    verify(hash.digest('hex') === (await processes.site('digest', id)), SIZE.slow, figures);
    await adapter.close();
  });
  await Promise.all(readers);
  if (figures.held > IN_THE_CLIENT) fail(`the client held ${mib(figures.held)}`);
  figures.held = mib(figures.held);
  figures.ahead = mib(furthest);
}

/** Runs one, and compares what there is afterwards with what there was. */
async function scenario(name, run) {
  const figures = {};
  const started = performance.now();
  const [heap0, fds0] = [await measureHeap(), countDescriptors()];
  try {
    await run(figures);
  } catch (error) {
    fail(error);
  }
  // Sockets may close a little later; what leaks never closes.
  const until = performance.now() + 5_000;
  while (countDescriptors() > fds0 && performance.now() < until) await wait(20);
  const [heap1, fds1] = [await measureHeap(), countDescriptors()];
  total.leaked += Math.max(0, fds1 - fds0);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  const parts = Object.entries(figures).map(([what, value]) => `${what} ${value}`);
  console.log(
    `${name}: ${parts.join(', ')}, descriptors ${fds0} -> ${fds1}, heap ${mib(heap0)} -> ${mib(heap1)}, ${seconds} s`,
  );
}

function fail(reason) {
  total.failures++;
  console.error(reason instanceof Error ? reason.stack : reason);
}

function verify(same, bytes, figures) {
  if (same) figures.verified = (figures.verified ?? 0) + bytes;
  else total.lost += bytes;
}

/** @throws Error that counts as a hang */
async function within(what, promise) {
  try {
    return await withinTime(promise, what, DEADLINE);
  } catch (error) {
    if (error.message === `hangs: ${what}`) total.hangs++;
    throw error;
  }
}

async function inBatches(count, one, atOnce = 128) {
  const results = [];
  for (let i = 0; i < count; i += atOnce) {
    const length = Math.min(atOnce, count - i);
    results.push(...(await Promise.all(Array.from({ length }, (_, j) => one(i + j)))));
  }
  return results;
}

async function consume(stream, take) {
  for await (const chunk of stream) await take(chunk);
}

async function get(adapter) {
  return Buffer.concat(await readAll(await adapter.send(url('/')))).toString();
}

async function readAll(stream) {
  const chunks = [];
  await consume(stream, (chunk) => void chunks.push(chunk));
  return chunks;
}

/** The bytes of buffers that are in use, after a garbage collection. */
function outside() {
  globalThis.gc();
  return process.memoryUsage().external;
}

function mib(bytes) {
  return `${(bytes / MiB).toFixed(1)} MiB`;
}

/** A process that carries out actions by their names. */
function helper(role) {
  const child = fork(fileURLToPath(new URL('servers.js', import.meta.url)), [role], { execArgv: [] });
  let number = 0;
  child.setMaxListeners(0);
  child.once('exit', (code) => code && fail(`${role} ended with ${code}`));
  const ready = once(child, 'spawn');
  const waiting = new Map();
  child.on('message', (message) => waiting.get(message.number)?.(message.result));
  return async (action, argument) => {
    await ready;
    const mine = number++;
    const answer = new Promise((resolve) => waiting.set(mine, resolve));
    child.send({ number: mine, action, argument });
    return within(`${role} ${action}`, answer).finally(() => waiting.delete(mine));
  };
}
