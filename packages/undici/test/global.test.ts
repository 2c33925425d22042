// The global dispatcher, for Node's own fetch and for every undici.

import { afterEach, describe, expect, test, vi } from 'vitest';
import { setGlobalDispatcher, SocksDispatcher } from '../src/index.ts';
import { undicis } from './combinations.ts';
import { startSite } from './site.ts';
import { startProxy } from './recorded-proxy.ts';

const symbols = ['undici.globalDispatcher.1', 'undici.globalDispatcher.2'].map((name) => Symbol.for(name));
const globals = (): unknown[] => symbols.map((symbol) => (globalThis as never)[symbol]);

/** Where there was nothing, an undici that came in the meantime needs something. */
const restored = (before: unknown[]): unknown[] =>
  before.map((value) => value ?? expect.any(SocksDispatcher));

describe('setGlobalDispatcher', () => {
  test.each(["Node's own fetch", ...undicis.keys()])(
    'applies to %s, and its undo puts back what was there',
    async (name) => {
      await using proxy = await startProxy();
      await using site = await startSite();
      const fetchPage = undicis.get(name)?.fetch ?? fetch;
      const url = `http://127.0.0.1:${site.port}/`;
      const before = globals();

      const dispatcher = new SocksDispatcher(proxy.url);
      const undo = setGlobalDispatcher(dispatcher);
      expect(globals()).toEqual([dispatcher, dispatcher]);
      expect(undicis.get(name)?.getGlobalDispatcher() ?? dispatcher).toBe(dispatcher);
      expect(await (await fetchPage(url)).text()).toBe('hello');
      expect(proxy.requests).toEqual([`127.0.0.1:${site.port}`]);

      undo();
      expect(globals()).toEqual(restored(before));
      expect(await (await fetchPage(url)).text()).toBe('hello');
      expect(proxy.requests).toHaveLength(1);
      await dispatcher.close();
    },
  );

  test('lets a SocksDispatcher be made while another is in place', async () => {
    const first = new SocksDispatcher('socks5://127.0.0.1:1');
    const undo = setGlobalDispatcher(first);
    const second = new SocksDispatcher('socks5://127.0.0.1:1');
    expect(globals()).toEqual([first, first]);
    undo();
    await Promise.all([first.close(), second.close()]);
  });

  test('returns an undo that leaves alone what has been set since', async () => {
    const first = new SocksDispatcher('socks5://127.0.0.1:1');
    const second = new SocksDispatcher('socks5://127.0.0.1:1');
    const before = globals();
    const undoFirst = setGlobalDispatcher(first);
    const undoSecond = setGlobalDispatcher(second);
    undoFirst();
    expect(globals()).toEqual([second, second]);
    undoSecond();
    undoFirst();
    expect(globals()).toEqual(restored(before));
    await Promise.all([first.close(), second.close()]);
  });

  test('refuses a value that is no dispatcher', () => {
    expect(() => setGlobalDispatcher({} as never)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_ARG_TYPE' }),
    );
  });

  test('throws when it did not take effect', () => {
    const put = vi.spyOn(Reflect, 'set').mockReturnValue(false);
    const before = globals();
    expect(() => setGlobalDispatcher({ dispatch: () => true })).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_STATE' }),
    );
    put.mockRestore();
    expect(globals()).toEqual(restored(before));
  });
});

test('setGlobalDispatcher throws when some undici looks in another place', () => {
  const newer = Symbol.for('undici.globalDispatcher.3');
  Object.defineProperty(globalThis, newer, { value: {}, configurable: true });
  const before = globals();
  expect(() => setGlobalDispatcher({ dispatch: () => true })).toThrow(
    expect.objectContaining({
      code: 'ERR_INVALID_STATE',
      message: expect.stringContaining('globalDispatcher.3'),
    }),
  );
  Reflect.deleteProperty(globalThis, newer);
  expect(globals()).toEqual(restored(before));
});

describe('a runtime that ignores dispatchers', () => {
  afterEach(() => {
    vi.unstubAllGlobals();
    delete process.versions['bun'];
  });

  test.each([
    ['Bun', () => Object.assign(process.versions, { bun: '1.4.0' })],
    ['Deno', () => vi.stubGlobal('Deno', {})],
  ])('%s gets an explanation instead of direct requests', (name, pretend) => {
    const dispatcher = new SocksDispatcher('socks5://127.0.0.1:1');
    pretend();
    const explained = expect.objectContaining({
      code: 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM',
      message: expect.stringContaining(name) as string,
    });
    expect(() => new SocksDispatcher('socks5://127.0.0.1:1')).toThrow(explained);
    expect(() => setGlobalDispatcher(dispatcher)).toThrow(explained);
  });
});
