// What a consumer of either generation is told of one request, callback by callback, on an Agent of either generation.
// The Agent is a recorder: the test calls the handler that the dispatcher gave to it, and no socket is opened.

import { Duplex } from 'node:stream';
import { turns } from '@socksify/support';
import { beforeEach, describe, expect, test } from 'vitest';
import { SocksDispatcher } from '../src/index.ts';
import { record } from './recorded-agent.ts';

type Call = [name: string, ...given: unknown[]];

const REQUEST = { origin: 'http://any.test', path: '/', method: 'GET' };
const SOCKET = new Duplex();
const REASON = new Error('enough');
const text = (pairs: unknown): string[] => (pairs as Buffer[]).map(String);

let calls: Call[];
let names: string[];
beforeEach(() => {
  calls = [];
  names = [];
});
const note = (...call: Call): void => {
  calls.push(call);
  names.push(call[0]);
};

/** What a legacy consumer gets in onConnect. */
const abortOf = (call: Call | undefined) => call?.[1] as (reason: Error) => void;

/** A consumer with the callbacks of undici 5 to 7. `over` replaces some. */
const legacyConsumer = (over: object = {}): any => ({
  onConnect: (abort: unknown, context: unknown) => note('onConnect', abort, context),
  onUpgrade: (...given: unknown[]) => {
    note('onUpgrade', ...given);
    return 'upgraded';
  },
  onHeaders: (...given: unknown[]) => {
    note('onHeaders', ...given);
    return true;
  },
  onData: (...given: unknown[]) => {
    note('onData', ...given);
    return true;
  },
  onComplete: (...given: unknown[]) => note('onComplete', ...given),
  onError: (...given: unknown[]) => note('onError', ...given),
  ...over,
});

/** A consumer with the callbacks of undici 7 and 8. */
const modernConsumer = (over: object = {}): any => ({
  onRequestStart: (...given: unknown[]) => note('onRequestStart', ...given),
  onRequestUpgrade: (...given: unknown[]) => {
    note('onRequestUpgrade', ...given);
    return 'upgraded';
  },
  onResponseStart: (...given: unknown[]) => note('onResponseStart', ...given),
  onResponseData: (...given: unknown[]) => note('onResponseData', ...given),
  onResponseEnd: (...given: unknown[]) => note('onResponseEnd', ...given),
  onResponseError: (...given: unknown[]) => note('onResponseError', ...given),
  ...over,
});

/** The handler that the Agent gets for the request of this consumer. Undefined: the Agent gets no request. */
function handlerFor(generation: 'legacy' | 'modern', consumer: object): any {
  const agent = record(generation);
  const dispatcher = new SocksDispatcher('socks5://127.0.0.1:1', { Agent: agent.Agent });
  agent.calls.length = 0;
  expect(dispatcher.dispatch(REQUEST, consumer)).toBe(true);
  return agent.calls[0]?.[1];
}

/** The controller of a modern Agent, which notes what is called. */
const controllerOf = (over: object = {}): any => ({
  rawHeaders: null,
  rawTrailers: null,
  pause: () => note('agent.pause'),
  resume: () => note('agent.resume'),
  abort: (reason: unknown) => note('agent.abort', reason),
  ...over,
});

