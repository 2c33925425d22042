// The handshake over a Duplex of your own; here a proxy in memory: node own-transport.js

import { once } from 'node:events';
import { Duplex } from 'node:stream';
import { handshake } from '@socksify/core';

async function carryOut(steps, stream) {
  let step = steps.next();
  while (!step.done) {
    const { write, read, wait } = step.value;
    if (write) stream.write(write);
    step = steps.next(read ? await readExactly(stream, read) : await wait);
  }
  return step.value;
}

async function readExactly(stream, count) {
  let bytes;
  while (!(bytes = stream.read(count))) await once(stream, 'readable');
  return bytes;
}

const answers = ['0500', '05000001c000020904d2'].map((hex) => Buffer.from(hex, 'hex'));
const proxy = new Duplex({
  read() {},
  write: (_bytes, _encoding, done) => done(void proxy.push(answers.shift())),
});

const steps = handshake('socks5://proxy.example', { host: 'example.com', port: 80 });
console.log('the proxy is bound to', await carryOut(steps, proxy));
