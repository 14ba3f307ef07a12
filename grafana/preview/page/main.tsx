import 'uplot/dist/uPlot.min.css';

import { flushSync } from 'react-dom';
import { type Root, createRoot } from 'react-dom/client';
import { type DataFrame, createTheme, ThemeContext } from '@grafana/data';
import { GlobalStyles, PortalContainer } from '@grafana/ui';

import { Board, type Notes, heightOf } from './board';
import { factsOf } from './facts';
import type { Input } from './input';
import { probe } from './probe';
import { fillRegistries } from './registries';

const QUIET_MS = 250;
const MOST_MS = 15_000;

(window as any).__grafana_public_path__ = 'public/';
fillRegistries();

let root: Root | undefined;

/** Resolves when the page has not changed for a while; false when it never came to rest. */
function rest(): Promise<boolean> {
  return new Promise((resolve) => {
    const began = performance.now();
    let last = began;
    const observer = new MutationObserver(() => (last = performance.now()));
    observer.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
    const look = () => {
      const now = performance.now();
      if (now - last > QUIET_MS || now - began > MOST_MS) {
        observer.disconnect();
        resolve(now - last > QUIET_MS);
      } else {
        setTimeout(look, 50);
      }
    };
    look();
  });
}

/** Draw a board, and say what is seen on it. */
async function draw(input: Input) {
  root?.unmount();
  const theme = createTheme({ colors: { mode: input.theme } });
  const notes: Notes = new Map();
  const holder = document.getElementById('board')!;
  root = createRoot(holder);
  const drawn = root;
  flushSync(() => drawn.render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <Board input={input} theme={theme} notes={notes} />
      <PortalContainer />
    </ThemeContext.Provider>
  ));
  await document.fonts.ready;
  const rested = await rest();
  await document.fonts.ready;
  const panels = factsOf(input, notes);
  for (const panel of input.probe ? panels.filter(({ type }) => type === 'table') : []) {
    panel.thresholds = notes.get(panel.id)?.frame ? await probe(notes.get(panel.id)!.frame as DataFrame, theme) : [];
  }
  return { rested, height: heightOf(input), panels };
}

Object.assign(window, { draw, heightOf });
