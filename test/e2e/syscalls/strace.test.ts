// The reader of strace's output, on lines as strace writes them.

import { describe, expect, test } from 'vitest';
import { MARKER, readTrace } from './strace.ts';
import type { Section } from './strace.ts';

describe('the reader of traces', () => {
  const read = (...lines: string[]): Section | undefined => readTrace(lines.join('\n')).get('');

  test('counts an unfinished call once, by the line that has its address', () => {
    expect(
      read(
        '12 connect(20, {sa_family=AF_INET, sin_port=htons(1080), sin_addr=inet_addr("192.0.2.1")}, 16 <unfinished ...>',
        '13 connect(21, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.53")}, 16) = 0',
        '12 <... connect resumed>) = -1 EINPROGRESS (Operation now in progress)',
      ),
    ).toEqual({ destinations: ['192.0.2.1:1080', '192.0.2.53:53'], lookups: 0 });
  });

  test('reads IPv6, Unix and abstract addresses', () => {
    expect(
      read(
        '12 connect(20, {sa_family=AF_INET6, sin6_port=htons(1080), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), sin6_scope_id=0}, 28) = 0',
        '12 connect(18, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT (No such file or directory)',
        '12 connect(18, {sa_family=AF_UNIX, sun_path=@"hidden"}, 110) = 0',
      ),
    ).toEqual({
      destinations: ['[2001:db8::1]:1080', 'unix:/var/run/nscd/socket', 'unix:hidden'],
      lookups: 0,
    });
  });

  test('sees datagrams with an address, however they are sent', () => {
    expect(
      read(
        '12 sendto(20, "\\1\\0\\0\\1", 4, 0, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("192.0.2.1")}, 16) = 4',
        '12 sendmsg(20, {msg_name={sa_family=AF_INET, sin_port=htons(5353), sin_addr=inet_addr("192.0.2.2")}, msg_namelen=16, msg_iov=[{iov_base="a", iov_len=1}], msg_iovlen=1, msg_controllen=0, msg_flags=0}, 0) = 1',
        '12 sendmmsg(20, [{msg_hdr={msg_name={sa_family=AF_INET6, sin6_port=htons(53), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::1", &sin6_addr), sin6_scope_id=0}, msg_namelen=28, msg_iov=[{iov_base="a", iov_len=1}], msg_iovlen=1}, msg_len=1}], 1, 0) = 1',
      )?.destinations,
    ).toEqual(['192.0.2.1:53', '192.0.2.2:5353', '[::1]:53']);
  });

  test('ignores what is sent on a connected socket, even if it looks like an address', () => {
    expect(
      read(
        '12 sendto(20, "{sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\\"192.0.2.1\\")}", 70, MSG_NOSIGNAL, NULL, 0) = 70',
        '12 sendto(20, [{nlmsg_len=20, nlmsg_type=RTM_GETADDR}], 20, 0, {sa_family=AF_NETLINK, nl_pid=0, nl_groups=00000000}, 12) = 20',
        '12 +++ exited with 0 +++',
      ),
    ).toEqual({ destinations: [], lookups: 0 });
  });

  test('tells sections apart, and counts look-ups', () => {
    const mark = (name: string) =>
      `12 connect(20, {sa_family=AF_UNIX, sun_path="${MARKER}${name}"}, 110) = -1 ENOENT`;
    const sections = readTrace(
      [
        mark('one'),
        '13 openat(AT_FDCWD, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 18',
        mark('two'),
        '13 openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC) = 18',
      ].join('\n'),
    );
    expect([...sections].map(([name, { lookups }]) => [name, lookups])).toEqual([
      ['', 0],
      ['one', 1],
      ['two', 0],
    ]);
  });
});
