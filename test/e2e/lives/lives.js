// Random lives: agents and dispatchers whose requests are answered, aborted, reset or timed out, and which are closed
// while requests are in progress, over routes that change. Every request must have its own outcome, once, and nothing may
// stay open. Exits with 1 when something is wrong, and prints the seed that repeats the run.

import { AsyncLocalStorage } from 'node:async_hooks';
import { setTimeout as wait } from 'node:timers/promises';
import { inspect, parseArgs } from 'node:util';
import { countDescriptors, within as withinTime } from '@socksify/support';
import { createClient } from './clients.js';
import { judge } from './judge.js';
import { createRandom } from './random.js';
import { HOSTS, startRoutes } from './routes.js';
import { bodyOf, startSite } from './site.js';

const USAGE = `lives [--minutes N] [--seed S] [--at-once N]

  --minutes N   how long (default 1)
  --seed S      what is drawn; when things happen depends on the machine
  --at-once N   lives at the same time (default 8)`;

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 32)) },
    'at-once': { type: 'string', default: '8' },
    help: { type: 'boolean', default: false },
  },
});
const [minutes, seed, atOnce] = [values.minutes, values.seed, values['at-once']].map(Number);
if (values.help || ![minutes, seed, atOnce].every(Number.isFinite)) {
  console.log(USAGE);
  process.exit(values.help ? 0 : 2);
}

/** Milliseconds after which a request counts as hanging. Every request is answered, refused or aborted long before. */
const HANG = 30_000;
/** Milliseconds after which everything is closed and checked, before new lives begin. */
const EPOCH = 10_000;

const BEHAVIOURS = { answer: 12, slow: 6, big: 3, close: 3, reset: 2, cut: 2, stall: 1 };

const random = createRandom(seed);
const routes = await startRoutes();
const site = await startSite(routes.seen);
const current = new AsyncLocalStorage();
const total = { lives: 0, requests: 0, answers: 0, errors: 0, disturbances: 0 };
const findings = [];
/** When a proxy last closed a connection by itself. */
let disturbedAt = 0;
let nextId = 1;

console.log(`seed ${seed}`);
// Standard output may be a socket, too.
const before = sockets();
process.on('warning', (warning) => report('a warning', warning));
process.on('uncaughtException', (error, origin) => {
  report(origin, error);
  finish();
});

const until = performance.now() + minutes * 60_000;
do {
  await epoch(Math.min(until, performance.now() + EPOCH));
} while (performance.now() < until && findings.length === 0);
finish();

/** Runs lives until the time is over. Then everything is closed. */
async function epoch(end) {
  // In most epochs proxies close few connections, so that most errors must have another reason.
  const disturbance = setInterval(disturb, random.chance(0.4) ? 50 : 2000);
  const line = async () => {
    while (performance.now() < end && findings.length === 0) await live(createRandom(random.seed()));
  };
  await Promise.all(Array.from({ length: atOnce }, line));
  clearInterval(disturbance);
  await closed();
}

/** Lets a random proxy close one of its connections, in three of ten calls. */
function disturb() {
  if (!random.chance(0.3)) return;
  const socket = random.oneOf(routes.servers.flatMap((server) => [...server.sockets]));
  if (!socket) return;
  disturbedAt = performance.now();
  total.disturbances++;
  if (random.chance(0.5)) socket.resetAndDestroy();
  else socket.destroy();
}

async function live(chance) {
  total.lives++;
  const client = createClient(select, routes.lookup, chance);
  let ended = Infinity;
  const end = async () => {
    ended = Math.min(ended, performance.now());
    await client.end();
  };
  const lifeEnded = () => ended < Infinity;
  const requests = Array.from({ length: chance.integer(1, 20) }, () => ({
    after: chance.integer(0, 80),
    request: draw(chance, client, lifeEnded),
  }));
  const sent = requests.map(async ({ after, request }) => {
    await wait(after);
    await send(client, request);
  });
  if (chance.chance(0.25)) {
    await wait(chance.integer(0, 100));
    await within(end(), `the end of ${client.name}`);
  }
  await Promise.all(sent);
  await within(end(), `the end of ${client.name}`);
  await client.destroy?.();
}

