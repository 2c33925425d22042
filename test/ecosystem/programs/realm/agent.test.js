/* global test, expect */
// Runs under Jest and Vitest, in realms of their making: agent and dispatcher by hand. PROXY and URL come from outside.

import http from 'node:http';
import { text } from 'node:stream/consumers';
import { SocksAgent } from '@socksify/agent';
import { SocksDispatcher } from '@socksify/undici';

const { PROXY, SITE } = process.env;

test('http.get() uses a SocksAgent', async () => {
  const agent = new SocksAgent(PROXY);
  const response = await new Promise((resolve, reject) => {
    http.get(SITE, { agent, signal: new AbortController().signal }, resolve).on('error', reject);
  });
  expect(await text(response)).toBe('hello');
});

test('the request() of a SocksDispatcher uses its proxy', async () => {
  const dispatcher = new SocksDispatcher(PROXY);
  const { origin, pathname: path } = new URL(SITE);
  const { body } = await dispatcher.request({ origin, path, method: 'GET' });
  expect(await text(body)).toBe('hello');
  await dispatcher.close();
});