describe('a legacy consumer on a legacy Agent', () => {
  const start = (over?: object) => handlerFor('legacy', legacyConsumer(over));

  test('is told of the start by the dispatcher, and of the rest by the Agent', () => {
    const handler = start();
    expect(calls).toEqual([['onConnect', expect.any(Function), undefined]]);
    const resume = () => {};
    handler.onConnect(() => {});
    expect(handler.onHeaders(200, ['a', 'b'], resume, 'OK')).toBe(true);
    expect(handler.onData(Buffer.from('x'))).toBe(true);
    handler.onComplete(['c', 'd']);
    expect(names).toEqual(['onConnect', 'onHeaders', 'onData', 'onComplete']);
    const pairs = [Buffer.from('a'), Buffer.from('b')];
    expect(calls[1]).toEqual(['onHeaders', 200, pairs, resume, 'OK']);
    expect(calls[2]).toEqual(['onData', Buffer.from('x')]);
    expect(text(calls[3]?.[1])).toEqual(['c', 'd']);
  });

  test('gets no trailers as an empty list', () => {
    const handler = start();
    handler.onConnect(() => {});
    handler.onComplete(null);
    expect(calls.at(-1)).toEqual(['onComplete', []]);
  });

  test('pauses with false', () => {
    const handler = start({ onHeaders: () => false, onData: () => false });
    handler.onConnect(() => {});
    expect(handler.onHeaders(200, [], () => {}, '')).toBe(false);
    expect(handler.onData(Buffer.from('x'))).toBe(false);
  });

  test.each(['onComplete', 'onError'])('is told nothing after %s', (end) => {
    const handler = start();
    handler.onConnect(() => {});
    handler[end](end === 'onError' ? REASON : null);
    calls = [];
    // True, so that undici goes on and does not wait for a resume().
    expect(handler.onHeaders(200, [], () => {}, '')).toBe(true);
    expect(handler.onData(Buffer.from('x'))).toBe(true);
    handler.onComplete(null);
    handler.onError(REASON);
    expect(calls).toEqual([]);
    expect(() => handler.onConnect(() => {})).toThrow('the request is over');
  });

  test('that aborts in onConnect gets its reason, and the Agent no request', () => {
    const handler = start({
      onConnect: (abort: (reason: Error) => void) => {
        abort(REASON);
        abort(new Error('again'));
      },
    });
    expect([handler, calls]).toEqual([undefined, [['onError', REASON]]]);
  });

  test('that throws in onConnect gets the error, and the Agent no request', () => {
    const handler = start({
      onConnect() {
        throw REASON;
      },
    });
    expect([handler, calls]).toEqual([undefined, [['onError', REASON]]]);
  });

  test('that aborts without a reason gets that of undici', () => {
    start({ onConnect: (abort: () => void) => abort() });
    expect(calls).toEqual([['onError', expect.objectContaining({ code: 'UND_ERR_ABORTED' })]]);
  });

  test('that aborts before there is a connection gets its reason at once, and refuses the connection', () => {
    const handler = start();
    abortOf(calls[0])(REASON);
    expect(calls.slice(1)).toEqual([['onError', REASON]]);
    expect(() => handler.onConnect(() => note('agent.abort'))).toThrow(REASON);
    expect(names).toEqual(['onConnect', 'onError']);
  });

  test('that aborts a request on a connection gets the error from the Agent', () => {
    const handler = start();
    const abort = abortOf(calls[0]);
    handler.onConnect((reason: Error) => note('agent.abort', reason));
    abort(REASON);
    abort(new Error('again'));
    expect(calls.slice(1)).toEqual([['agent.abort', REASON]]);
    handler.onError(REASON);
    expect(calls.slice(2)).toEqual([['onError', REASON]]);
  });

  test('cannot abort what is over', () => {
    const handler = start();
    handler.onConnect((reason: Error) => note('agent.abort', reason));
    handler.onComplete(null);
    abortOf(calls[0])(REASON);
    expect(names).toEqual(['onConnect', 'onComplete']);
  });

  test('gets the socket of an upgrade, and nothing after it', () => {
    const handler = start();
    handler.onConnect(() => {});
    expect(handler.onUpgrade(101, ['a', 'b'], SOCKET)).toBe('upgraded');
    const pairs = [Buffer.from('a'), Buffer.from('b')];
    expect(calls.at(-1)).toEqual(['onUpgrade', 101, pairs, SOCKET]);
    handler.onError(REASON);
    expect(names).toEqual(['onConnect', 'onUpgrade']);
  });

  test('gets no headers of a CONNECT over HTTP/2 as an empty list', () => {
    const handler = start();
    handler.onUpgrade(200, null, SOCKET);
    expect(calls.at(-1)).toEqual(['onUpgrade', 200, [], SOCKET]);
  });

  test('that throws when it gets the socket of an upgrade gets the error, once, and so does the Agent', () => {
    const handler = start({
      onUpgrade() {
        throw REASON;
      },
    });
    expect(() => handler.onUpgrade(101, [], SOCKET)).toThrow(REASON);
    // undici 5 calls no callback then.
    expect(calls.slice(1)).toEqual([['onError', REASON]]);
    handler.onError(REASON);
    expect(calls.slice(2)).toEqual([]);
  });

  test('that aborts when it gets the socket of an upgrade gets the error of the Agent once', () => {
    let abort: (reason: Error) => void = () => {};
    const handler = start({
      onConnect: (given: typeof abort) => (abort = given),
      onUpgrade: () => abort(REASON),
    });
    handler.onConnect((reason: Error) => handler.onError(reason));
    handler.onUpgrade(101, [], SOCKET);
    expect(calls).toEqual([['onError', REASON]]);
  });

  test('that aborts when it gets the trailers gets the error of the Agent alone', () => {
    let abort: (reason: Error) => void = () => {};
    const handler = start({
      onConnect: (given: typeof abort) => (abort = given),
      onComplete: () => abort(REASON),
    });
    handler.onConnect((reason: Error) => handler.onError(reason));
    handler.onComplete(null);
    expect(calls).toEqual([['onError', REASON]]);
  });

  test('needs no callback but onConnect', () => {
    const handler = handlerFor('legacy', { onConnect() {} });
    handler.onConnect(() => {});
    expect(handler.onHeaders(200, [], () => {}, '')).toBeUndefined();
    expect(handler.onData(Buffer.from('x'))).toBeUndefined();
    handler.onComplete(null);
    handlerFor('legacy', { onConnect() {} }).onError(REASON);
    expect(handlerFor('legacy', { onConnect() {} }).onUpgrade(101, [], SOCKET)).toBeUndefined();
  });
});

