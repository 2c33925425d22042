// Programs in the shape of those that libraries publish as their examples: each names the section that it follows. SITE
// and SECURE are the site by http and https, SOCKETS speaks WebSocket and socket.io; REDIS, MQTT and SMTP are ports.

export interface Example {
  readonly library: string;
  /** The section of the library's README or documentation. */
  readonly follows: string;
  readonly source: string;
  /** The program dials itself, so that it runs under --strict=tcp. */
  readonly tcp?: boolean;
}

/** The documentation of each library, and programs after its sections. */
const LIBRARIES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  axios: {
    Example: `import axios from 'axios';
      axios.get(process.env.SITE + '/json', { params: { id: 12345 } })
        .then((response) => console.log(response.status, response.data))
        .catch((error) => console.error(error))
        .finally(() => console.log('done'));`,
    'Creating an instance': `import axios from 'axios';
      const instance = axios.create({ baseURL: process.env.SECURE, timeout: 5000, headers: { 'X-Custom-Header': 'foobar' } });
      const { data } = await instance.get('/headers');
      console.log(data['x-custom-header']);`,
    Interceptors: `import axios from 'axios';
      const instance = axios.create();
      instance.interceptors.request.use((config) => (config.headers.set('x-added', 'yes'), config));
      instance.interceptors.response.use((response) => ({ ...response, seen: true }));
      const response = await instance.get(process.env.SITE + '/headers');
      console.log(response.seen, response.data['x-added']);`,
    'Handling errors': `import axios from 'axios';
      await axios.get(process.env.SITE + '/missing').catch((error) => {
        console.log(error.response.status, error.response.data, error.code);
      });`,
    'Handling timeouts': `import axios from 'axios';
      await axios.get(process.env.SITE + '/never', { timeout: 100 }).catch((error) => console.log(error.code, error.message));`,
    AbortController: `import axios from 'axios';
      const controller = new AbortController();
      const request = axios.get(process.env.SITE + '/never', { signal: controller.signal });
      controller.abort();
      await request.catch((error) => console.log(axios.isCancel(error), error.message));`,
    'Automatic serialization to URLSearchParams': `import axios from 'axios';
      const { data } = await axios.post(process.env.SITE + '/echo', { x: 1, arr: [1, 2, 3] }, { headers: { 'content-type': 'application/x-www-form-urlencoded' } });
      console.log(data);`,
    'Fetch adapter': `import axios from 'axios';
      const { data } = await axios.get(process.env.SITE + '/json', { adapter: 'fetch' });
      console.log(data);`,
  },
  got: {
    'Take a peek': `import got from 'got';
      const { data } = await got.post(process.env.SITE + '/echo', { json: { hello: 'world' } }).json().then((data) => ({ data }));
      console.log(data);`,
    'Stream API': `import got from 'got';
      import { pipeline } from 'node:stream/promises';
      await pipeline(got.stream(process.env.SECURE + '/text'), process.stdout, { end: false });`,
    'Creating instances': `import got from 'got';
      const client = got.extend({ prefixUrl: process.env.SITE, responseType: 'json' });
      console.log((await client('json')).body);`,
    Retry: `import got from 'got';
      const counts = [];
      try {
        await got(process.env.SITE + '/busy', { retry: { limit: 1, calculateDelay: ({ computedValue }) => (computedValue ? 1 : 0) },
          hooks: { beforeRetry: [(error, count) => counts.push(count)] } });
      } catch (error) {
        console.log(error.name, error.response.statusCode, counts);
      }`,
  },
  'node-fetch': {
    'Plain text or HTML': `import fetch from 'node-fetch';
      const response = await fetch(process.env.SITE + '/text');
      console.log(await response.text());`,
    'Post with JSON': `import fetch from 'node-fetch';
      const body = { a: 1 };
      const response = await fetch(process.env.SECURE + '/echo', { method: 'post', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } });
      console.log(await response.json());`,
    'Handling client and server errors': `import fetch from 'node-fetch';
      class HTTPResponseError extends Error {
        constructor(response) { super('HTTP Error Response: ' + response.status + ' ' + response.statusText); }
      }
      const response = await fetch(process.env.SITE + '/missing');
      try { if (!response.ok) throw new HTTPResponseError(response); } catch (error) { console.error(error.message); process.exitCode = 3; }`,
    Streams: `import fetch from 'node-fetch';
      const response = await fetch(process.env.SITE + '/stream');
      let size = 0;
      for await (const chunk of response.body) size += chunk.length;
      console.log(size);`,
    'Custom Agent': `import http from 'node:http';
      import https from 'node:https';
      import fetch from 'node-fetch';
      const httpAgent = new http.Agent({ keepAlive: true });
      const httpsAgent = new https.Agent({ keepAlive: true });
      const agent = (url) => (url.protocol === 'http:' ? httpAgent : httpsAgent);
      for (const url of [process.env.SITE, process.env.SECURE]) console.log(await (await fetch(url + '/json', { agent })).json());
      httpAgent.destroy();
      httpsAgent.destroy();`,
    'Manual Redirect': `import fetch from 'node-fetch';
      const response = await fetch(process.env.SITE + '/redirect', { redirect: 'manual' });
      console.log(response.status, new URL(response.headers.get('location'), response.url).pathname);`,
  },
  superagent: {
    Usage: `import superagent from 'superagent';
      superagent.post(process.env.SITE + '/echo').send({ name: 'Manny', species: 'cat' }).set('X-API-Key', 'foobar').set('accept', 'json')
        .end((error, response) => console.log(error, response.body));`,
    'Usage, with await': `import superagent from 'superagent';
      const response = await superagent.get(process.env.SECURE + '/json').query({ a: 1 });
      console.log(response.status, response.body);`,
    'Error handling': `import superagent from 'superagent';
      await superagent.get(process.env.SITE + '/missing').catch(({ status, message }) => console.log(status, message));`,
    Agents: `import superagent from 'superagent';
      const agent = superagent.agent();
      await agent.get(process.env.SITE + '/cookie');
      const { body } = await agent.get(process.env.SITE + '/headers');
      console.log(body.cookie);`,
  },
  ws: {
    'Sending and receiving text data': `import WebSocket from 'ws';
      const ws = new WebSocket(process.env.SOCKETS);
      ws.on('error', console.error);
      ws.on('open', () => ws.send('something'));
      ws.on('message', (data) => { console.log('received: %s', data); ws.close(); });`,
    'Sending binary data': `import WebSocket from 'ws';
      const ws = new WebSocket(process.env.SOCKETS);
      ws.on('error', console.error);
      ws.on('open', () => ws.send(Float32Array.from({ length: 5 }, (_, i) => i / 2)));
      ws.on('message', (data, isBinary) => { console.log(data.length, isBinary); ws.close(); });`,
    'Round-trip time': `import WebSocket from 'ws';
      const ws = new WebSocket(process.env.SOCKETS);
      ws.on('error', console.error);
      ws.on('open', () => { console.log('connected'); ws.send(Date.now()); });
      ws.on('close', () => console.log('disconnected'));
      ws.on('message', (data) => { console.log(Date.now() - Number(data) >= 0); ws.close(); });`,
    'Use the Node.js streams API': `import WebSocket, { createWebSocketStream } from 'ws';
      const ws = new WebSocket(process.env.SOCKETS);
      const duplex = createWebSocketStream(ws, { encoding: 'utf8' });
      duplex.on('error', console.error);
      duplex.on('data', (text) => { console.log(text); duplex.end(); });
      duplex.write('streamed');`,
  },
  'socket.io-client': {
    'Client initialization': `import { io } from 'socket.io-client';
      const socket = io(process.env.SOCKETS);
      socket.on('connect', () => console.log('connected', socket.connected));
      socket.on('greeting', (text) => { console.log(text); socket.close(); });`,
    Acknowledgements: `import { io } from 'socket.io-client';
      const socket = io(process.env.SOCKETS, { transports: ['websocket'] });
      console.log(await socket.timeout(5000).emitWithAck('double', 21));
      socket.close();`,
  },
  agentkeepalive: {
    Usage: `import http from 'node:http';
      import { HttpAgent } from 'agentkeepalive';
      const agent = new HttpAgent({ maxSockets: 100, maxFreeSockets: 10, timeout: 60000, freeSocketTimeout: 30000 });
      const request = http.request(process.env.SITE + '/text', { agent }, (response) => {
        console.log('STATUS: ' + response.statusCode);
        response.setEncoding('utf8').on('data', (chunk) => console.log('BODY: ' + chunk)).on('end', () => agent.destroy());
      });
      request.on('error', (error) => console.log('problem with request: ' + error.message));
      request.end();`,
    'Support https': `import https from 'node:https';
      import { HttpsAgent } from 'agentkeepalive';
      const agent = new HttpsAgent();
      const get = () => new Promise((resolve) => https.get(process.env.SECURE + '/text', { agent }, (response) => {
        response.resume().on('end', () => setImmediate(resolve, response.statusCode));
      }));
      console.log(await get(), await get(), agent.getCurrentStatus().createSocketCount);
      agent.destroy();`,
    'Support req.reusedSocket': `import http from 'node:http';
      import Agent from 'agentkeepalive';
      const agent = new Agent();
      const get = () => new Promise((resolve, reject) => {
        const request = http.get(process.env.SITE + '/text', { agent }, (response) => response.resume().on('end', () => setImmediate(resolve, request.reusedSocket)));
        request.on('error', reject);
      });
      console.log(await get(), await get());
      agent.destroy();`,
  },
  undici: {
    'Basic Request': `import { request } from 'undici7';
      const { statusCode, headers, body } = await request(process.env.SITE + '/json');
      console.log('response received', statusCode, headers['content-type']);
      console.log('data', await body.json());
      process.exit();`,
    'Using Cache Interceptor': `import { cacheStores, fetch, getGlobalDispatcher, interceptors, setGlobalDispatcher } from 'undici7';
      const client = getGlobalDispatcher().compose(interceptors.cache({ store: new cacheStores.MemoryCacheStore({ maxSize: 100000, maxCount: 10 }), methods: ['GET'] }));
      setGlobalDispatcher(client);
      console.log(await (await fetch(process.env.SECURE + '/json')).json());
      process.exit();`,
    'undici.stream': `import { stream } from 'undici7';
      import { Writable } from 'node:stream';
      let size = 0;
      await stream(process.env.SITE + '/stream', { method: 'GET' }, () => new Writable({ write: (chunk, _, done) => { size += chunk.length; done(); } }));
      console.log(size);
      process.exit();`,
    'undici.pipeline': `import { pipeline } from 'undici7';
      pipeline(process.env.SITE + '/echo', { method: 'POST' }, ({ body }) => body)
        .on('data', (data) => console.log(String(data))).on('end', () => process.exit()).end('piped');`,
    'Class: Client': `import { Client } from 'undici7';
      const client = new Client(process.env.SITE);
      const { body } = await client.request({ path: '/text', method: 'GET' });
      console.log(await body.text());
      await client.close();`,
    'Class: Pool': `import { Pool } from 'undici6';
      const pool = new Pool(process.env.SECURE, { connections: 2 });
      const all = await Promise.all([1, 2, 3].map(async () => (await pool.request({ path: '/json', method: 'GET' })).body.json()));
      console.log(all);
      await pool.close();`,
    'Class: RetryAgent': `import { Agent, RetryAgent, request } from 'undici7';
      const dispatcher = new RetryAgent(new Agent(), { maxRetries: 1, minTimeout: 1, statusCodes: [503], throwOnError: false });
      const { statusCode } = await request(process.env.SITE + '/busy', { dispatcher }).catch((error) => error);
      console.log(statusCode);
      process.exit();`,
  },
  '@fastify/http-proxy': {
    Example: `import Fastify from 'fastify';
      import proxy from '@fastify/http-proxy';
      const server = Fastify();
      server.register(proxy, { upstream: process.env.SITE, prefix: '/api', http2: false });
      const response = await server.inject('/api/json');
      console.log(response.statusCode, response.json());
      await server.close();`,
    preHandler: `import Fastify from 'fastify';
      import proxy from '@fastify/http-proxy';
      const server = Fastify();
      server.register(proxy, { upstream: process.env.SITE, preHandler: async (request) => { if (request.headers['x-key'] !== 'fine') throw Object.assign(new Error('no'), { statusCode: 401 }); } });
      for (const key of ['fine', 'bad']) console.log((await server.inject({ url: '/text', headers: { 'x-key': key } })).statusCode);
      await server.close();`,
  },
  fetch: {
    'Built-in Fetch': `const response = await fetch(process.env.SECURE + '/json');
      console.log(response.ok, await response.json());`,
    'Post with form parameters': `const response = await fetch(process.env.SITE + '/echo', { method: 'POST', body: new URLSearchParams({ a: '1' }) });
      console.log(await response.text(), response.headers.get('x-type'));`,
    'An error that nobody catches': `await fetch(process.env.SITE + '/reset').then(console.log, (error) => { console.log(error.message); process.exit(7); });`,
  },
};

