// How the steps of a handshake are carried out, without a socket.

import { Duplex } from 'node:stream';
import { describe, expect, test } from 'vitest';
import type { Step, Steps } from '../src/protocol/step.ts';
import type { Attempt } from '../src/tunnel/attempt.ts';
import { Connection, StreamClosed } from '../src/tunnel/connection.ts';
import { drive } from '../src/tunnel/drive.ts';
import { parseProxy } from '../src/proxy.ts';
import { Progress } from '../src/tunnel/progress.ts';

interface Ended {
  reason: unknown;
}

const RESET = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });

/** A connection that has received these bytes, and ends with this reason when more are read. */
function connectionWith(bytes: readonly number[], reason: unknown = RESET) {
  const written: number[][] = [];
  const connection = {
    received: 0,
    ended: undefined as Ended | undefined,
    stream: { write: (data: Uint8Array) => void written.push([...data]) },
    read(length: number): Uint8Array | undefined {
      return length > bytes.length ? undefined : Uint8Array.from(bytes.slice(0, length));
    },
    async until(): Promise<never> {
      connection.received = bytes.length;
      connection.ended = { reason };
      throw reason;
    },
    race: (wait: Promise<unknown>) => wait,
  };
  return { connection: connection as unknown as Connection, raw: connection, written };
}

function attemptWith(throwIfStopped: () => void = () => {}) {
  const entered: string[] = [];
  const progress = new Progress({ host: 'origin.test', port: 80 });
  const enter = progress.enter.bind(progress);
  progress.enter = (phase, hop) => {
    entered.push(phase);
    enter(phase, hop);
  };
  return { attempt: { progress, throwIfStopped } as unknown as Attempt, entered };
}

async function rejected(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => expect.unreachable('it resolved'),
    (reason: unknown) => reason,
  );
}

function* reading(length: number, phase: 'greeting' | 'request' | 'authentication'): Steps<Uint8Array> {
  return yield { read: length, phase };
}

/** Steps that wait for a promise, and return what it rejects with. */
function* waitingFor(rejection: unknown): Steps<unknown> {
  try {
    yield { wait: Promise.reject(rejection) };
  } catch (error) {
    return error;
  }
  return undefined;
}

describe('steps', () => {
  test('write, get the bytes that they read, and give their result', async () => {
    const { connection, written } = connectionWith([5, 0]);
    function* steps(): Steps<number[]> {
      yield { write: Uint8Array.of(5, 1, 0) };
      const answer = yield { read: 2, phase: 'greeting' };
      return [...answer];
    }
    expect(await drive(steps(), connection)).toEqual([5, 0]);
    expect(written).toEqual([[5, 1, 0]]);
  });

  test('enter each phase once, however often they read in it', async () => {
    const { attempt, entered } = attemptWith();
    function* steps(): Steps<void> {
      yield { read: 1, phase: 'greeting' };
      yield { read: 1, phase: 'greeting' };
      yield { read: 1, phase: 'request' };
    }
    await drive(steps(), connectionWith([5]).connection, attempt);
    expect(entered).toEqual(['greeting', 'request']);
  });

  test('get the rejection of a promise that they wait for', async () => {
    const refused = new Error('no ticket');
    expect(await drive(waitingFor(refused), connectionWith([]).connection)).toBe(refused);
  });

  test.each([undefined, null])('get %o, too, as the rejection of a promise', async (refused) => {
    const caught: unknown[] = [];
    function* steps(): Steps<string> {
      try {
        yield { wait: Promise.reject(refused) };
      } catch (error) {
        caught.push(error);
      }
      return 'done';
    }
    expect(await drive(steps(), connectionWith([]).connection, attemptWith().attempt)).toBe('done');
    expect(caught).toEqual([refused]);
  });

  test.each<[string, unknown]>([
    ['nothing', undefined],
    ['null', null],
    ['a number', 5],
    ['an empty object', {}],
    ['bytes', Buffer.from([1])],
    ['a number to write', { write: 5 }],
    ['null to write', { write: null }],
    ['a list to write', { write: [1] }],
    ['text in place of a number to read', { read: '2', phase: 'greeting' }],
    ['no number to read', { read: undefined, phase: 'greeting' }],
    ['a negative number to read', { read: -1, phase: 'greeting' }],
    ['half a byte to read', { read: 0.5, phase: 'greeting' }],
    ['NaN bytes to read', { read: Number.NaN, phase: 'greeting' }],
    ['endless bytes to read', { read: Infinity, phase: 'greeting' }],
    ['no promise to wait for', { wait: 5 }],
  ])('get the error of a step that nobody can carry out: %s', async (_, step) => {
    function* steps(): Steps<unknown> {
      try {
        yield step as Step;
      } catch (error) {
        return error;
      }
      return undefined;
    }
    // A stream that writes and reads nothing, but checks what it is given.
    const stream = new Duplex({ read() {}, write() {} });
    const connection = new Connection(stream);
    expect(await drive(steps(), connection)).toBeInstanceOf(TypeError);
    expect(stream.destroyed).toBe(false);
    stream.destroy();
  });

  test('do not get the end of the connection as the rejection of what they wait for', async () => {
    const reason = new Error('reset');
    const { connection, raw } = connectionWith([]);
    raw.ended = { reason };
    const caught: unknown[] = [];
    function* steps(): Steps<void> {
      try {
        yield { wait: Promise.reject(reason) };
      } catch (error) {
        caught.push(error);
      }
    }
    expect(await rejected(drive(steps(), connection))).toBe(reason);
    expect(caught).toEqual([]);
  });

  test('get a rejection that is not the end of the connection, also when it has ended', async () => {
    const refused = new Error('no ticket');
    const { connection, raw } = connectionWith([]);
    raw.ended = { reason: RESET };
    expect(await drive(waitingFor(refused), connection)).toBe(refused);
  });

  test('may read no bytes', async () => {
    expect(await drive(reading(0, 'authentication'), connectionWith([]).connection)).toEqual(
      new Uint8Array(),
    );
  });

  test('that are left in the middle run their finally blocks, whose errors are dropped', async () => {
    const reason = new Error('reset');
    let closed = 0;
    function* steps(): Generator<Step, void, Uint8Array> {
      try {
        yield { read: 1, phase: 'greeting' };
      } finally {
        closed++;
        // oxlint-disable-next-line no-unsafe-finally
        throw new Error('a later error');
      }
    }
    expect(await rejected(drive(steps(), connectionWith([], reason).connection))).toBe(reason);
    expect(closed).toBe(1);
  });
});

