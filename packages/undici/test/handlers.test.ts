// Handlers of two generations on Agents of two generations, without a socket.

import { describe, expect, test } from 'vitest';
import { checkAgent } from '../src/base-agent.ts';
import { SocksDispatcher } from '../src/index.ts';
import type { AgentClass, Handler } from '../src/index.ts';
import { toObject, toPairs } from '../src/headers.ts';
import { agents, nodeMajor, undicis } from './combinations.ts';
import { record } from './recorded-agent.ts';
import { startSite } from './site.ts';
import { startProxy } from './recorded-proxy.ts';

const request = { origin: 'http://any.test', path: '/', method: 'GET' };
const dispatcherOn = (Agent: AgentClass, calls: unknown[]): SocksDispatcher => {
  const dispatcher = new SocksDispatcher('socks5://127.0.0.1:1', { Agent });
  calls.length = 0;
  return dispatcher;
};

const LEGACY = ['onConnect', 'onHeaders', 'onData', 'onComplete', 'onError', 'onUpgrade'];
const MODERN = ['onRequestStart', 'onResponseStart', 'onResponseData', 'onResponseEnd', 'onResponseError'];
const both = Object.fromEntries([...LEGACY, ...MODERN].map((name) => [name, () => true])) as Handler;

describe('the generation of an Agent', () => {
  test.each(agents)('of %s shows in how it fails', (name, Agent) => {
    const modern = name.includes('undici 8') || (name.startsWith('Node') && nodeMajor >= 26);
    expect(checkAgent(Agent, {})).toBe(modern ? 'modern' : 'legacy');
  });

  test.each([
    ['legacy', LEGACY, MODERN],
    ['modern', MODERN, LEGACY],
  ] as const)('a %s Agent sees a handler of its own generation only', (generation, shown, hidden) => {
    const { Agent, calls } = record(generation);
    dispatcherOn(Agent, calls).dispatch(request, both);
    const handler = calls[0]?.[1];
    expect(shown.filter((name) => typeof handler[name] !== 'function')).toEqual([]);
    expect(hidden.filter((name) => handler[name] !== undefined)).toEqual([]);
  });
});

describe('a modern consumer on a legacy Agent', () => {
  test('has a controller that pauses, resumes and aborts', () => {
    const { Agent, calls } = record('legacy');
    const seen: unknown[] = [];
    let controller: any;
    dispatcherOn(Agent, calls).dispatch(request, {
      onRequestStart: (given) => (controller = given),
      onResponseStart: (_, status, headers) => seen.push(status, headers),
      onResponseData: (given) => given.pause(),
      onResponseEnd: (given, trailers) => seen.push(given.rawTrailers, trailers),
      onResponseError: (_, error) => seen.push(error),
    });
    const handler = calls[0]?.[1];
    const events: unknown[] = [];
    handler.onConnect((reason: Error) => {
      events.push(reason);
      handler.onError(reason);
    });
    const raw = [Buffer.from('Set-Cookie'), Buffer.from('a'), Buffer.from('set-cookie'), Buffer.from('b')];
    expect(handler.onHeaders(200, raw, () => events.push('resumed'), 'OK')).toBe(true);
    expect(controller.rawHeaders).toBe(raw);
    expect(handler.onData(Buffer.from('x'))).toBe(false);
    expect(controller.paused).toBe(true);
    controller.resume();
    controller.resume();
    expect([events, controller.paused, controller.aborted, controller.reason]).toEqual([
      ['resumed'],
      false,
      false,
      null,
    ]);
    const reason = new Error('enough');
    controller.abort(reason);
    controller.abort(new Error('again'));
    expect([controller.aborted, controller.reason, events.at(-1)]).toEqual([true, reason, reason]);
    expect(seen).toEqual([200, { 'set-cookie': ['a', 'b'] }, reason]);
  });
});

