/* global test, expect */
// A test in CommonJS, as Jest runs it: the packages come by require(). PROXY and SITE come from outside.

const http = require('node:http');
const { text } = require('node:stream/consumers');
const { SocksAgent } = require('@socksify/agent');
const { SocksDispatcher } = require('@socksify/undici');

const { PROXY, SITE } = process.env;

test('http.get() uses a SocksAgent that came by require()', async () => {
  const agent = new SocksAgent(PROXY);
  const response = await new Promise((resolve, reject) => {
    http.get(SITE, { agent }, resolve).on('error', reject);
  });
  expect(await text(response)).toBe('hello');
});

test('fetch uses a SocksDispatcher that came by require()', async () => {
  const dispatcher = new SocksDispatcher(PROXY);
  const response = await fetch(SITE, { dispatcher });
  expect(await response.text()).toBe('hello');
  await dispatcher.close();
});
