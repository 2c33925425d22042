// What a start with the preload leaves out.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { execute, REGISTER } from './run-program.ts';

const folder = mkdtempSync(join(tmpdir(), 'socksify-start-'));
const patterns = join(folder, 'patterns.cjs');

// Prints the patterns of more than 500 characters that are matched. Node's own for IPv6 has 1500.
beforeAll(() =>
  writeFileSync(
    patterns,
    `const { exec } = RegExp.prototype;
     RegExp.prototype.exec = function (text) {
       if (this.source.length > 500) console.log('long pattern for ' + text);
       return exec.call(this, text);
     };`,
  ),
);
afterAll(() => rmSync(folder, { recursive: true }));

test.each(['', '1', 'tcp'])(
  'the start with SOCKSIFY_STRICT=%s does not match the long pattern for IPv6 addresses',
  async (strict) => {
    const env = {
      SOCKS_PROXY: 'socks5://127.0.0.1:1080',
      NO_PROXY: 'localhost, .example.com, 10.0.0.0/8',
      SOCKSIFY_STRICT: strict,
    };
    const source = `require('node:net').isIPv6('seen'); console.log('started');`;
    const ended = await execute(
      process.execPath,
      ['--require', patterns, '--require', REGISTER, '--eval', source],
      env,
    );
    expect(ended).toMatchObject({ stdout: 'long pattern for seen\nstarted\n', stderr: '', status: 0 });
  },
);