describe('a modern consumer on a modern Agent', () => {
  const start = (over?: object) => handlerFor('modern', modernConsumer(over));
  const own = () => calls[0]?.[1] as any;

  test('has one controller, which the dispatcher gives to it at the start', () => {
    const handler = start();
    const controller = own();
    expect(calls).toEqual([['onRequestStart', controller, undefined]]);
    expect(controller).toMatchObject({ aborted: false, paused: false, reason: null });
    expect([controller.rawHeaders, controller.rawTrailers]).toEqual([null, null]);
    const agent = controllerOf({ rawHeaders: ['a', 'b'], rawTrailers: ['c', 'd'] });
    handler.onRequestStart(agent, {});
    handler.onResponseStart(agent, 200, { a: 'b' }, 'OK');
    handler.onResponseData(agent, Buffer.from('x'));
    handler.onResponseEnd(agent, { c: 'd' });
    expect(calls.slice(1)).toEqual([
      ['onResponseStart', controller, 200, { a: 'b' }, 'OK'],
      ['onResponseData', controller, Buffer.from('x')],
      ['onResponseEnd', controller, { c: 'd' }],
    ]);
    expect([controller.rawHeaders, controller.rawTrailers]).toEqual([
      ['a', 'b'],
      ['c', 'd'],
    ]);
  });

  test('has the parsed headers and trailers as pairs if the Agent has no raw ones', () => {
    const handler = start();
    handler.onRequestStart(controllerOf());
    handler.onResponseStart(controllerOf(), 200, { a: 'b' }, 'OK');
    handler.onResponseEnd(controllerOf(), { c: 'd' });
    expect([own().rawHeaders, own().rawTrailers].map(text)).toEqual([
      ['a', 'b'],
      ['c', 'd'],
    ]);
  });

  test('has an empty list of trailers if there are none', () => {
    const handler = start();
    handler.onRequestStart(controllerOf());
    handler.onResponseEnd(controllerOf(), undefined);
    expect(own().rawTrailers).toEqual([]);
  });

  test('that pauses before there is a connection pauses the Agent when there is one', () => {
    const handler = start({
      onRequestStart: (controller: any) => (note('start', controller), controller.pause()),
    });
    expect(own().paused).toBe(true);
    handler.onRequestStart(controllerOf());
    expect(names).toEqual(['start', 'agent.pause']);
  });

  test('pauses and resumes the Agent, and resumes only what is paused', () => {
    const handler = start();
    own().resume();
    handler.onRequestStart(controllerOf());
    own().resume();
    expect(names).toEqual(['onRequestStart']);
    own().pause();
    expect(own().paused).toBe(true);
    own().resume();
    own().resume();
    expect(own().paused).toBe(false);
    expect(names).toEqual(['onRequestStart', 'agent.pause', 'agent.resume']);
  });

  test('can pause and resume before there is a connection', () => {
    const handler = start();
    own().pause();
    own().resume();
    handler.onRequestStart(controllerOf());
    expect(names).toEqual(['onRequestStart']);
  });

  test('aborts the Agent with its reason', () => {
    const handler = start();
    handler.onRequestStart(controllerOf());
    own().abort(REASON);
    expect(own()).toMatchObject({ aborted: true, reason: REASON });
    expect(calls.slice(1)).toEqual([['agent.abort', REASON]]);
    handler.onResponseError(null, REASON);
    expect(calls.slice(2)).toEqual([['onResponseError', own(), REASON]]);
  });

  test.each(['onResponseEnd', 'onResponseError'])('is told nothing after %s', (end) => {
    const handler = start();
    handler.onRequestStart(controllerOf());
    if (end === 'onResponseEnd') handler.onResponseEnd(controllerOf(), {});
    else handler.onResponseError(controllerOf(), REASON);
    const raw = [own().rawHeaders, own().rawTrailers];
    const late = controllerOf({ rawHeaders: ['x', 'y'], rawTrailers: ['x', 'y'] });
    handler.onResponseStart(late, 200, {}, '');
    handler.onResponseData(late, Buffer.from('x'));
    handler.onResponseEnd(late, {});
    handler.onResponseError(late, REASON);
    expect(names).toEqual(['onRequestStart', end]);
    expect([own().rawHeaders, own().rawTrailers]).toEqual(raw);
  });

  test('that throws when it gets the trailers gets the error of the Agent', () => {
    const handler = start({
      onResponseEnd() {
        throw REASON;
      },
    });
    handler.onRequestStart(controllerOf());
    expect(() => handler.onResponseEnd(controllerOf(), {})).toThrow(REASON);
    handler.onResponseError(controllerOf(), REASON);
    expect(names).toEqual(['onRequestStart', 'onResponseError']);
  });

  test('gets the socket of an upgrade with headers and raw headers', () => {
    const handler = start();
    const agent = controllerOf({ rawHeaders: ['a', 'b'] });
    handler.onRequestStart(agent);
    expect(handler.onRequestUpgrade(agent, 101, { a: 'b' }, SOCKET)).toBe('upgraded');
    expect(calls.at(-1)).toEqual(['onRequestUpgrade', own(), 101, { a: 'b' }, SOCKET]);
    expect(own().rawHeaders).toEqual(['a', 'b']);
    handler.onResponseError(agent, REASON);
    expect(names).toEqual(['onRequestStart', 'onRequestUpgrade']);
  });

  test('gets the socket of an upgrade with the parsed headers as pairs if the Agent has no raw ones', () => {
    const handler = start();
    handler.onRequestUpgrade(controllerOf(), 101, { a: 'b' }, SOCKET);
    expect(text(own().rawHeaders)).toEqual(['a', 'b']);
  });

  test('needs no callback but onRequestStart', () => {
    const handler = handlerFor('modern', { onRequestStart() {} });
    handler.onRequestStart(controllerOf());
    handler.onResponseStart(controllerOf(), 200, {}, '');
    handler.onResponseData(controllerOf(), Buffer.from('x'));
    handler.onResponseEnd(controllerOf(), {});
    handlerFor('modern', { onRequestStart() {} }).onResponseError(null, REASON);
    const upgraded = handlerFor('modern', { onRequestStart() {} });
    expect(upgraded.onRequestUpgrade(controllerOf(), 101, {}, SOCKET)).toBeUndefined();
  });
});

