// How a candidate is measured: by CPU of its process, by memory, or by what it makes the process do.

import { createHook } from 'node:async_hooks';
import { PerformanceObserver } from 'node:perf_hooks';

/** Microseconds of CPU for each run of `operation`, of which `parallel` are in progress at a time. */
export function cpu(operation, parallel = 1) {
  return async (size) => {
    const started = process.cpuUsage();
    await repeat(operation, size, parallel);
    const { user, system } = process.cpuUsage(started);
    return (user + system) / size;
  };
}

/** Bytes of heap and buffers for each thing that `open` opens and that is still held; `close` ends all of them. */
export function memory(open, close) {
  return async (size) => {
    const before = await bytes();
    await open(size);
    const held = (await bytes()) - before;
    await close();
    return held / size;
  };
}

/** Bytes that each run of `operation` leaves behind. */
export function kept(operation, parallel) {
  let warm = false;
  return async (size) => {
    if (!warm) await repeat(operation, size, parallel);
    warm = true;
    const before = await bytes();
    await repeat(operation, size, parallel);
    return ((await bytes()) - before) / size;
  };
}

export async function repeat(operation, size, parallel) {
  let left = size;
  const worker = async () => {
    while (left-- > 0) await operation();
  };
  await Promise.all(Array.from({ length: parallel }, worker));
}

/** What is in use after everything that nobody needs was collected. */
async function bytes() {
  for (let i = 0; i < 4; i++) {
    // Sockets are closed a turn after their end, and what they held is found by the next collection.
    await new Promise((resolve) => setTimeout(resolve, 50));
    globalThis.gc();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Promises that each run of `operation` makes, those of this file among them. */
export const promises = (operation) => resources(operation, 'PROMISE');
/** Calls of process.nextTick(), from Node too. */
export const ticks = (operation) => resources(operation, 'TickObject');

function resources(operation, counted) {
  let count = 0;
  const hook = createHook({
    init(_id, type) {
      if (type === counted) count += 1;
    },
  });
  return async (size) => {
    count = 0;
    hook.enable();
    await repeat(operation, size, 1);
    hook.disable();
    return count / size;
  };
}

/** KiB of the heap that each run of `operation` allocates. The process needs a young generation that holds all of it. */
export function allocated(operation) {
  return async (size) => {
    globalThis.gc();
    let collections = 0;
    const observer = new PerformanceObserver((list) => (collections += list.getEntries().length));
    observer.observe({ entryTypes: ['gc'] });
    const before = process.memoryUsage().heapUsed;
    await repeat(operation, size, 1);
    const after = process.memoryUsage().heapUsed;
    // The entries come a turn later.
    await new Promise((resolve) => setTimeout(resolve, 10));
    observer.disconnect();
    if (collections > 0) throw new Error(`${collections} garbage collections came in between`);
    return (after - before) / size / 1024;
  };
}