const TCP: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  ioredis: {
    'Basic Usage': `import Redis from 'ioredis';
      const redis = new Redis(process.env.REDIS, '127.0.0.1');
      await redis.set('mykey', 'value');
      redis.get('mykey', (error, result) => console.log(error, result));
      await redis.zadd('sortedSet', 1, 'one', 2, 'dos', 4, 'quatro', 3, 'three');
      console.log(await redis.zrange('sortedSet', 0, 2, 'WITHSCORES'));
      redis.disconnect();`,
    Pipelining: `import Redis from 'ioredis';
      const redis = new Redis(process.env.REDIS, '127.0.0.1');
      const pipeline = redis.pipeline();
      pipeline.set('foo', 'bar');
      pipeline.del('cc');
      console.log(await pipeline.exec());
      await redis.quit();`,
    'Pub/Sub': `import Redis from 'ioredis';
      const [publisher, subscriber] = [new Redis(process.env.REDIS, '127.0.0.1'), new Redis(process.env.REDIS, '127.0.0.1')];
      subscriber.on('message', async (channel, message) => {
        console.log(channel, message);
        await Promise.all([publisher.quit(), subscriber.quit()]);
      });
      await subscriber.subscribe('news');
      await publisher.publish('news', 'hello').then((count) => console.log(count));`,
    Transaction: `import Redis from 'ioredis';
      const redis = new Redis(process.env.REDIS, '127.0.0.1');
      console.log(await redis.multi().set('t', 'v').get('t').exec());
      await redis.quit();`,
  },
  mqtt: {
    Example: `import mqtt from 'mqtt';
      const client = mqtt.connect('mqtt://127.0.0.1:' + process.env.MQTT);
      client.on('connect', () => client.subscribe('presence', (error) => { if (!error) client.publish('presence', 'Hello mqtt'); }));
      client.on('message', (topic, message) => { console.log(topic, message.toString()); client.end(); });`,
  },
  nodemailer: {
    'Sending an individual message': `import nodemailer from 'nodemailer';
      const transporter = nodemailer.createTransport({ host: '127.0.0.1', port: process.env.SMTP });
      const info = await transporter.sendMail({ from: 'a@server.test', to: 'b@server.test, c@server.test', subject: 'Hello', text: 'Hello world?' });
      console.log(info.accepted, info.rejected, info.response);`,
  },
};

function examplesOf(libraries: typeof LIBRARIES, tcp: boolean): Example[] {
  return Object.entries(libraries).flatMap(([library, programs]) =>
    Object.entries(programs).map(([follows, source]) => ({ library, follows, source, tcp })),
  );
}

const EXAMPLES: readonly Example[] = [...examplesOf(LIBRARIES, false), ...examplesOf(TCP, true)];

/** Some of the examples, the same for the same seed. */
export function choose(count: number, seed: number): Example[] {
  const rest = [...EXAMPLES];
  let state = seed;
  const random = (limit: number): number => {
    // A linear congruential generator (Numerical Recipes): enough to choose without a preference.
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  return Array.from({ length: count }, () => rest.splice(random(rest.length), 1)).flat();
}
