// Makes very many tunnels with the built package and prints, as JSON, what is left of them. Run by leaks.test.ts with
// --expose-gc, with the number of handshakes and `granted` or `refused`. For real sockets it also gets the URL of a proxy
// that knows the name a.test, and the port of the destination.

import { getEventListeners } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { duplexPair } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { connect } from '../dist/index.js';

const [, , total, outcome, url, port] = process.argv;
const count = Number(total);
const CONCURRENT = 50;
// One signal for all of them, as a program has one for its shutdown.
const { signal } = new AbortController();

const GRANTED = Buffer.from('05000001000000000000', 'hex');
const REFUSED = Buffer.from('05050001000000000000', 'hex');
const METHOD = Buffer.from('0500', 'hex');

/** A tunnel through memory: the other end answers each message of the client with the next of these. */
async function overMemory(reply) {
  const [socket, server] = duplexPair();
  const answers = [METHOD, reply];
  server.on('data', () => {
    const answer = answers.shift();
    if (answer) server.write(answer);
  });
  try {
    await connect('socks5://proxy.test', { host: 'a.test', port: 80 }, { socket, signal });
    if (reply !== GRANTED) throw new Error('a refusal was taken for success');
  } catch (error) {
    if (error.code !== 'ERR_SOCKS_CONNECTION_REFUSED') throw error;
  }
  socket.destroy();
  server.destroy();
}

async function overNetwork(host) {
  try {
    const { socket } = await connect(url, { host, port: Number(port) }, { signal });
    await new Promise((resolve) => socket.once('close', resolve).destroy());
  } catch (error) {
    if (error.code !== 'ERR_SOCKS_HOST_UNREACHABLE') throw error;
  }
}

async function repeat(times, one) {
  for (let done = 0; done < times; done += CONCURRENT) {
    await Promise.all(Array.from({ length: CONCURRENT }, one));
  }
}

async function heap() {
  for (let i = 0; i < 3; i++) {
    await turn();
    globalThis.gc();
  }
  return process.memoryUsage().heapUsed;
}

const descriptors = () => (existsSync('/proc/self/fd') ? readdirSync('/proc/self/fd').length : undefined);

/** Grown by how many bytes in each half, after as many for warming up as one half has. */
async function measure(one) {
  await repeat(count / 2, one);
  const [start, fds, began] = [await heap(), descriptors(), performance.now()];
  await repeat(count / 2, one);
  const half = await heap();
  await repeat(count / 2, one);
  const end = await heap();
  return {
    count,
    milliseconds: Math.round(performance.now() - began),
    firstHalf: half - start,
    secondHalf: end - half,
    descriptors: fds === undefined ? 0 : descriptors() - fds,
    listeners: getEventListeners(signal, 'abort').length,
    resources: process.getActiveResourcesInfo().filter((kind) => /Timeout|TCP/.test(kind)),
  };
}

const granted = outcome === 'granted';
const one = url
  ? () => overNetwork(granted ? 'a.test' : 'unknown.test')
  : () => overMemory(granted ? GRANTED : REFUSED);
console.log(JSON.stringify(await measure(one)));
