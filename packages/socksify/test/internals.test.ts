// The private parts of Node's sockets: found on this Node, and named by an error on a Node that does not have them.

import { Socket } from 'node:net';
import { describe, expect, test } from 'vitest';
import { bySymbol, checkHandle, internalsOf, isTls, prototypeOfHandle } from '../src/internals.ts';

const MISSING = { code: 'ERR_FEATURE_UNAVAILABLE_ON_PLATFORM' };
const thrownBy = (run: () => unknown): unknown => {
  try {
    return run();
  } catch (error) {
    return error;
  }
};

test('this Node has the private parts of a socket', () => {
  expect(internalsOf(new Socket())).toBeInstanceOf(Socket);
});

describe('an error names the Node and the private part that it does not have', () => {
  test.each<[string, () => unknown]>([
    ['_undestroy', () => internalsOf(Object.assign(new Socket(), { _undestroy: undefined }))],
    ['_handle', () => internalsOf(Object.create(Socket.prototype) as Socket)],
    ['readStop', () => checkHandle({ close() {}, useUserBuffer() {} })],
    ['useUserBuffer', () => checkHandle(undefined)],
    ['_handle', () => prototypeOfHandle(null)],
    [
      '_wrapHandle, _init',
      () => isTls(Object.assign(new Socket(), { encrypted: true, _wrapHandle: undefined })),
    ],
    ['kNothing', () => bySymbol(new Socket(), 'kNothing')],
  ])('%s', (part, run) => {
    const error = thrownBy(run);
    expect(error).toMatchObject(MISSING);
    expect(String(error)).toContain(process.version);
    expect(String(error)).toContain(part);
  });
});
