/* global test, expect */
// Runs under Jest and Vitest, in realms of their making: Node's fetch through a dispatcher, and through the global one.

import { setGlobalDispatcher, SocksDispatcher } from '@socksify/undici';

const { PROXY, SITE } = process.env;

test('fetch() uses a SocksDispatcher', async () => {
  const dispatcher = new SocksDispatcher(PROXY);
  const response = await fetch(SITE, { dispatcher });
  expect(await response.text()).toBe('hello');
  await dispatcher.close();
});

test('fetch() uses the global dispatcher, until that is undone', async () => {
  const undo = setGlobalDispatcher(new SocksDispatcher(PROXY));
  expect(await (await fetch(SITE)).text()).toBe('hello');
  undo();
  await expect(fetch(SITE)).rejects.toMatchObject({ cause: { syscall: 'getaddrinfo' } });
});