describe('a legacy consumer on a modern Agent', () => {
  test('has flat pairs of Buffers, also of the objects of HTTP/2', () => {
    const { Agent, calls } = record('modern');
    const seen: string[][] = [];
    const events: string[] = [];
    dispatcherOn(Agent, calls).dispatch(request, {
      onConnect() {},
      onHeaders(_, headers: Buffer[], resume) {
        seen.push(headers.map(String));
        queueMicrotask(resume);
        return false;
      },
      onData: () => true,
      onComplete: (trailers: Buffer[]) => seen.push(trailers.map(String)),
      onError() {},
    });
    const handler = calls[0]?.[1];
    const controller = {
      rawHeaders: { 'set-cookie': ['a', 'b'], server: 'x' },
      pause: () => events.push('paused'),
      resume: () => events.push('resumed'),
      abort() {},
    };
    handler.onRequestStart(controller, {});
    handler.onResponseStart(controller, 200, controller.rawHeaders, 'OK');
    handler.onResponseEnd(controller, {});
    expect(seen).toEqual([['set-cookie', 'a', 'set-cookie', 'b', 'server', 'x'], []]);
    expect(events).toEqual(['paused']);
  });

  test('gets the bytes of headers unchanged', () => {
    const raw = [Buffer.from('X'), Buffer.from('e9', 'hex'), Buffer.from('__proto__'), Buffer.from('own')];
    const parsed = toObject(raw);
    expect(parsed['x']).toBe('é');
    expect(Object.hasOwn(parsed, '__proto__')).toBe(true);
    expect(toPairs(parsed)[1]).toEqual(Buffer.from('e9', 'hex'));
  });
});

test('a modern consumer gets pairs, also of the objects of HTTP/2, because the fetch of undici 8.0 reads nothing else', () => {
  const { Agent, calls } = record('modern');
  const seen: unknown[] = [];
  dispatcherOn(Agent, calls).dispatch(request, {
    onRequestStart() {},
    onResponseStart: ({ rawHeaders }) => seen.push(rawHeaders),
  });
  const controller = { rawHeaders: { server: 'x' } };
  calls[0]?.[1].onRequestStart(controller);
  calls[0]?.[1].onResponseStart(controller, 200, controller.rawHeaders, '');
  expect(seen).toEqual([[Buffer.from('server'), Buffer.from('x')]]);
});

describe('the options of a request', () => {
  const { Agent, calls } = record('modern');

  test('are passed on without the dispatcher', () => {
    const dispatcher = dispatcherOn(Agent, calls);
    dispatcher.dispatch({ ...request, dispatcher }, both);
    expect(calls[0]?.[0]).toMatchObject({ dispatcher: undefined });
  });

  test.each([
    ['5, 5', '5'],
    ['5,5', '5'],
    ['5', '5'],
    ['5, 6', '5, 6'],
    ['5, 55', '5, 55'],
  ])('are passed on with a content-length of "%s" as "%s"', (given, sent) => {
    dispatcherOn(Agent, calls).dispatch({ ...request, headers: { a: 'b', 'Content-Length': given } }, both);
    expect(calls[0]?.[0].headers).toEqual({ a: 'b', 'Content-Length': sent });
  });

  test('have the limits of the Agent for WebSocket and EventSource', () => {
    const dispatcher = dispatcherOn(Agent, calls);
    expect(dispatcher.webSocketOptions).toEqual({ maxPayloadSize: 1 });
    expect(dispatcher.eventSourceOptions).toEqual({ maxEventSize: 2 });
  });
});

test('a handler that fails at the start fails its request', () => {
  const { Agent, calls } = record('modern');
  const seen: unknown[] = [];
  const failure = new Error('of the consumer');
  dispatcherOn(Agent, calls).dispatch(request, {
    onRequestStart() {
      throw failure;
    },
    onResponseError: (_, error) => seen.push(error),
  });
  expect([seen, calls]).toEqual([[failure], []]);
});

const composable = [...undicis].flatMap(([name, { interceptors }]) =>
  interceptors ? [[name, interceptors] as const] : [],
);

describe.each(agents)('compose() on %s', (_, Agent) => {
  test.each(composable)('takes the interceptors of %s, for every consumer', async (__, interceptors) => {
    await using proxy = await startProxy();
    await using site = await startSite();
    const dispatcher = new SocksDispatcher(proxy.url, { Agent });
    const composed = dispatcher.compose(interceptors.retry(), interceptors.redirect({ maxRedirections: 1 }));
    const url = `http://any.test:${site.port}/redirect`;
    expect(await (await fetch(url, { dispatcher: composed })).text()).toBe('hello');
    for (const { request: send } of undicis.values()) {
      const { body } = await send(url, { dispatcher: composed });
      expect(await body.text()).toBe('hello');
    }
    const options = { origin: `http://any.test:${site.port}`, path: '/redirect', method: 'GET' };
    const { body } = await composed.compose([null]).request(options);
    expect(await body.text()).toBe('hello');
    await composed.close();
    expect(dispatcher.closed).toBe(true);
  });
});
