// One line for each connection, without secrets.

/** How the connection of one client, or one request of an HTTP client, ended. */
export interface LogEntry {
  readonly protocol: string;
  /** `host:port`, as the client wrote it. */
  readonly destination: string | undefined;
  /** `open`, a code, or why the client was refused. */
  readonly result: string;
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly milliseconds: number;
}

/** @example socks5 origin.test:443: open, 517 bytes up, 3942 down, 35 ms */
export function printEntry({
  protocol,
  destination,
  result,
  bytesUp,
  bytesDown,
  milliseconds,
}: LogEntry): string {
  // By mistake a client can write a user and a password in front of the host, or a path and a query behind it.
  const to = destination === undefined ? '' : ` ${destination.replace(/^.*@/s, '').replace(/[/?#].*$/s, '')}`;
  const bytes = bytesUp + bytesDown > 0 ? `, ${bytesUp} bytes up, ${bytesDown} down` : '';
  return escape(`${protocol}${to}: ${result}${bytes}, ${Math.round(milliseconds)} ms`);
}

/** Control characters could forge lines, or command a terminal. */
function escape(text: string): string {
  // oxlint-disable-next-line no-control-regex -- they are what is replaced
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, (character) => {
    const code = character.charCodeAt(0).toString(16).padStart(2, '0');
    return `\\x${code}`;
  });
}
