// What is seen on a drawn board, panel by panel: read from the page, not from the JSON.
import type { Notes } from './board';
import type { Input, Panel } from './input';
import { places } from './layout';
import type { Probed } from './probe';

export interface Cell {
  column: string;
  text: string;
  cut: boolean; // wider than its column
  overlaps: boolean; // over its neighbours, as two lines in a row for one
}

export interface Facts {
  id: number;
  title: string;
  type: string;
  rows: number;
  nothing: boolean;
  emptyAxis: boolean; // a chart without a line, where a sentence should be
  failed: string | null;
  titleCut: boolean;
  smallestText: number | null;
  values: Array<{ title?: string; text: string; isTime: boolean }>;
  headers: Cell[];
  cells: Cell[];
  thresholds: Probed[];
  sentences: number; // cells that show the panel's `noValue`
}

const TOLERANCE = 1.5;

/** Texts that reach out of their element, over what is above, below or beside it. */
function leaks(element: Element): boolean {
  const own = element.getBoundingClientRect();
  const range = document.createRange();
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    range.selectNodeContents(walker.currentNode);
    for (const { top, bottom, left, right, width } of range.getClientRects()) {
      if (width > 0 && (top < own.top - TOLERANCE || bottom > own.bottom + TOLERANCE || left < own.left - TOLERANCE || right > own.right + TOLERANCE)) {
        return true;
      }
    }
  }
  return false;
}

function isCut(element: Element): boolean {
  const all = [element, ...element.querySelectorAll('*')] as HTMLElement[];
  return all.some((each) => each.scrollWidth > each.clientWidth + 1 && each.clientWidth > 0 && getComputedStyle(each).overflowX !== 'visible');
}

function smallestText(element: Element): number | null {
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  let smallest: number | null = null;
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!parent || !walker.currentNode.textContent?.trim() || ['TITLE', 'STYLE', 'SCRIPT'].includes(parent.tagName.toUpperCase())) {
      continue;
    }
    const box = parent.getBoundingClientRect();
    if (box.width === 0 || box.height === 0 || getComputedStyle(parent).visibility === 'hidden') {
      continue;
    }
    const size = parseFloat(getComputedStyle(parent).fontSize);
    smallest = smallest === null ? size : Math.min(smallest, size);
  }
  return smallest;
}

function cellsOf(element: Element, selector: string, names: string[]): Cell[] {
  return [...element.querySelectorAll(selector)].map((cell) => ({
    column: names[Number(cell.getAttribute('aria-colindex')) - 1] ?? '',
    text: cell.textContent ?? '',
    cut: isCut(cell),
    overlaps: leaks(cell),
  }));
}

function ofPanel(panel: Panel, notes: Notes): Facts {
  const element = document.querySelector(`[data-panel="${panel.id}"]`)!;
  const noted = notes.get(panel.id) ?? {};
  const title = element.querySelector('h2, h6, [data-testid*="header"] [title]');
  const headers = cellsOf(element, '[role="columnheader"]', []);
  const names = headers.map(({ text }) => text);
  headers.forEach((header) => (header.column = header.text));
  const cells = cellsOf(element, '[role="gridcell"]', names);
  const sentence = panel.fieldConfig?.defaults?.noValue;
  return {
    id: panel.id,
    title: panel.title,
    type: panel.type,
    rows: (noted.rows as number) ?? 0,
    nothing: panel.type === 'text' ? !element.textContent?.trim() : (noted.isEmpty as boolean) ?? true,
    emptyAxis: (noted.lines as number) === 0 && element.querySelector('[data-nothing]') === null,
    failed: element.querySelector('[data-failed]')?.textContent ?? null,
    titleCut: title !== null && isCut(title),
    smallestText: smallestText(element),
    values: (noted.values as Facts['values']) ?? [],
    headers,
    cells,
    thresholds: [],
    sentences: sentence ? cells.filter(({ text }) => text === sentence).length : 0,
  };
}

export function factsOf(input: Input, notes: Notes): Facts[] {
  return places(input)
    .filter(({ panel }) => panel.type !== 'row')
    .map(({ panel }) => ofPanel(panel, notes));
}