describe('a modern consumer on a legacy Agent', () => {
  const start = (over?: object) => handlerFor('legacy', modernConsumer(over));
  const own = () => calls[0]?.[1] as any;

  test('gets parsed headers and trailers, and has the raw ones', () => {
    const handler = start();
    handler.onConnect(() => {});
    const raw = [Buffer.from('A'), Buffer.from('b')];
    expect(handler.onHeaders(200, raw, () => {}, 'OK')).toBe(true);
    expect(handler.onData(Buffer.from('x'))).toBe(true);
    handler.onComplete([Buffer.from('C'), Buffer.from('d')]);
    expect(calls.slice(1)).toEqual([
      ['onResponseStart', own(), 200, { a: 'b' }, 'OK'],
      ['onResponseData', own(), Buffer.from('x')],
      ['onResponseEnd', own(), { c: 'd' }],
    ]);
    expect(own().rawHeaders).toBe(raw);
    expect(text(own().rawTrailers)).toEqual(['C', 'd']);
  });

  test('gets no trailers as none', () => {
    const handler = start();
    handler.onConnect(() => {});
    handler.onComplete(null);
    expect(calls.at(-1)).toEqual(['onResponseEnd', own(), {}]);
    expect(own().rawTrailers).toEqual([]);
  });

  test('that has paused answers the Agent with false, and resumes it by the function of the headers', () => {
    const handler = start();
    handler.onConnect(() => {});
    own().pause();
    expect(handler.onHeaders(200, [], () => note('resume'), '')).toBe(false);
    expect(handler.onData(Buffer.from('x'))).toBe(false);
    own().resume();
    expect(names.at(-1)).toBe('resume');
    expect(handler.onData(Buffer.from('x'))).toBe(true);
    own().resume();
    expect(names.filter((name) => name === 'resume')).toEqual(['resume']);
  });

  test('that pauses before there is a connection has paused the first headers', () => {
    const handler = start();
    own().pause();
    handler.onConnect(() => {});
    expect(handler.onHeaders(200, [], () => {}, '')).toBe(false);
  });

  test('can resume before there are headers', () => {
    const handler = start();
    handler.onConnect(() => {});
    own().pause();
    own().resume();
    expect(handler.onHeaders(200, [], () => note('resume'), '')).toBe(true);
    expect(names).toEqual(['onRequestStart', 'onResponseStart']);
  });

  test('gets the socket of an upgrade', () => {
    const handler = start();
    handler.onConnect(() => {});
    expect(handler.onUpgrade(101, [Buffer.from('A'), Buffer.from('b')], SOCKET)).toBe('upgraded');
    expect(calls.at(-1)).toEqual(['onRequestUpgrade', own(), 101, { a: 'b' }, SOCKET]);
  });

  test('gets no headers of a CONNECT over HTTP/2 as none', () => {
    const handler = start();
    handler.onUpgrade(200, null, SOCKET);
    expect(calls.at(-1)).toEqual(['onRequestUpgrade', own(), 200, {}, SOCKET]);
    expect(own().rawHeaders).toEqual([]);
  });

  test('aborts the Agent once, and the next connection of the request again', () => {
    const handler = start();
    handler.onConnect((reason: Error) => note('first', reason));
    handler.onConnect((reason: Error) => note('second', reason));
    own().abort(REASON);
    own().abort(REASON);
    expect(calls.slice(1)).toEqual([['second', REASON]]);
    handler.onError(REASON);
    expect(calls.slice(2)).toEqual([['onResponseError', own(), REASON]]);
  });
});

