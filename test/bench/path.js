// Lists the functions of the packages that run for one request, from the call to the end of the answer: each function
// with the number of its calls, as V8 counts them. The requests are a fetch and an https.get, each over a new connection
// and over one that was kept alive. The sources themselves run, so that the list names their files and lines. No time is
// measured, so it does not matter how busy the machine is. Needs Node 24 or later, which reads TypeScript.
//
//     node test/bench/path.js [--list] [--folder packages]

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, get } from 'node:https';
import { Session } from 'node:inspector/promises';
import { registerHooks } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { TLS } from '@socksify/support';
import { startServer } from '@socksify/server';

const { values } = parseArgs({
  options: {
    folder: { type: 'string', default: fileURLToPath(new URL('../../packages', import.meta.url)) },
    list: { type: 'boolean', default: false },
  },
});
const packages = pathToFileURL(`${values.folder}/`).href;
const sourceOf = (name) => new URL(`${name}/src/index.ts`, packages).href;
registerHooks({
  resolve(specifier, context, next) {
    const [, name] = /^@socksify\/(core|agent|undici)$/.exec(specifier) ?? [];
    if (name === undefined) return next(specifier, context);
    return { url: sourceOf(name), format: 'module-typescript', shortCircuit: true };
  },
});
const { SocksAgent } = await import(sourceOf('agent'));
const { SocksDispatcher } = await import(sourceOf('undici'));

const proxy = await startServer({ names: { 'origin.test': '127.0.0.1' } });
const route = `socks5://127.0.0.1:${proxy.port}`;
const agent = new SocksAgent(route, { keepAlive: true, ca: TLS.cert });
const dispatcher = new SocksDispatcher(route, { connect: { ca: TLS.cert } });

const session = new Session();
session.connect();
await session.post('Profiler.enable');
await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });

await show('fetch', async (url) => {
  const response = await fetch(url, { dispatcher });
  await response.text();
});
await show('https.get', async (url) => {
  const [response] = await once(get(url, { agent }), 'response');
  await once(response.resume(), 'end');
});

agent.destroy();
await dispatcher.destroy();
await proxy.close();

async function show(name, send) {
  // The first request of a process loads what later ones have already. It is not counted.
  const first = await startSite();
  await send(first.url);
  const site = await startSite();
  print(`${name}, new connection`, await callsOf(() => send(site.url)));
  // In its own turn, in which the connection gets idle.
  await new Promise((resolve) => setImmediate(resolve));
  print(`${name}, kept-alive connection`, await callsOf(() => send(site.url)));
  if (site.connections !== 1) throw new Error(`${name} opened ${site.connections} connections, not 1`);
  for (const { server } of [first, site]) {
    server.closeAllConnections();
    server.close();
  }
}

async function startSite() {
  const server = createServer(TLS, (_request, response) => response.end('hello'));
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const site = { server, url: `https://origin.test:${server.address().port}/`, connections: 0 };
  server.on('connection', () => (site.connections += 1));
  return site;
}

/** The functions that `act` calls, with their calls. Reading the counts sets them to 0. */
async function callsOf(act) {
  await session.post('Profiler.takePreciseCoverage');
  await act();
  const { result } = await session.post('Profiler.takePreciseCoverage');
  return result.flatMap(({ url, functions }) => {
    if (!url.startsWith(packages) || !url.includes('/src/')) return [];
    const source = readFileSync(fileURLToPath(url), 'utf8');
    return functions.flatMap(({ functionName, ranges: [{ startOffset, count }] }) => {
      const line = source.slice(0, startOffset).split('\n').length;
      const name = `${url.slice(packages.length).replace('/src/', '/')}:${line} ${functionName || '(anonymous)'}`;
      return count > 0 ? [{ name, count }] : [];
    });
  });
}

function print(title, functions) {
  const calls = functions.reduce((sum, { count }) => sum + count, 0);
  console.log(`${title}: ${functions.length} functions, ${calls} calls`);
  if (values.list)
    for (const { name, count } of functions) console.log(`${String(count).padStart(6)}  ${name}`);
}
