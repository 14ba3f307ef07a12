// Bundles the page into dist/, with the icons beside it where Grafana's components look for them.
import { cp, mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { dirname, join } from 'node:path';

import { build } from 'esbuild';

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, 'dist');
const empty = join(here, 'page', 'empty.ts');

await mkdir(out, { recursive: true });
await build({
  entryPoints: { main: join(here, 'page', 'main.tsx') },
  outdir: out,
  bundle: true,
  format: 'iife',
  jsx: 'automatic',
  target: 'es2022',
  minify: true,
  legalComments: 'linked',
  logLevel: 'warning',
  define: { 'process.env.NODE_ENV': '"production"', 'process.env': '{}', global: 'globalThis' },
  alias: { 'monaco-editor': empty, '@monaco-editor/react': empty },
  plugins: [
    {
      name: 'no-monaco',
      setup(bundler) {
        bundler.onResolve({ filter: /^monaco-editor\// }, () => ({ path: empty }));
      },
    },
  ],
});
await cp(join(here, 'page', 'index.html'), join(out, 'index.html'));
const images = join(here, 'node_modules', '@grafana', 'ui', 'dist', 'public', 'img');
await cp(images, join(out, 'public', 'build', 'img'), { recursive: true });

const fonts = { inter: ['Inter', '400:Regular', '500:Medium'], 'roboto-mono': ['RobotoMono', '400:Regular', '500:Medium'] };
for (const [name, [title, ...weights]] of Object.entries(fonts)) {
  for (const [weight, word] of weights.map((each) => each.split(':'))) {
    const file = join(here, 'node_modules', '@fontsource', name, 'files', `${name}-latin-${weight}-normal.woff2`);
    await cp(file, join(out, 'public', 'fonts', name, `${title}-${word}.woff2`));
  }
}
console.log('built');