describe('a legacy consumer on a modern Agent', () => {
  const start = (over?: object) => handlerFor('modern', legacyConsumer(over));

  test('gets pairs of Buffers, and an empty text where HTTP/2 has none', () => {
    const handler = start();
    expect(calls).toEqual([['onConnect', expect.any(Function), undefined]]);
    const agent = controllerOf({ rawHeaders: ['a', 'b'], rawTrailers: ['c', 'd'] });
    handler.onRequestStart(agent);
    handler.onResponseStart(agent, 200, { a: 'b' });
    handler.onResponseData(agent, Buffer.from('x'));
    handler.onResponseEnd(agent, { c: 'd' });
    expect(calls.slice(1)).toEqual([
      ['onHeaders', 200, [Buffer.from('a'), Buffer.from('b')], expect.any(Function), ''],
      ['onData', Buffer.from('x')],
      ['onComplete', [Buffer.from('c'), Buffer.from('d')]],
    ]);
  });

  test('gets the status text, and no trailers as an empty list', () => {
    const handler = start();
    handler.onRequestStart(controllerOf());
    handler.onResponseStart(controllerOf(), 200, {}, 'OK');
    handler.onResponseEnd(controllerOf(), undefined);
    expect(calls[1]?.[4]).toBe('OK');
    expect(calls[2]).toEqual(['onComplete', []]);
  });

  test.each(['onHeaders', 'onData'])(
    'that returns false from %s pauses the Agent, and resumes it',
    (name) => {
      let resume = (): void => {};
      const handler = start({
        onHeaders: (_: number, __: unknown, given: () => void) => {
          resume = given;
          return name !== 'onHeaders';
        },
        onData: () => name !== 'onData',
      });
      handler.onRequestStart(controllerOf());
      handler.onResponseStart(controllerOf(), 200, {}, '');
      handler.onResponseData(controllerOf(), Buffer.from('x'));
      expect(names).toEqual(['onConnect', 'agent.pause']);
      resume();
      expect(names).toEqual(['onConnect', 'agent.pause', 'agent.resume']);
    },
  );

  test('gets the raw headers and trailers as they came, whatever the Agent has made of them', () => {
    const handler = start();
    const agent = controllerOf({ rawHeaders: ['a', 'b'], rawTrailers: ['c', 'd'] });
    handler.onRequestStart(agent);
    handler.onResponseStart(agent, 200, { x: 'y' }, 'OK');
    handler.onResponseEnd(agent, { x: 'y' });
    expect([calls[1]?.[2], calls[2]?.[1]].map(text)).toEqual([
      ['a', 'b'],
      ['c', 'd'],
    ]);
  });

  test('aborts the Agent with its reason, and gets the error', () => {
    const handler = start();
    handler.onRequestStart(controllerOf());
    abortOf(calls[0])(REASON);
    expect(calls.slice(1)).toEqual([['agent.abort', REASON]]);
    handler.onResponseError(controllerOf(), REASON);
    expect(calls.slice(2)).toEqual([['onError', REASON]]);
  });

  test('gets the socket of an upgrade with pairs of Buffers', () => {
    const handler = start();
    const agent = controllerOf({ rawHeaders: ['a', 'b'] });
    handler.onRequestStart(agent);
    expect(handler.onRequestUpgrade(agent, 101, { a: 'b' }, SOCKET)).toBe('upgraded');
    expect(calls.at(-1)).toEqual(['onUpgrade', 101, [Buffer.from('a'), Buffer.from('b')], SOCKET]);
  });

  test('needs no callback but onConnect', () => {
    const handler = handlerFor('modern', { onConnect() {} });
    handler.onRequestStart(controllerOf());
    handler.onResponseStart(controllerOf(), 200, {}, '');
    handler.onResponseData(controllerOf(), Buffer.from('x'));
    handler.onResponseEnd(controllerOf(), {});
    expect(names).toEqual([]);
    handlerFor('modern', { onConnect() {} }).onResponseError(null, REASON);
    const upgraded = handlerFor('modern', { onConnect() {} });
    expect(upgraded.onRequestUpgrade(controllerOf(), 101, {}, SOCKET)).toBeUndefined();
  });
});

