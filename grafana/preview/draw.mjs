// Draws boards in one headless Chromium: `node draw.mjs JOBS.json`, where JOBS is {chromium, limit, jobs: [{input, png}]}.
// For each job it prints one line of JSON: what the page saw, or the error. `input` and `png` are paths; png may be null.
// One page draws them all: a second one would be in the background, where a browser draws nothing and loads no font.
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import puppeteer from 'puppeteer-core';

const PAGE = pathToFileURL(join(dirname(fileURLToPath(import.meta.url)), 'dist', 'index.html')).href;

async function open(browser, limit) {
  const page = await browser.newPage();
  page.setDefaultTimeout(limit);
  const errors = [];
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  page.on('pageerror', (error) => errors.push(String(error)));
  page.on('requestfailed', (request) => errors.push(`${request.url()}: ${request.failure()?.errorText}`));
  await page.goto(PAGE);
  return { page, errors };
}

async function drawn({ page, errors }, { input, png }) {
  const given = JSON.parse(await readFile(input, 'utf8'));
  errors.length = 0;
  const height = await page.evaluate((each) => window.heightOf(each), given);
  await page.setViewport({ width: given.width, height: Math.ceil(height) });
  const facts = await page.evaluate((each) => window.draw(each), given);
  if (png) {
    await page.screenshot({ path: png });
  }
  return { ...facts, errors: [...errors] };
}

const { chromium, limit, jobs } = JSON.parse(await readFile(process.argv[2], 'utf8'));
const browser = await puppeteer.launch({
  executablePath: chromium,
  headless: true,
  protocolTimeout: limit,
  timeout: limit,
  args: ['--no-sandbox', '--allow-file-access-from-files', '--force-color-profile=srgb', '--font-render-hinting=none'],
  env: { ...process.env, TZ: 'America/New_York' },
});
try {
  const opened = await open(browser, limit);
  for (const [number, job] of jobs.entries()) {
    const result = await drawn(opened, job).catch((error) => ({ error: [String(error), ...opened.errors].join('; ') }));
    process.stdout.write(`${JSON.stringify({ number, ...result })}\n`);
  }
} finally {
  await browser.close();
}