describe('the end of the connection', () => {
  test('is ERR_SOCKS_PROXY_CLOSED with its reason as the cause', async () => {
    const reason = new Error('reset');
    const { connection } = connectionWith([], reason);
    const error = await rejected(drive(reading(2, 'authentication'), connection, attemptWith().attempt));
    expect(error).toMatchObject({ code: 'ERR_SOCKS_PROXY_CLOSED', phase: 'authentication', cause: reason });
    expect(String(error)).not.toContain('bytes into');
  });

  test('has no cause when the stream only closed', async () => {
    const { connection } = connectionWith([], new StreamClosed());
    const error = await rejected(drive(reading(2, 'greeting'), connection, attemptWith().attempt));
    expect(error).toMatchObject({ code: 'ERR_SOCKS_PROXY_CLOSED' });
    expect((error as Error).cause).toBeUndefined();
  });

  test.each(['greeting', 'request'] as const)(
    'before the answer to the %s says that OpenSSH closes so',
    async (phase) => {
      const { connection } = connectionWith([]);
      const error = await rejected(drive(reading(2, phase), connection, attemptWith().attempt));
      expect(String(error)).toContain('OpenSSH');
      expect(String(error)).not.toContain('bytes into');
    },
  );

  test.each([4, 5] as const)(
    'before the reply of SOCKS%d names SOCKS5 if SOCKS4 was tried',
    async (version) => {
      const { attempt } = attemptWith();
      attempt.progress.hop = { proxy: parseProxy(`socks${version}://h`) };
      const error = await rejected(drive(reading(2, 'request'), connectionWith([]).connection, attempt));
      expect(String(error).includes('try socks5://')).toBe(version === 4);
    },
  );

  test('before the answer to the credentials has no hint', async () => {
    const { connection } = connectionWith([]);
    const error = await rejected(drive(reading(2, 'authentication'), connection, attemptWith().attempt));
    expect(error).not.toHaveProperty('hint');
  });

  test('for another reason than an error of the socket says nothing of OpenSSH', async () => {
    const { connection } = connectionWith([], new TypeError('seal is not a function'));
    const error = await rejected(drive(reading(2, 'request'), connection, attemptWith().attempt));
    expect(error).toMatchObject({ code: 'ERR_SOCKS_PROXY_CLOSED' });
    expect(String(error)).not.toContain('OpenSSH');
  });

  test('inside an answer says how many bytes came, and nothing of OpenSSH', async () => {
    const { connection } = connectionWith([5]);
    const error = await rejected(drive(reading(2, 'greeting'), connection, attemptWith().attempt));
    expect(String(error)).toContain('1 bytes into an answer');
    expect(String(error)).not.toContain('OpenSSH');
  });

  test.each([
    ['socks5s', 'ERR_SOCKS_PROXY_TLS', 'proxy-tls'],
    ['socks5', 'ERR_SOCKS_PROXY_CLOSED', 'greeting'],
  ])('by an alert of TLS is an error of TLS if the proxy is behind TLS: %s', async (scheme, code, phase) => {
    const { attempt } = attemptWith();
    attempt.progress.hop = { proxy: parseProxy(`${scheme}://h`) };
    const alert = Object.assign(new Error('alert'), { code: 'ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED' });
    const error = await rejected(
      drive(reading(2, 'greeting'), connectionWith([], alert).connection, attempt),
    );
    expect(error).toMatchObject({ code, phase, cause: alert });
  });

  test('counts the bytes from the last message that was written', async () => {
    const { connection, raw } = connectionWith([5]);
    raw.received = 40;
    function* steps(): Steps<number> {
      yield { write: Uint8Array.of(1) };
      return raw.received;
    }
    expect(await drive(steps(), connection)).toBe(0);
  });

  test('is not the error when the attempt has stopped: that one has its own reason', async () => {
    const stopped = new Error('aborted');
    const { attempt } = attemptWith(() => {
      throw stopped;
    });
    const { connection } = connectionWith([]);
    expect(await rejected(drive(reading(2, 'greeting'), connection, attempt))).toBe(stopped);
  });
});

test('an error of the steps is thrown unchanged, also when the attempt has stopped', async () => {
  const wrong = new Error('wrong version');
  // oxlint-disable-next-line require-yield
  function* steps(): Steps<void> {
    throw wrong;
  }
  const { attempt } = attemptWith(() => {
    throw new Error('aborted');
  });
  expect(await rejected(drive(steps(), connectionWith([]).connection, attempt))).toBe(wrong);
});
