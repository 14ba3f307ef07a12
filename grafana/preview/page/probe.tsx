// Draws a table with one row for each threshold, to see in which colours its cells show them.
import { createRoot } from 'react-dom/client';
import { flushSync } from 'react-dom';
import { type DataFrame, type Field, FieldType, type GrafanaTheme2, type Threshold, ThemeContext } from '@grafana/data';
import { TableNG } from '@grafana/ui/unstable';

export interface Probed {
  column: string;
  steps: Array<{ color: string; painted: string }>;
}

/** The steps of a number that some value can be in: one that begins where the next does holds none. */
function steps({ type, config }: Field): Threshold[] {
  const all = type === FieldType.number ? config.thresholds?.steps ?? [] : [];
  return all.filter(({ value }, at) => value !== all[at + 1]?.value);
}

/** A value within a step: above its begin, and below the next one's. */
function within(all: Threshold[], at: number): number {
  const [begin, next] = [all[at].value, all[at + 1]?.value];
  if (!Number.isFinite(begin)) {
    return next - 1;
  }
  return next === undefined ? begin + 1 : (begin + next) / 2;
}

const wanted = (field: Field) => new Set(steps(field).map(({ color }) => color)).size > 1;

function probing(frame: DataFrame): DataFrame {
  const rows = Math.max(...frame.fields.map((field) => steps(field).length));
  const fields = frame.fields.map((field) => ({
    ...field,
    values: Array.from({ length: rows }, (_, row) =>
      wanted(field) ? within(steps(field), Math.min(row, steps(field).length - 1)) : field.values[0]
    ),
  }));
  return { ...frame, fields, length: rows };
}

/** Every colour that a cell is painted with, its bars included. */
function painted(cell: Element): string {
  const all = [cell, ...cell.querySelectorAll('*')].map((each) => getComputedStyle(each));
  return all.map(({ color, backgroundColor, backgroundImage }) => `${color} ${backgroundColor} ${backgroundImage}`).join('|');
}

const frameRests = () => new Promise((resolve) => setTimeout(resolve, 60));

/** The colours of the columns with thresholds of a table that is drawn for this only. */
export async function probe(frame: DataFrame, theme: GrafanaTheme2): Promise<Probed[]> {
  if (frame.length === 0 || !frame.fields.some(wanted)) {
    return [];
  }
  const holder = document.createElement('div');
  Object.assign(holder.style, { position: 'absolute', left: '-5000px', top: '0' });
  document.body.append(holder);
  const root = createRoot(holder);
  const made = probing(frame);
  flushSync(() =>
    root.render(
      <ThemeContext.Provider value={theme}>
        <TableNG data={made} width={3000} height={600} enableVirtualization={false} />
      </ThemeContext.Provider>
    )
  );
  await frameRests();
  const names = [...holder.querySelectorAll('[role="columnheader"]')].map((header) => header.textContent ?? '');
  const cells = [...holder.querySelectorAll('[role="gridcell"]')];
  const found = made.fields.filter(wanted).flatMap((field) => {
    const column = field.state?.displayName ?? field.name;
    const place = names.indexOf(column);
    const own = cells.filter((cell) => Number(cell.getAttribute('aria-colindex')) === place + 1);
    return place < 0 ? [] : [{ column, steps: steps(field).map(({ color }, row) => ({ color, painted: own[row] ? painted(own[row]) : '' })) }];
  });
  root.unmount();
  holder.remove();
  return found;
}
