// Changes of the code that no test notices, each group with the reason: file, reason, and `code => changed code`, cut
// after 120 characters.

const TYPES = 'for the types alone: the value is always there';

export const SURVIVORS: Record<string, Record<string, readonly string[]>> = {
  'packages/core/src/protocol/address.ts': {
    [TYPES]: ['[] => ["Stryker was here"]'],
  },
  'packages/core/src/protocol/method.ts': {
    [TYPES]: ['only?.id => only.id'],
    'for the types alone: no other type is an integer': ["typeof id === 'number' => true"],
  },
  'packages/core/src/protocol/socks5.ts': {
    [TYPES]: ['method?.authenticate => method.authenticate', 'method?.id => method.id'],
    'for the types alone: the first step of each part writes': [
      "value && 'write' in value => true",
      "value && 'write' in value => value || 'write' in value",
    ],
  },
  'packages/core/src/tunnel/alternatives.ts': {
    'for the types alone: a race that is not over has a member in progress': ['oldest !== undefined => true'],
    'for the types alone: an attempt is stopped by its signal, or with a SocksError': [
      '!(error instanceof SocksError) => false',
    ],
    'open() sets it a few microtasks later, and no event comes between': ['true => false'],
    'nothing is asked of the race when the tunnel is open': ['this.#race.granted(); => ;'],
  },
  'packages/core/src/tunnel/attempt.ts': {
    'for the types alone: attempts are shared by a signal': [
      'signal?.removeEventListener => signal.removeEventListener',
    ],
  },
  'packages/core/src/tunnel/client.ts': {
    'for the types alone: a chain is selected when there are an attempt and a destination': [
      'attempt && parsed => true',
      'attempt && parsed => attempt || parsed',
    ],
    'for the types alone: a connection that cannot be handed over has ended': [
      'connection.ended?.reason => connection.ended.reason',
    ],
    'faster; an empty object holds no option': ['given.tcp => true'],
  },
  'packages/core/src/tunnel/connection.ts': {
    'no stream has this event': ['[] => ["Stryker was here"]'],
    'for the types alone: it is set before a listener is added': [
      'this.#resolve?.(bytes) => this.#resolve(bytes)',
    ],
  },
  'packages/core/src/tunnel/demand.ts': {
    'one connection is wanted after the first request of all, whether or not it begins a burst': [
      '-Infinity => +Infinity',
    ],
  },
  'packages/core/src/tunnel/one-chain.ts': {
    [TYPES]: ['[] => ["Stryker was here"]'],
  },
  'packages/core/src/tunnel/pipeline.ts': {
    'for the types alone: a name was added before': ['oldest !== undefined => true'],
  },
  'packages/core/src/tunnel/standby.ts': {
    [TYPES]: ['[] => ["Stryker was here"]'],
  },
  'packages/env/src/env.ts': {
    'parseProxy() and proxyGroup() throw nothing else for a text': [
      '!(error instanceof SocksError) => false',
    ],
  },
  'packages/env/src/no-proxy.ts': {
    'undefined is as false as false': ['() => false => () => undefined'],
    'a range that is not valid leaves the list empty, which lists nothing': [
      '{ return NOTHING; // the first end is no address or the larger one, or the ends are of two families } => {}',
    ],
    'both sides of each comparison would be in upper case': ['host.toLowerCase() => host.toUpperCase()'],
  },
  'packages/undici/src/dispatch-options.ts': {
    'faster; a loop over these finds no name of 14 letters': [
      "typeof headers !== 'object' || headers === null || Array.isArray(headers) => false",
      "typeof headers !== 'object' || headers === null || Array.isArray(headers) => (typeof headers !== 'object' || headers === null) && Array.isArray(headers)",
      "typeof headers !== 'object' || headers === null => false",
      "typeof headers !== 'object' || headers === null => typeof headers !== 'object' && headers === null",
      "typeof headers !== 'object' => false",
      'headers === null => false',
    ],
    'faster; the name is compared next': ['name.length !== 14 => false'],
    'the first element is not read': ['[] => ["Stryker was here"]'],
  },
  'packages/undici/src/handlers.ts': {
    'every handler of its generation has this callback': [
      'this.consumer.onConnect?.((reason) => controller.abort(reason), context) => this.consumer.onConnect(reason => controller.abort(reason), context)',
      'this.consumer.onRequestStart?.(this, context) => this.consumer.onRequestStart(this, context)',
      'this.consumer.onRequestStart?.(controller, context) => this.consumer.onRequestStart(controller, context)',
    ],
    'faster; the raw headers are used in either case': ['this.consumer.rawOnly === true => false'],
  },
  'packages/undici/src/headers.ts': {
    'a pair without name and value is left out': [
      'i < list.length => i <= list.length',
      'i < pairs.length => i <= pairs.length',
    ],
    'for the types alone: toPairs() returns whole pairs': [
      'key === undefined || value === undefined => false',
      'key === undefined || value === undefined => key === undefined && value === undefined',
      'key === undefined => false',
      'value === undefined => false',
    ],
  },
  'packages/undici/src/legacy-exchange.ts': {
    'every handler of its generation has this callback': [
      'this.consumer.onConnect?.((reason) => this.abort(reason), undefined) => this.consumer.onConnect(reason => this.abort(reason), undefined)',
    ],
    'a name without a value is left out': ['[] => ["Stryker was here"]'],
  },
  'packages/undici/src/modern-exchange.ts': {
    'every handler of its generation has this callback': [
      'this.consumer.onRequestStart?.(this, undefined) => this.consumer.onRequestStart(this, undefined)',
    ],
  },
};
