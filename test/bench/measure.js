// How a candidate is measured: by CPU of its process, by memory, or by the clock.

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
