// Where Grafana's grid puts panels: 24 columns, 30 pixels and a gap of 8 for each unit of height.
import type { Input, Panel } from './input';

const COLUMNS = 24;
const UNIT = 30;
const GAP = 8;
const MARGIN = 16;

export interface Place {
  panel: Panel;
  left: number;
  top: number;
  width: number;
  height: number;
  hidden?: boolean; // a collapsed row
}

/** The panels that are seen, those of collapsed rows too when the board is to be opened. */
function seen(panels: Panel[], open: boolean): Array<{ panel: Panel; y: number; hidden?: boolean }> {
  const found: Array<{ panel: Panel; y: number; hidden?: boolean }> = [];
  let moved = 0;
  for (const panel of panels) {
    const inside = panel.type === 'row' && panel.collapsed ? panel.panels ?? [] : [];
    const y = panel.gridPos.y + moved;
    found.push({ panel, y, hidden: inside.length > 0 && !open });
    if (inside.length > 0 && open) {
      const first = Math.min(...inside.map(({ gridPos }) => gridPos.y));
      const last = Math.max(...inside.map(({ gridPos }) => gridPos.y + gridPos.h));
      inside.forEach((each) => found.push({ panel: each, y: y + 1 + each.gridPos.y - first }));
      moved += last - first;
    }
  }
  return found;
}

export function places({ board, width, open }: Input): Place[] {
  const column = (width - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS;
  return seen(board.panels, open).map(({ panel, y, hidden }) => ({
    panel,
    hidden,
    left: MARGIN + panel.gridPos.x * (column + GAP),
    top: y * (UNIT + GAP),
    width: panel.gridPos.w * column + (panel.gridPos.w - 1) * GAP,
    height: panel.gridPos.h * UNIT + (panel.gridPos.h - 1) * GAP,
  }));
}