describe.each(['legacy', 'modern'] as const)('a consumer on a %s Agent', (generation) => {
  test.each([
    ['legacy', legacyConsumer],
    ['modern', modernConsumer],
  ])(
    'of the %s callbacks has its callbacks of progress called as methods, if it has any',
    (_, consumerOf) => {
      const progress = ['onResponseStarted', 'onBodySent', 'onRequestSent'];
      const consumer = consumerOf({
        onBodySent(this: unknown, ...given: unknown[]) {
          note('onBodySent', this, ...given);
        },
      });
      const handler = handlerFor(generation, consumer);
      expect(progress.filter((name) => handler[name] !== undefined)).toEqual(['onBodySent']);
      handler.onBodySent('chunk', 5);
      expect(calls.at(-1)?.[1]).toBe(consumer);
      expect(calls.at(-1)?.slice(2)).toEqual(['chunk', 5]);
    },
  );
});

describe.each(['legacy', 'modern'] as const)('a request on a %s Agent', (generation) => {
  const connected = (handler: any): void =>
    generation === 'legacy' ? handler.onConnect(() => {}) : handler.onRequestStart(controllerOf());
  const answered = (handler: any, status: number): void =>
    generation === 'legacy'
      ? void handler.onHeaders(status, [], () => {}, '')
      : handler.onResponseStart(controllerOf(), status, {}, '');
  const ended = (handler: any): void =>
    generation === 'legacy' ? handler.onComplete(null) : handler.onResponseEnd(controllerOf(), {});
  const upgraded = (handler: any): void =>
    generation === 'legacy'
      ? handler.onUpgrade(101, [], SOCKET)
      : handler.onRequestUpgrade(controllerOf(), 101, {}, SOCKET);
  const consumerOf = generation === 'legacy' ? legacyConsumer : modernConsumer;

  /** A dispatcher with so many requests, all in one pool. */
  function requests(count: number, over?: object) {
    const agent = record(generation);
    const dispatcher = new SocksDispatcher('socks5://127.0.0.1:1', { Agent: agent.Agent });
    agent.calls.length = 0;
    for (let i = 0; i < count; i++) dispatcher.dispatch(REQUEST, consumerOf(over));
    const handlers = agent.calls.map(([, handler]) => handler);
    return { dispatcher, handlers, connect: agent.built.at(-1).connect };
  }

  /** The error with which a handshake ends that the Agent begins now. */
  const handshake = (connect: any): Promise<Error> =>
    new Promise((resolve) => {
      connect({ protocol: 'http:', hostname: 'any.test', host: 'any.test', port: '80' }, resolve);
    });

  test.each([103, 199])('may need another connection after the headers of %i', async (status) => {
    const { handlers, connect } = requests(1);
    connected(handlers[0]);
    answered(handlers[0], status);
    expect(await handshake(connect)).toMatchObject({ code: 'ERR_SOCKS_PROXY_UNREACHABLE' });
  });

  test('needs no other connection after the headers of 200', async () => {
    const { handlers, connect } = requests(1);
    connected(handlers[0]);
    answered(handlers[0], 200);
    expect(await handshake(connect)).toMatchObject({ name: 'AbortError' });
  });

  test('needs no other connection after an upgrade', async () => {
    const { handlers, connect } = requests(1);
    connected(handlers[0]);
    upgraded(handlers[0]);
    expect(await handshake(connect)).toMatchObject({ name: 'AbortError' });
  });

  test.each([
    ['the trailers', ended],
    ['the socket of an upgrade', upgraded],
  ])('is waited for by close() until it has %s', async (_, end) => {
    const { dispatcher, handlers } = requests(2);
    let closed = false;
    const closing = dispatcher.close().then(() => (closed = true));
    for (const handler of handlers) connected(handler);
    end(handlers[0]);
    await turns(5);
    expect(closed).toBe(false);
    end(handlers[1]);
    await closing;
  });

  test.each([
    ['trailers', ended],
    ['the socket of an upgrade', upgraded],
  ])('that is over before its consumer returns from %s is over once', async (_, end) => {
    const state: { handler?: any } = {};
    const fail = (): void => {
      if (generation === 'legacy') state.handler.onError(REASON);
      else state.handler.onResponseError(null, REASON);
    };
    const over = { onComplete: fail, onResponseEnd: fail, onUpgrade: fail, onRequestUpgrade: fail };
    const { dispatcher, handlers } = requests(2, over);
    let closed = false;
    const closing = dispatcher.close().then(() => (closed = true));
    for (const handler of handlers) connected(handler);
    state.handler = handlers[0];
    end(handlers[0]);
    await turns(5);
    expect(closed).toBe(false);
    state.handler = handlers[1];
    end(handlers[1]);
    await closing;
  });

  test('with options that are no object is in no pool, and the Agent can call every callback', () => {
    const agent = record(generation);
    const dispatcher = new SocksDispatcher('socks5://127.0.0.1:1', { Agent: agent.Agent });
    for (const end of [ended, upgraded]) {
      agent.calls.length = 0;
      dispatcher.dispatch('no options' as never, consumerOf());
      const [options, handler] = agent.calls[0] ?? [];
      expect(options).toBe('no options');
      connected(handler);
      answered(handler, 200);
      end(handler);
    }
  });
});

