// The public names of @socksify/server, and nothing else.

export type { Bound, Destination } from './address.ts';
export { converse, Incomplete } from './converse.ts';
export { encodeDatagram, parseDatagram } from './datagram.ts';
export type { Datagram } from './datagram.ts';
export { askIdent, isSameUser, parseIdent, Unidentified } from './ident.ts';
export type { PortPair } from './ident.ts';
export type { IdentOptions } from './identify.ts';
export type { LimitOptions } from './limits.ts';
export { printEntry } from './log.ts';
export type { Entry, RefusedClient } from './log.ts';
export type { NameTable } from './name-table.ts';
export {
  BROKEN_TUNNELS,
  CONVERSATIONS,
  granting,
  lengthOf,
  MISBEHAVIOURS,
  PIPELINED,
  refusal,
  slowly,
  stopping,
  STOPS,
} from './misbehaviour.ts';
export type { Conversation, Misbehaviour, Round } from './misbehaviour.ts';
export { negotiate } from './negotiate.ts';
export type { Policy, Step, Steps } from './negotiate.ts';
export { startRelay } from './relay.ts';
export type { Loss, Relay, RelayEvents, RelayOptions } from './relay.ts';
export { CD, encodeReply, REP, repOf } from './reply.ts';
export type { Rep } from './reply.ts';
export { readHello, readRequest5, readUserpass, Refusal } from './request.ts';
export type { Command, Greeting, Read, Reader, SocksRequest, Userpass } from './request.ts';
export { createJudge } from './rules.ts';
export type { Judge, Match, Rule, Subject } from './rules.ts';
export { startScript } from './script.ts';
export type { Script, ScriptedConnection, ScriptedServer, ScriptStep } from './script.ts';
export { startServer } from './server.ts';
export type { CloseOptions, ServerEvents, ServerOptions, SocksServer } from './server.ts';
export type { Traffic } from './tunnel.ts';
