// Every consumer on every Agent: what works without a proxy works the same through a proxy.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { CERTIFICATE, sha256 } from '@socksify/support';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SocksDispatcher } from '../src/index.ts';
import { agents, consumers } from './combinations.ts';
import { startForFile } from './file-servers.ts';
import { LARGE, startSite } from './site.ts';
import { startProxy } from './recorded-proxy.ts';

const on = startForFile({ proxy: startProxy, http: () => startSite(), h2: () => startSite('h2') });

describe.each(agents)('a dispatcher on %s', (_, Agent) => {
  let dispatcher: SocksDispatcher;
  beforeAll(() => {
    dispatcher = new SocksDispatcher(on.proxy.url, {
      allowH2: true,
      connect: { ca: CERTIFICATE },
      Agent,
    });
  });
  afterAll(() => dispatcher.close());

  describe.each(consumers)('used by $name', ({ isFetch, send, FormData, WebSocket }) => {
    const at = (path: string): string => `http://origin.test:${on.http.port}${path}`;

    test('gets a page whose name the proxy resolves', async () => {
      const response = await send(at('/'), { dispatcher });
      expect([response.status, await response.text()]).toEqual([200, 'hello']);
      expect(on.proxy.requests).toContain(`origin.test:${on.http.port}`);
    });

    test('posts a text, with a content-length of its own', async () => {
      const headers = { 'Content-Length': '5' };
      const response = await send(at('/echo'), { dispatcher, method: 'POST', body: 'hello', headers });
      expect([await response.text(), response.header('x-length')]).toEqual(['hello', '5']);
    });

    test('posts a stream', async () => {
      const body = Readable.from([Buffer.from('one '), Buffer.from('two')]);
      const response = await send(at('/echo'), { dispatcher, method: 'POST', body });
      expect(await response.text()).toBe('one two');
    });

    test('streams in both directions at once', async () => {
      // Each chunk goes out when the one before it has come back.
      let returned = (): void => {};
      const body = Readable.from(
        (async function* () {
          for (let i = 0; i < 5; i++) {
            const back = new Promise<void>((resolve) => (returned = resolve));
            yield Buffer.from(`${i}`);
            await back;
          }
        })(),
      );
      const response = await send(at('/pipe'), { dispatcher, method: 'POST', body });
      let text = '';
      for await (const chunk of response.chunks()) {
        text += Buffer.from(chunk).toString();
        returned();
      }
      expect(text).toBe('01234');
    });

    test('posts a form', async () => {
      const body = new FormData();
      body.append('field', 'value of the field');
      const response = await send(at('/echo'), { dispatcher, method: 'POST', body });
      expect(response.header('x-type')).toMatch(/^multipart\/form-data; boundary=/);
      expect(await response.text()).toMatch(/name="field"\r\n\r\nvalue of the field\r\n/);
    });

    test('sees a redirect', async () => {
      const response = await send(at('/redirect'), { dispatcher });
      if (isFetch) expect(await response.text()).toBe('hello');
      else
        expect([response.status, response.header('location'), await response.text()]).toEqual([
          302,
          '/',
          'gone',
        ]);
    });

    test('reads gzip', async () => {
      const bytes = await (await send(at('/gzip'), { dispatcher })).bytes();
      expect((isFetch ? Buffer.from(bytes) : gunzipSync(bytes)).toString()).toBe('zipped');
    });

    test('reads brotli', async () => {
      const bytes = await (await send(at('/brotli'), { dispatcher })).bytes();
      expect((isFetch ? Buffer.from(bytes) : brotliDecompressSync(bytes)).toString()).toBe('pressed');
    });

    test('keeps several Set-Cookie apart', async () => {
      const response = await send(at('/cookies'), { dispatcher });
      expect(response.cookies).toEqual(['a=1', 'b=2', 'c=3']);
      await response.text();
    });

    test('reads a 204', async () => {
      const response = await send(at('/none'), { dispatcher });
      expect([response.status, await response.text()]).toEqual([204, '']);
    });

    test('reads 5 MB', async () => {
      expect(sha256(await (await send(at('/large'), { dispatcher })).bytes())).toBe(sha256(LARGE));
    });

    test('reads 5 MB slowly', async () => {
      const hash = createHash('sha256');
      for await (const chunk of (await send(at('/large'), { dispatcher })).chunks()) {
        hash.update(chunk);
        await nextTurn();
      }
      expect(hash.digest('hex')).toBe(sha256(LARGE));
    });

    test('aborts before the response', async () => {
      const controller = new AbortController();
      const hanging = once(on.http.server, 'hanging');
      const response = send(at('/hang'), { dispatcher, signal: controller.signal });
      await Promise.race([hanging, response]);
      controller.abort();
      await expect(response).rejects.toMatchObject({ name: 'AbortError' });
    });

    test('aborts in the middle of a body', async () => {
      const controller = new AbortController();
      const response = await send(at('/drip'), { dispatcher, signal: controller.signal });
      const text = response.text();
      controller.abort();
      await expect(text).rejects.toMatchObject({ name: 'AbortError' });
    });

    test('speaks HTTP/2 with headers, a body, cookies and a large body', async () => {
      const origin = `https://origin.test:${on.h2.port}`;
      const page = await send(`${origin}/`, { dispatcher });
      expect([page.header('x-version'), await page.text()]).toEqual(['2.0', 'hello']);
      const echo = await send(`${origin}/echo`, { dispatcher, method: 'POST', body: 'hello' });
      expect(await echo.text()).toBe('hello');
      const cookies = await send(`${origin}/cookies`, { dispatcher });
      expect(cookies.cookies).toEqual(['a=1', 'b=2', 'c=3']);
      await cookies.text();
      expect(sha256(await (await send(`${origin}/large`, { dispatcher })).bytes())).toBe(sha256(LARGE));
    });

    if (WebSocket)
      test('opens a WebSocket, also where HTTP/2 is spoken', async () => {
        for (const url of [`ws://origin.test:${on.http.port}/`, `wss://origin.test:${on.h2.port}/`]) {
          const socket = new WebSocket(url, { dispatcher });
          const [message] = (await once(socket, 'message')) as [MessageEvent];
          expect(message.data).toBe('hello');
          await once(socket, 'close');
        }
      });
  });
});
