// Rules, as data, that say who may connect to which destination. The caller resolves names and answers clients.

import { BlockList, isIP, isIPv6 } from 'node:net';
import { canonical, isUnspecified } from './address.ts';
import { normalise } from './name-table.ts';
import type { Command } from './request.ts';

/** All that is given has to match; `{}` matches everything. */
export interface Match {
  /** A name: `example.com` is that name alone, `*.example.com` its subdomains. An address belongs into `cidr`. */
  readonly host?: string;
  /** One port, or the first and the last of a range. */
  readonly port?: number | readonly [first: number, last: number];
  /** `10.0.0.0/8`, `fc00::/7`, or one address: where the destination really is, also if a name led there. */
  readonly cidr?: string;
  /** The user name of SOCKS5, or the USERID of SOCKS4; the latter not on a server that wants passwords. */
  readonly user?: string;
  readonly command?: Command;
}

/** The first rule that matches decides. */
export type Rule = { readonly allow: Match } | { readonly deny: Match };

/** What a rule is applied to. An undefined field is not known yet; an undefined `user` means that there is none. */
export interface Subject {
  readonly command: Command;
  readonly user?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly address?: string | undefined;
}

/** True: allowed, also because no rule matches. Undefined: the answer depends on a field that is not known yet. */
export type Judge = (subject: Subject) => boolean | undefined;

/** One test of a rule. Undefined: the subject does not have the field yet. */
type Criterion = (subject: Subject) => boolean | undefined;

/** @throws TypeError for a rule that means nothing, or not what it seems to */
export function createJudge(rules: readonly Rule[] = []): Judge {
  const compiled = rules.map((rule) => {
    const { allow, deny, ...others }: { allow?: Match; deny?: Match } = rule;
    const match = allow ?? deny;
    if (!match || (allow && deny) || Object.keys(others).length > 0) throw invalid(rule);
    return { allowed: allow !== undefined, criteria: criteriaOf(match, rule) };
  });
  return (subject) => {
    for (const { allowed, criteria } of compiled) {
      const verdicts = new Set(criteria.map((criterion) => criterion(subject)));
      if (verdicts.has(false)) continue;
      return verdicts.has(undefined) ? undefined : allowed;
    }
    return true;
  };
}

function criteriaOf({ host, port, cidr, user, command, ...others }: Match, rule: Rule): Criterion[] {
  if (Object.keys(others).length > 0) throw invalid(rule);
  const criteria: Criterion[] = [];
  if (command !== undefined) criteria.push((subject) => subject.command === command);
  if (user !== undefined) criteria.push((subject) => subject.user === user);
  if (host !== undefined) criteria.push(hostCriterion(host, rule));
  if (port !== undefined) criteria.push(portCriterion(port, rule));
  if (cidr !== undefined) criteria.push(rangeCriterion(cidr, rule));
  return criteria;
}

function hostCriterion(pattern: string, rule: Rule): Criterion {
  const name = normalise(pattern);
  if (isIP(name) || !/^(?:\*\.)?[^*\s]+$/.test(name) || name.startsWith('.')) throw invalid(rule);
  const suffix = name.startsWith('*.') ? name.slice(1) : undefined;
  return ({ host }) => {
    if (host === undefined) return undefined;
    return suffix === undefined ? normalise(host) === name : normalise(host).endsWith(suffix);
  };
}

function portCriterion(port: number | readonly [number, number], rule: Rule): Criterion {
  const [first, last] = typeof port === 'number' ? [port, port] : port;
  if (![first, last].every((end) => Number.isInteger(end) && end >= 0 && end <= 65_535) || first > last) {
    throw invalid(rule);
  }
  return (subject) =>
    subject.port === undefined ? undefined : subject.port >= first && subject.port <= last;
}

// BlockList lets ::/0 match IPv4 addresses too; here a range holds addresses of its own family.
function rangeCriterion(cidr: string, rule: Rule): Criterion {
  const [network = '', length, ...others] = cidr.split('/');
  const written = isIPv6(network) ? 128 : 32;
  const prefix = length === undefined ? written : Number(length);
  if (
    !isIP(network) ||
    others.length > 0 ||
    !/^\d*$/.test(length ?? '') ||
    length === '' ||
    prefix > written
  ) {
    throw invalid(rule);
  }
  const base = canonical(network);
  const mapped = written === 128 && !isIPv6(base);
  if (mapped && prefix < 96) throw invalid(rule);
  const family = isIPv6(base) ? 'ipv6' : 'ipv4';
  const range = new BlockList();
  range.addSubnet(base, mapped ? prefix - 96 : prefix, family);
  return ({ address }) => {
    if (address === undefined) return undefined;
    const dialled = whereItLeads(canonical(address));
    return isIPv6(dialled) === isIPv6(base) && range.check(dialled, family);
  };
}

// A connection to 0.0.0.0 or :: ends at this machine, so a rule on 127.0.0.0/8 applies to it.
function whereItLeads(address: string): string {
  if (!isUnspecified(address)) return address;
  return isIPv6(address) ? '::1' : '127.0.0.1';
}

function invalid(rule: Rule): TypeError {
  return new TypeError(`not a rule: ${JSON.stringify(rule)}`);
}
