// The public names of @socksify/server, and nothing else.

export { converse, Incomplete } from './converse.ts';
export { printEntry } from './log.ts';
export type { Entry, RefusedClient } from './log.ts';
export type { NameTable } from './names.ts';
export { negotiate } from './negotiate.ts';
export type { Policy, Step, Steps } from './negotiate.ts';
export { startRelay } from './relay.ts';
export type { Relay, RelayOptions } from './relay.ts';
export { CD, encodeReply, REP, repOf } from './reply.ts';
export type { Bound, Rep } from './reply.ts';
export { readHello, readRequest5, readUserpass, Refusal } from './request.ts';
export type { Command, Greeting, Read, Reader, SocksRequest, Userpass } from './request.ts';
export { startScript } from './script.ts';
export type { Script, ScriptedConnection, ScriptedServer, ScriptStep } from './script.ts';
export { startServer } from './server.ts';
export type { ServerEvents, ServerOptions, SocksServer } from './server.ts';
export type { Traffic } from './tunnel.ts';