/** Draws a request, and all that will happen to it. */
function draw(chance, client, lifeEnded) {
  const id = `r${nextId++}`;
  const behaviour = chance.weighted(BEHAVIOURS);
  const method = chance.chance(0.5) ? 'POST' : 'GET';
  const body = method === 'POST' ? bodyOf(id, chance.integer(1, 3000)) : Buffer.alloc(0);
  const protocol = chance.chance(0.5) ? 'https' : 'http';
  const path = `/${behaviour}?id=${id}`;
  const started = performance.now();
  const choiceName = chance.weighted(routes.weights);
  // A request that would never end by itself is aborted.
  const endless = behaviour === 'stall' || (routes.choices[choiceName].endless && !client.isImpatient);
  return {
    id,
    behaviour,
    method,
    body,
    path,
    url: `${protocol}://${chance.oneOf(HOSTS)}:${site[protocol]}${path}`,
    choiceName,
    isImpatient: client.isImpatient,
    /** True if the selector returns a promise. */
    later: chance.chance(0.3),
    abortAfter: endless || chance.chance(0.25) ? chance.integer(0, endless ? 300 : 60) : undefined,
    byDestroy: chance.chance(0.3),
    cancels: behaviour === 'big' && chance.chance(0.3),
    chosen: [],
    aborted: false,
    cancelled: false,
    lifeEnded,
    /** True if a proxy may have closed the connection of the request, even while the connection was idle. */
    disturbed: () => disturbedAt >= started - 1,
  };
}

/** The selector of all lives. Its answer was drawn together with the request. */
function select() {
  const request = current.getStore();
  if (!request) throw new Error('the selector was called outside the context of a request');
  const choice = { name: request.choiceName, ...routes.choices[request.choiceName] };
  request.chosen.push(choice);
  if (choice.answer) return request.later ? Promise.resolve(choice.answer()) : choice.answer();
  const error = new Error(`thrown for ${request.id}`);
  if (request.later) return Promise.reject(error);
  throw error;
}

async function send(client, request) {
  total.requests++;
  const abort = new AbortController();
  const isAgent = !client.endsForGood;
  const byDestroy = isAgent && request.byDestroy;
  const end = () => {
    request.aborted = true;
    if (!byDestroy) abort.abort();
  };
  const timer = request.abortAfter === undefined ? undefined : setTimeout(end, request.abortAfter);
  const enough = () => {
    if (request.cancels) request.cancelled = true;
    return request.cancels;
  };
  const { method, body } = request;
  const how = {
    method,
    ...(method === 'POST' && { body }),
    signal: abort.signal,
    enough,
    ...(byDestroy && request.abortAfter !== undefined && { destroyAfter: request.abortAfter }),
  };
  const outcome = await current.run(request, () =>
    within(client.send(request.url, how), `${request.url} of ${client.name}`, request).then(
      (answer) => ({ answer }),
      (error) => ({ error: error ?? new Error(`rejected with ${error}`) }),
    ),
  );
  clearTimeout(timer);
  total[outcome.error ? 'errors' : 'answers']++;
  const wrong = judge(request, outcome);
  if (wrong) {
    report(`${request.url} of ${client.name}: ${wrong}`, request);
  }
}

/** Waits for the promise, and reports it when it hangs. */
async function within(promise, what, details) {
  try {
    return await withinTime(promise, what, HANG);
  } catch (error) {
    if (error?.message === `hangs: ${what}`) report(error.message, details);
    throw error;
  }
}

/** Checks that nothing is open when all lives are over: at the proxies, at the site, in this process. */
async function closed() {
  await zero(() => ({ proxies: routes.connections(), site: site.sockets.size }));
  routes.forget();
  await zero(() => ({ sockets: sockets() - before }));
}

/** The sockets of this process: those of clients and servers, and the standard streams. */
function sockets() {
  return process.getActiveResourcesInfo().filter((kind) => /^(?:TCPSocket|TLS|Pipe)Wrap$/.test(kind)).length;
}

async function zero(open) {
  const deadline = performance.now() + 10_000;
  while (Object.values(open()).some((count) => count > 0)) {
    if (performance.now() > deadline) return report('left open', open());
    await wait(20);
  }
}

function report(what, details) {
  findings.push(what);
  if (findings.length > 5) return;
  console.log(`\nfound: ${what}`);
  if (details !== undefined) console.log(inspect(details, { depth: 4 }));
}

function finish() {
  const { lives, requests, answers, errors, disturbances } = total;
  console.log(
    `${lives} lives, ${requests} requests, ${answers} answers, ${errors} errors, ${disturbances} connections closed by proxies, ` +
      `${countDescriptors()} descriptors at the end`,
  );
  console.log(findings.length === 0 ? 'nothing found' : `\nagain: --seed ${seed}`);
  process.exit(findings.length === 0 ? 0 : 1);
}
