// CPU of this process for each kept-alive request, and requests per second, as ratios to a control row in one
// interleaved run: Node's own agents and undici's own Agent over a plain relay, ours over the SOCKS server.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import { fileURLToPath } from 'node:url';
import { SocksAgent } from '@socksify/agent';
import { CERTIFICATE as ca } from '@socksify/support';
import { SocksDispatcher } from '@socksify/undici';

// bench.js [rounds] [a part of the name of the rows wanted]
const [, , rounds = 15, wanted = ''] = process.argv;
const ROUNDS = Number(rounds);
// Enough that each round has its share of collecting garbage.
const REQUESTS = 6000;
const PARALLEL = 8;

const servers = fork(fileURLToPath(new URL('servers.js', import.meta.url)));
const [ports] = await once(servers, 'message');
const proxy = `socks5://127.0.0.1:${ports.socks}`;
const pool = { keepAlive: true, maxSockets: PARALLEL, ca };
const connections = { connections: PARALLEL, connect: { ca } };

const byAgent = (module, agent, port) => () =>
  new Promise((resolve, reject) => {
    const options = { agent, host: '127.0.0.1', port, path: '/' };
    module.get(options, (response) => response.on('end', resolve).resume()).on('error', reject);
  });
const byRequest = (request, dispatcher, url) => async () => {
  const { body } = await request(url, { dispatcher });
  await body.dump();
};
const byFetch = (dispatcher, url) => async () => {
  const response = await fetch(url, { dispatcher });
  await response.arrayBuffer();
};
const relayed = `http://127.0.0.1:${ports.relayHttp}/`;
const proxied = `http://127.0.0.1:${ports.http}/`;

/** undici 8 asks for Node 22.19. */
const versions = Number(process.versions.node.split('.')[0]) < 22 ? [7] : [7, 8];
const undicis = versions.map(async (version) => {
  const { Agent, request } = await import(`undici${version}`);
  return {
    controlName: `Agent of undici ${version}, request`,
    control: byRequest(request, new Agent(connections), relayed),
    ourName: 'SocksDispatcher',
    ours: byRequest(request, new SocksDispatcher(proxy, { ...connections, Agent }), proxied),
  };
});

const GROUPS = [
  {
    controlName: 'http.Agent',
    control: byAgent(http, new http.Agent(pool), ports.relayHttp),
    ourName: 'SocksAgent, http',
    ours: byAgent(http, new SocksAgent(proxy, pool), ports.http),
  },
  {
    controlName: 'https.Agent',
    control: byAgent(https, new https.Agent(pool), ports.relayHttps),
    ourName: 'SocksAgent, https',
    ours: byAgent(https, new SocksAgent(proxy, pool), ports.https),
  },
  ...(await Promise.all(undicis)),
  {
    controlName: "Node's own Agent, fetch",
    control: byFetch(undefined, relayed),
    ourName: 'SocksDispatcher',
    ours: byFetch(new SocksDispatcher(proxy), proxied),
  },
];

for (const { controlName, control, ourName, ours } of GROUPS) {
  if (!ourName.includes(wanted)) continue;
  await round(control);
  await round(ours);
  const ratios = { cpu: [], speed: [] };
  let base;
  for (let i = 0; i < ROUNDS; i++) {
    // Each first in turn, so that whatever drifts does so for both.
    const [first, second] = i % 2 === 0 ? [control, ours] : [ours, control];
    const results = new Map([
      [first, await round(first)],
      [second, await round(second)],
    ]);
    base = results.get(control);
    ratios.cpu.push(results.get(ours).cpu / base.cpu);
    ratios.speed.push(results.get(ours).speed / base.speed);
  }
  console.log(
    `${controlName}: ${(base.cpu).toFixed(1)} µs CPU a request, ${base.speed.toFixed(0)} requests/s`,
  );
  console.log(`  ${ourName}: CPU × ${spread(ratios.cpu)}, speed × ${spread(ratios.speed)}`);
}
servers.disconnect();
process.exit();

async function round(send) {
  const [cpu, started] = [process.cpuUsage(), performance.now()];
  let left = REQUESTS;
  const worker = async () => {
    while (left-- > 0) await send();
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  const { user, system } = process.cpuUsage(cpu);
  return { cpu: (user + system) / REQUESTS, speed: (REQUESTS * 1000) / (performance.now() - started) };
}

function spread(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (share) => sorted[Math.round(share * (sorted.length - 1))].toFixed(3);
  return `${at(0.5)} (${at(0.25)} to ${at(0.75)})`;
}
