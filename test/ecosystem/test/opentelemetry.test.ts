// OpenTelemetry's instrumentation of http and undici: one span for each request of the program, and no others.

import { beforeAll, expect, test } from 'vitest';
import { here, run, startProxiedSite } from './proxied-site.ts';

let report: Record<string, string[]>;
let plain: string;
let secure: string;

beforeAll(async () => {
  await using site = await startProxiedSite();
  ({ http: plain, https: secure } = site);
  const program = here('../programs/traced.cjs');
  const env = { NODE_NO_WARNINGS: '1', OTEL_SEMCONV_STABILITY_OPT_IN: 'http' };
  const output = await run(process.execPath, [program, site.proxy, plain, secure], env);
  report = JSON.parse(output) as typeof report;
});

test('a request through a SocksAgent has one span, as without a proxy', () => {
  expect(report['http']).toEqual([`CLIENT GET ${plain} 200 UNSET`]);
  expect(report['https']).toEqual([`CLIENT GET ${secure} 200 UNSET`]);
});

test('a request that the proxy refuses has one failed span', () => {
  expect(report['http to an unknown name']).toEqual(['CLIENT GET http://unknown.test/ - ERROR']);
});

test('making a SocksDispatcher makes no span', () => {
  expect(report['making dispatchers']).toEqual([]);
});

test('a fetch through a SocksDispatcher has one span, whichever Agent is underneath', () => {
  const names = Object.keys(report).filter((name) => name.startsWith('fetch over '));
  expect(names.length).toBeGreaterThanOrEqual(3);
  for (const name of names) {
    expect(report[name], name).toEqual([`CLIENT GET ${plain} 200 UNSET`, `CLIENT GET ${secure} 200 UNSET`]);
  }
});

test('a fetch that the proxy refuses has one failed span', () => {
  const names = Object.keys(report).filter((name) => name.startsWith('fetch to an unknown name'));
  expect(names.length).toBeGreaterThanOrEqual(3);
  for (const name of names) expect(report[name], name).toEqual(['CLIENT GET http://unknown.test/ - ERROR']);
});

test('a fetch through the global dispatcher has one span', () => {
  expect(report['the global dispatcher']).toEqual([`CLIENT GET ${plain} 200 UNSET`]);
});
