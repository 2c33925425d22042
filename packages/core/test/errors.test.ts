// The closed set of codes, and the page that explains them.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { blameOf } from '../src/blame.ts';
import { CD, MEANING, REP, SocksError } from '../src/errors.ts';
import type { SocksErrorCode, SocksPhase } from '../src/errors.ts';

const page = readFileSync(new URL('../../../docs/errors.md', import.meta.url), 'utf8');
const rows = page
  .split('\n')
  .filter((line) => line.startsWith('| `ERR_'))
  .map((line) => line.split('|').map((cell) => cell.trim()));

test('docs/errors.md has a row for each code, in the order of the source, with its meaning and something to do', () => {
  const table = rows.map(([, code, , meaning]) => [code?.replaceAll('`', ''), meaning]);
  expect(table).toEqual(Object.entries(MEANING));
  for (const [, code, , , , advice] of rows) expect(advice, code).toMatch(/\.$/);
});

test('docs/errors.md has the byte of each code', () => {
  const bytes = Object.fromEntries(
    rows.map(([, code, byte]) => [code?.replaceAll('`', ''), byte]).filter(([, byte]) => byte),
  );
  const expected: Partial<Record<SocksErrorCode, string>> = { ERR_SOCKS_UNASSIGNED_REPLY: 'other' };
  for (const [rep, code] of Object.entries(REP))
    if (code) expected[code] = Number(rep).toString(16).padStart(2, '0');
  for (const [cd, code] of Object.entries(CD)) if (code) expected[code] = cd;
  expect(bytes).toEqual(expected);
});

const PHASES: readonly SocksPhase[] = [
  'input',
  'lookup',
  'dial',
  'proxy-tls',
  'greeting',
  'authentication',
  'request',
  'destination-tls',
];

test('docs/errors.md says who is to blame for each code, and in which phases somebody else is', () => {
  for (const [, code = '', , , blame] of rows) {
    const inPhase = (phase: SocksPhase): string =>
      new SocksError(code.replaceAll('`', '') as SocksErrorCode, { phase }).blame;
    const usual = inPhase('greeting');
    const others = new Map<string, string[]>();
    for (const phase of PHASES)
      if (inPhase(phase) !== usual)
        others.set(inPhase(phase), [...(others.get(inPhase(phase)) ?? []), `\`${phase}\``]);
    const exceptions = Array.from(others, ([other, phases]) => {
      const last = phases.pop();
      return `; in ${[phases.join(', '), last].filter(Boolean).join(' and ')} \`${other}\``;
    });
    expect(blame, code).toBe(`\`${usual}\`${exceptions.join('')}`);
  }
});

test('docs/guide.md lists the codes that blame the proxy', () => {
  const guide = readFileSync(new URL('../../../docs/guide.md', import.meta.url), 'utf8');
  const [, retry = ''] = guide.split('\n## Retry\n');
  const [, list = ''] = /```text\n([\s\S]*?)```/.exec(retry) ?? [];
  const blames = (code: SocksErrorCode, phase: SocksPhase): boolean =>
    new SocksError(code, { phase }).blame === 'proxy';
  const codes = (Object.keys(MEANING) as SocksErrorCode[]).filter((code) => blames(code, 'greeting'));
  const expected = codes.map((code) => (blames(code, 'request') ? code : `${code} (1)`));
  expect(list.match(/ERR_\w+(?: \(1\))?/g)?.toSorted()).toEqual(expected.toSorted());
});

test.each(['EMFILE', 'ENFILE', 'EADDRNOTAVAIL'])(
  '%s blames nobody: every proxy would fail with it',
  (code) => {
    const cause = Object.assign(new Error('x'), { code });
    const details = { phase: 'dial', cause } as const;
    expect(new SocksError('ERR_SOCKS_PROXY_UNREACHABLE', details).blame).toBe('none');
    const several = new AggregateError([Object.assign(new Error('y'), { code: 'ECONNREFUSED' }), cause]);
    expect(new SocksError('ERR_SOCKS_PROXY_UNREACHABLE', { ...details, cause: several }).blame).toBe('none');
  },
);

test('an error that is no SocksError blames the destination, unless the tunnel was closed or an option is not valid', () => {
  const withCode = (code: string): Error => Object.assign(new Error('x'), { code });
  expect(blameOf(withCode('CERT_HAS_EXPIRED'))).toBe('destination');
  expect(blameOf(withCode('ECONNRESET'))).toBe('unclear');
  expect(blameOf(withCode('EPIPE'))).toBe('unclear');
  expect(blameOf(withCode('ERR_INVALID_ARG_VALUE'))).toBe('none');
  expect(blameOf(new SocksError('ERR_SOCKS_CLOSED', { phase: 'dial' }))).toBe('none');
});

test('an error says both ends, the phase and the cause, and has no property that it has no value for', () => {
  const cause = new Error('why');
  const error = new SocksError('ERR_SOCKS_TIMEOUT', {
    phase: 'dial',
    proxy: 'socks5://p:1',
    destination: 'd:2',
    detail: '5 ms',
    cause,
  });
  expect(error).toMatchObject({
    name: 'SocksError',
    message: 'd:2 through socks5://p:1: the time limit passed (5 ms)',
    cause,
  });
  expect(Object.keys(error)).toEqual(['code', 'phase', 'proxy', 'destination', 'detail']);
  expect('reply' in error).toBe(false);
  expect(error instanceof Error).toBe(true);
  expect(String(error.stack)).toMatch(/^SocksError: d:2 through/);
});
