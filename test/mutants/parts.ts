// The parts of the packages that Stryker changes, each with the tests that run against its mutants: those that take
// milliseconds, because they run hundreds of times.

interface Part {
  readonly files: string[];
  readonly tests: string[];
}

export const PARTS: Record<string, Part> = {
  env: {
    files: ['packages/env/src/*.ts'],
    tests: ['packages/env/test/*.test.ts'],
  },
  protocol: {
    files: ['packages/core/src/protocol/*.ts'],
    tests: ['packages/core/test/{handshake,vectors,gssapi,errors}.test.ts'],
  },
  handlers: {
    files: [
      'packages/undici/src/{handlers,exchange,legacy-exchange,modern-exchange,headers,dispatch-options}.ts',
    ],
    tests: ['packages/undici/test/{exchange,headers}.test.ts'],
  },
  // The files of tunnel/ whose tests open no socket.
  records: {
    files: ['packages/core/src/tunnel/{demand,drive,progress,sessions}.ts'],
    tests: ['packages/core/test/{demand,drive,progress,sessions}.test.ts'],
  },
  // Each other file of tunnel/, with the tests that are about this file.
  attempt: {
    files: ['packages/core/src/tunnel/attempt.ts'],
    tests: ['packages/core/test/attempt.test.ts'],
  },
  connection: {
    files: ['packages/core/src/tunnel/connection.ts'],
    tests: ['packages/core/test/connection.test.ts'],
  },
  dial: {
    files: ['packages/core/src/tunnel/dial.ts'],
    tests: ['packages/core/test/dial.test.ts'],
  },
  hops: {
    files: ['packages/core/src/tunnel/hops.ts'],
    tests: ['packages/core/test/hops.test.ts'],
  },
  lookup: {
    files: ['packages/core/src/tunnel/lookup.ts'],
    tests: ['packages/core/test/lookup.test.ts'],
  },
  'one-chain': {
    files: ['packages/core/src/tunnel/one-chain.ts'],
    tests: ['packages/core/test/one-chain.test.ts'],
  },
  secure: {
    files: ['packages/core/src/tunnel/secure.ts'],
    tests: ['packages/core/test/secure.test.ts'],
  },
  trace: {
    files: ['packages/core/src/tunnel/trace.ts'],
    tests: ['packages/core/test/trace.test.ts'],
  },
  encapsulated: {
    files: ['packages/core/src/tunnel/encapsulated.ts'],
    tests: ['packages/core/test/{encapsulation,gssapi}.test.ts'],
  },
  alternatives: {
    files: ['packages/core/src/tunnel/alternatives.ts'],
    tests: ['packages/core/test/alternatives{,-timers}.test.ts'],
  },
  client: {
    files: ['packages/core/src/tunnel/client.ts'],
    tests: ['packages/core/test/{alternatives,client,connect,ownership,route,trace}.test.ts'],
  },
  pipeline: {
    files: ['packages/core/src/tunnel/pipeline.ts'],
    tests: ['packages/core/test/pipeline.test.ts'],
  },
  standby: {
    files: ['packages/core/src/tunnel/standby.ts'],
    tests: ['packages/core/test/standby.test.ts'],
  },
};