test('a request that is aborted while its selector is at work is never sent', async () => {
  const agent = record('legacy');
  let answer: (proxy: string) => void = () => {};
  const selector = () => new Promise<string>((resolve) => (answer = resolve));
  const dispatcher = new SocksDispatcher(selector, { Agent: agent.Agent });
  agent.calls.length = 0;
  dispatcher.dispatch(REQUEST, legacyConsumer());
  abortOf(calls[0])(REASON);
  answer('socks5://127.0.0.1:1');
  await turns(5);
  expect(calls.slice(1)).toEqual([['onError', REASON]]);
  expect(agent.calls).toEqual([]);
});

test('an origin as a URL and as a text is one pool', () => {
  const agent = record('modern');
  const dispatcher = new SocksDispatcher('socks5://127.0.0.1:1', { Agent: agent.Agent });
  dispatcher.dispatch({ ...REQUEST, origin: new URL('http://any.test/path') }, modernConsumer());
  dispatcher.dispatch(REQUEST, modernConsumer());
  expect(agent.built).toHaveLength(3);
  dispatcher.dispatch({ ...REQUEST, origin: 'http://other.test' }, modernConsumer());
  expect(agent.built).toHaveLength(4);
});

test('what is no handler is given to the Agent, which refuses it', () => {
  const agent = record('modern');
  const dispatcher = new SocksDispatcher('socks5://127.0.0.1:1', { Agent: agent.Agent });
  for (const handler of [undefined, null, {}, { onConnect: true }, { onRequestStart: 'no' }]) {
    agent.calls.length = 0;
    dispatcher.dispatch(REQUEST, handler as never);
    expect(agent.calls).toEqual([[REQUEST, handler]]);
  }
});

test('an interceptor that is no function, or returns none, is refused at once', () => {
  const dispatcher = new SocksDispatcher('socks5://127.0.0.1:1', { Agent: record('modern').Agent });
  expect(() => dispatcher.compose('retry' as never)).toThrow('an interceptor must be a function');
  expect(() => dispatcher.compose([() => undefined])).toThrow(
    'an interceptor must return a dispatch function',
  );
});

