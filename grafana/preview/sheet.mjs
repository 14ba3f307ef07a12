// Puts pictures side by side: `node sheet.mjs PLAN.json`, where PLAN is {chromium, limit, sheets}, and a sheet is
// {tiles: [{png, caption}], columns, width, height, webp}. `height` is what is shown of a tile, from its top; null is all of it.
import { readFile } from 'node:fs/promises';

import puppeteer from 'puppeteer-core';

const QUALITY = 72;
const GAP = 12;

async function page({ tiles, columns, width, height }) {
  const each = Math.floor((width - GAP * (columns + 1)) / columns);
  const figures = await Promise.all(
    tiles.map(async ({ png, caption }) => {
      const data = (await readFile(png)).toString('base64');
      const shown = height === null ? '' : `height:${height}px;object-fit:cover;object-position:top;`;
      const words = caption ? `<figcaption>${caption}</figcaption>` : '';
      return `<figure>${words}<img style="width:${each}px;${shown}" src="data:image/png;base64,${data}"></figure>`;
    })
  );
  return `<style>
    body { margin: 0; padding: ${GAP}px; background: #111217; color: #ccccdc; font: 500 14px sans-serif; }
    main { display: grid; grid-template-columns: repeat(${columns}, ${each}px); gap: ${GAP}px; }
    figure { margin: 0; } figcaption { padding-bottom: 4px; } img { display: block; }
  </style><main>${figures.join('')}</main>`;
}

const { chromium, limit, sheets } = JSON.parse(await readFile(process.argv[2], 'utf8'));
const browser = await puppeteer.launch({
  executablePath: chromium,
  headless: true,
  protocolTimeout: limit,
  timeout: limit,
  args: ['--no-sandbox', '--force-color-profile=srgb', '--font-render-hinting=none'],
});
try {
  const opened = await browser.newPage();
  for (const sheet of sheets) {
    await opened.setViewport({ width: sheet.width, height: 100 });
    await opened.setContent(await page(sheet), { waitUntil: 'load' });
    await opened.screenshot({ path: sheet.webp, type: 'webp', quality: QUALITY, fullPage: true });
  }
} finally {
  await browser.close();
}
