// Run by origins.test.ts in a process of its own: sends 2,000 origins a request each, waits until their connections are
// closed, and prints how many pools are left and by how much the heap has grown.

import { queryObjects } from 'node:v8';
import { SocksDispatcher } from '../dist/index.js';

const [proxy, port, undici] = process.argv.slice(2);
const Agent = undici ? (await import(undici)).Agent : undefined;
const options = { keepAliveTimeout: 5, keepAliveMaxTimeout: 5 };
const dispatcher = new SocksDispatcher(proxy, { ...options, ...(Agent && { Agent }) });

let open = 0;
let Pool;
let allClosed = () => {};
dispatcher.on('connect', (_, dispatchers) => {
  open++;
  Pool ??= dispatchers.at(-2).constructor;
});
dispatcher.on('disconnect', () => {
  open--;
  if (open === 0) allClosed();
});

/** Requests to `count` origins that had none yet, 50 at a time. */
let used = 0;
async function use(count) {
  const end = used + count;
  const send = async () => {
    while (used < end) {
      const origin = `http://site-${used++}.test:${port}`;
      const { body } = await dispatcher.request({ origin, path: '/', method: 'GET' });
      await body.dump();
    }
  };
  await Promise.all(Array.from({ length: 50 }, send));
  // undici lets a process end in spite of its idle connections.
  const stay = setInterval(() => {}, 1000);
  if (open > 0) await new Promise((resolve) => (allClosed = resolve));
  clearInterval(stay);
  // undici 5 clears its timers once a second.
  for (let waits = 0; waits < 50 && pools() > 1; waits++) await new Promise((go) => setTimeout(go, 100));
  return process.memoryUsage().heapUsed;
}

function pools() {
  gc();
  return queryObjects(Pool, { format: 'count' });
}

// The first ones pay for what is compiled and cached once.
const before = await use(500);
const after = await use(2000);
console.log(JSON.stringify({ pools: pools(), grown: after - before }));