describe('an interceptor of any undici', () => {
  /** The handler that an interceptor gets in front of this consumer. */
  function between(consumer: object): any {
    const agent = record('modern');
    let seen: unknown;
    const dispatcher = new SocksDispatcher('socks5://127.0.0.1:1', { Agent: agent.Agent });
    dispatcher
      .compose((dispatch: any) => (options: unknown, handler: unknown) => {
        seen = handler;
        return dispatch(options, handler);
      })
      .dispatch(REQUEST, consumer);
    calls = [];
    names = [];
    return seen;
  }

  test('can call the modern callbacks of its handler, with a controller of its own', () => {
    const handler = between(modernConsumer());
    const controller = controllerOf();
    handler.onRequestStart(controller, 'context');
    expect(handler.onRequestUpgrade(controller, 101, {}, SOCKET)).toBe('upgraded');
    handler.onResponseStart(controller, 200, {}, 'OK');
    handler.onResponseData(controller, Buffer.from('x'));
    handler.onResponseEnd(controller, {});
    handler.onResponseError(controller, REASON);
    expect(calls).toEqual([
      ['onRequestStart', controller, 'context'],
      ['onRequestUpgrade', controller, 101, {}, SOCKET],
      ['onResponseStart', controller, 200, {}, 'OK'],
      ['onResponseData', controller, Buffer.from('x')],
      ['onResponseEnd', controller, {}],
      ['onResponseError', controller, REASON],
    ]);
  });

  test('can call the legacy callbacks of its handler', () => {
    const handler = between(modernConsumer());
    handler.onConnect((reason: Error) => note('abort', reason), 'context');
    const own = calls[0]?.[1] as any;
    expect(calls).toEqual([['onRequestStart', own, 'context']]);
    expect(handler.onHeaders(200, [Buffer.from('A'), Buffer.from('b')], () => note('resume'), 'OK')).toBe(
      true,
    );
    own.abort(REASON);
    own.abort(REASON);
    expect(own).toMatchObject({ aborted: true, reason: REASON });
    expect(calls.slice(1)).toEqual([
      ['onResponseStart', own, 200, { a: 'b' }, 'OK'],
      ['abort', REASON],
    ]);
    own.resume();
    expect(names).not.toContain('resume');
    own.pause();
    own.resume();
    expect(names.at(-1)).toBe('resume');
    own.pause();
    // The request is sent once more.
    handler.onConnect(() => {});
    expect(own).toMatchObject({ aborted: false, paused: false, reason: null });
  });

  test('need not call onConnect before the request fails', () => {
    const handler = between(modernConsumer());
    expect(handler).toMatchObject({ aborted: false, paused: false });
    handler.abort(REASON);
    handler.onError(REASON);
    expect(names).toEqual(['onResponseError']);
  });

  test('that changes parsed headers and trailers changes the raw ones', () => {
    const handler = between(modernConsumer());
    const controller = controllerOf({ rawHeaders: ['a', 'b', 'c', 'd'], rawTrailers: ['e', 'f'] });
    handler.onResponseStart(controller, 200, { a: 'new', c: 'd' }, 'OK');
    handler.onResponseEnd(controller, {});
    expect(text(controller.rawHeaders)).toEqual(['a', 'new', 'c', 'd']);
    expect(controller.rawTrailers).toEqual([]);
    const upgraded = controllerOf({ rawHeaders: ['a', 'b'] });
    handler.onRequestUpgrade(upgraded, 101, {}, SOCKET);
    expect(upgraded.rawHeaders).toEqual([]);
  });

  test('finds every callback on its handler, whatever the consumer has', () => {
    const handler = between({ onRequestStart() {} });
    const controller = controllerOf();
    handler.onRequestUpgrade(controller, 101, {}, SOCKET);
    handler.onResponseStart(controller, 200, {}, 'OK');
    handler.onResponseData(controller, Buffer.from('x'));
    handler.onResponseEnd(controller, {});
    handler.onResponseError(controller, REASON);
    handler.onConnect(() => {});
    handler.onUpgrade(101, [], SOCKET);
    handler.onHeaders(200, [], () => {}, 'OK');
    handler.onData(Buffer.from('x'));
    handler.onComplete([]);
    handler.onError(REASON);
    expect(calls).toEqual([]);
  });

  test('that changes nothing leaves the raw headers as they came', () => {
    const handler = between(modernConsumer());
    for (const raw of [
      [Buffer.from('A'), Buffer.from('b')],
      ['A', 'b'],
    ]) {
      const controller = controllerOf({ rawHeaders: raw });
      handler.onResponseStart(controller, 200, { a: 'b' }, 'OK');
      expect(controller.rawHeaders).toBe(raw);
    }
    const other = controllerOf();
    handler.onResponseStart(other, 200, { a: 'b' }, 'OK');
    expect(other.rawHeaders).toBeNull();
  });

  test('may give a controller without raw headers, one that cannot be changed, or none', () => {
    const handler = between(modernConsumer());
    const frozen = Object.freeze(controllerOf({ rawHeaders: ['a', 'b'] }));
    handler.onResponseStart(frozen, 200, {}, 'OK');
    handler.onResponseStart(undefined, 200, {}, 'OK');
    handler.onResponseStart(controllerOf({ rawHeaders: ['a', 'b'] }), 200, undefined, 'OK');
    expect(names).toEqual(['onResponseStart', 'onResponseStart', 'onResponseStart']);
    expect(frozen.rawHeaders).toEqual(['a', 'b']);
  });
});
