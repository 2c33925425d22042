// One candidate in a process of its own, since what changes the shape of Node's objects for one would slow the others:
// makes the measurement that its arguments name. Answers a number with the figure of a batch of that size, and
// `{ profile: SIZE }` with where the CPU time of such a batch went.
//
//     node --expose-gc candidate.js FILE NAME PORTS

import { Session } from 'node:inspector/promises';

const [, , file, name, ports] = process.argv;
const { default: candidates } = await import(`./candidates/${file}.js`);
const measure = await candidates[name](JSON.parse(ports));
process.on('message', async (message) => {
  process.send(typeof message === 'number' ? await measure(message) : await profile(message.profile));
});
process.on('disconnect', () => process.exit());
process.send('ready');

/** Microseconds of CPU of one operation, by area, and the functions of the packages that take most of them. */
async function profile(size) {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: 100 });
  await session.post('Profiler.start');
  const cost = await measure(size);
  const { profile: found } = await session.post('Profiler.stop');
  session.disconnect();

  const nodes = new Map(found.nodes.map((node) => [node.id, node]));
  const [areas, functions] = [new Map(), new Map()];
  let busy = 0;
  for (const [i, id] of found.samples.entries()) {
    const { callFrame } = nodes.get(id);
    const area = areaOf(callFrame);
    if (area === undefined) continue;
    const time = Math.max(0, found.timeDeltas[i]);
    busy += time;
    add(areas, area, time);
    if (area === 'socksify') add(functions, callFrame.functionName || '(anonymous)', time);
  }
  const shares = (times) =>
    Object.fromEntries(
      [...times].toSorted(([, a], [, b]) => b - a).map(([key, time]) => [key, (cost * time) / busy]),
    );
  return { areas: shares(areas), functions: shares(functions) };
}

function add(times, key, time) {
  times.set(key, (times.get(key) ?? 0) + time);
}

/** Functions without a file are those of V8 and of Node's native code, system calls among them. */
function areaOf({ functionName, url }) {
  if (functionName === '(idle)' || functionName === '(root)') return undefined;
  if (functionName === '(garbage collector)') return 'garbage collection';
  if (url.includes('/undici')) return 'undici';
  if (url.startsWith('node:')) return 'JavaScript of Node';
  if (url.includes('/packages/') && !url.includes('/node_modules/')) return 'socksify';
  return url === '' ? 'native code and system calls' : 'others';
}
