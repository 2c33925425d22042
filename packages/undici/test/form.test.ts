// Forms in request(), of every undici, on every Agent.

import { expect, test } from 'vitest';
import { SocksDispatcher } from '../src/index.ts';
import { agents, undicis } from './combinations.ts';
import type { Undici } from './combinations.ts';
import { startSite } from './site.ts';
import { startProxy } from './recorded-proxy.ts';

/** What the site received, and what the request says of it. */
async function posted(form: unknown, headers: unknown, Agent: (typeof agents)[number][1]) {
  await using proxy = await startProxy();
  await using site = await startSite();
  const dispatcher = new SocksDispatcher(proxy.url, { Agent });
  const url = `http://any.test:${site.port}/echo`;
  const { request } = undicis.get('undici 7') as Undici;
  const { body, headers: seen } = await request(url, { method: 'POST', dispatcher, headers, body: form });
  const bytes = Buffer.from(await body.arrayBuffer());
  await dispatcher.close();
  return {
    bytes,
    type: String(seen['x-type']),
    length: Number(seen['x-length']),
    own: seen['x-a'] as unknown,
  };
}

const form = new FormData();
form.append('field', 'first\nsecond');
form.append('a "quoted"\r\nname', 'ü');
form.append('file', new Blob(['\0\u00ff'], { type: 'text/x' }), 'ü"\n.txt');
form.append('none', new Blob([]));

test.each(agents)('forms are written as browsers write them, with their length: %s', async (_, Agent) => {
  const { bytes, type, length } = await posted(form, undefined, Agent);
  const [, boundary = 'none'] =
    /^multipart\/form-data; boundary=(----formdata-[\da-f-]{36})$/.exec(type) ?? [];
  expect(bytes.toString('utf8')).toBe(
    [
      `--${boundary}`,
      'Content-Disposition: form-data; name="field"',
      '',
      'first\r\nsecond',
      `--${boundary}`,
      'Content-Disposition: form-data; name="a %22quoted%22%0D%0Aname"',
      '',
      'ü',
      `--${boundary}`,
      'Content-Disposition: form-data; name="file"; filename="ü%22%0A.txt"',
      'Content-Type: text/x',
      '',
      '\0\u00ff',
      `--${boundary}`,
      'Content-Disposition: form-data; name="none"; filename="blob"',
      'Content-Type: application/octet-stream',
      '',
      '',
      `--${boundary}--`,
      '',
    ].join('\r\n'),
  );
  expect(length).toBe(bytes.length);
});

test('forms are read back by Node as what they were', async () => {
  const [[, Agent]] = agents as [(typeof agents)[number]];
  const { bytes, type } = await posted(form, undefined, Agent);
  const read = await new Response(bytes, { headers: { 'content-type': type } }).formData();
  expect(read.get('field')).toBe('first\r\nsecond');
  expect(Buffer.from(await (read.get('file') as Blob).arrayBuffer())).toEqual(Buffer.from('\0\u00ff'));
  expect([...read.keys()].length).toBe(4);
});

test.each<[string, unknown]>([
  ['an object', { 'X-A': 'b' }],
  ['a list', ['X-A', 'b']],
  ['pairs', new Map([['X-A', 'b']])],
])('forms are sent with headers given as %s', async (_, headers) => {
  const [[, Agent]] = agents as [(typeof agents)[number]];
  const { type, own } = await posted(form, headers, Agent);
  expect(own).toBe('b');
  expect(type).toMatch(/^multipart\/form-data; boundary=/);
});

test('a form keeps the content-type of the caller', async () => {
  const [[, Agent]] = agents as [(typeof agents)[number]];
  const { type } = await posted(form, { 'Content-Type': 'multipart/form-data; boundary=own' }, Agent);
  expect(type).toBe('multipart/form-data; boundary=own');
});
