// Drives Debian's Chromium through a proxy: opens a page with a style sheet, a script, a picture and a WebSocket, downloads
// a file, keeps a picture of the page, and prints what came of it all.

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import puppeteer from 'puppeteer-core';

const [proxy, url, folder, screenshot] = process.argv.slice(2);
const browser = await puppeteer.launch({
  executablePath: '/usr/bin/chromium',
  headless: true,
  userDataDir: join(folder, 'profile'),
  // As root there is no sandbox. Otherwise Chromium would not use a proxy for the loopback.
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    `--proxy-server=${proxy}`,
    '--proxy-bypass-list=<-loopback>',
  ],
});
const page = await browser.newPage();
await page.goto(url);
await page.waitForFunction('window.greeting !== undefined');
const seen = await page.evaluate(() => ({
  colour: getComputedStyle(document.body).color,
  picture: document.querySelector('img').naturalWidth,
  greeting: window.greeting,
}));
await page.screenshot({ path: screenshot });
const session = await browser.target().createCDPSession();
await session.send('Browser.setDownloadBehavior', { behavior: 'allow', downloadPath: folder });
await page.click('a');
const downloaded = join(folder, 'file.bin');
for (let i = 0; i < 200 && !existsSync(downloaded); i++) await wait(50);
await browser.close();
console.log(JSON.stringify({ ...seen, downloaded: existsSync(downloaded) }));
