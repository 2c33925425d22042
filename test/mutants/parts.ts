// The parts of the packages that Stryker changes, each with the tests that run against its mutants: those that take
// milliseconds, because they run hundreds of times.

export const PARTS: Record<string, { readonly files: string[]; readonly tests: string[] }> = {
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
  tunnel: {
    files: ['packages/core/src/tunnel/*.ts'],
    tests: [
      'packages/core/test/{connect,lookup,standby,sessions,route,ownership,gssapi,encapsulation,trace,alternatives}.test.ts',
    ],
  },
};
