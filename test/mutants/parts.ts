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
    files: [
      'packages/core/src/tunnel/{abort,attempt,chain,connection,demand,dial,drive,hops,lookup,progress,secure,sessions,trace}.ts',
    ],
    tests: [
      'packages/core/test/{coincidence,connect,demand,encapsulation,gssapi,lookup,options,route,secure-contexts,sessions,trace,vectors}.test.ts',
    ],
  },
  // Their tests take seconds, so that this part takes hours.
  attempts: {
    files: ['packages/core/src/tunnel/{alternatives,client,encapsulated,pipeline,standby}.ts'],
    tests: [
      'packages/core/test/{alternatives,connect,demand,encapsulation,gssapi,group,pipeline,race,route,standby}.test.ts',
    ],
  },
};
