// A board: its head, its rows, and its panels in their places.
import { Component, type ReactNode, useEffect, useState } from 'react';
import {
  type DataFrame,
  type Field,
  FieldType,
  type GrafanaTheme2,
  applyFieldOverrides,
  cacheFieldDisplayNames,
  dateTime,
  dateTimeFormat,
  transformDataFrame,
} from '@grafana/data';
import { Icon, PanelChrome } from '@grafana/ui';

import { framesOf } from './frames';
import type { Answered, Input, Panel } from './input';
import { type Place, places } from './layout';
import { BarChart } from './panels/barchart';
import { BarGauge } from './panels/bargauge';
import { Candlestick } from './panels/candlestick';
import type { Drawn } from './panels/drawn';
import { Gauge } from './panels/gauge';
import { Nothing } from './panels/nothing';
import { Stat } from './panels/stat';
import { StateTimeline } from './panels/state_timeline';
import { Table } from './panels/table';
import { Text } from './panels/text';
import { TimeSeries } from './panels/timeseries';
import { completed, optionsOf } from './registries';
import { replacing } from './words';

export const KINDS: Record<string, (drawn: Drawn) => ReactNode> = {
  stat: Stat,
  gauge: Gauge,
  bargauge: BarGauge,
  table: Table,
  timeseries: TimeSeries,
  barchart: BarChart,
  candlestick: Candlestick,
  'state-timeline': StateTimeline,
  text: Text,
};

export type Notes = Map<number, Record<string, unknown>>;

const HEAD = 48;
const EMPTY: Answered = { span: { from: 0, to: 0 }, interval: 1000, answers: [] };

/** A time says nothing by itself, and a number that is none is not drawn. */
function hasValue({ type, values }: Field): boolean {
  return type === FieldType.number
    ? values.some((value) => Number.isFinite(value))
    : type !== FieldType.time && values.some((value) => value !== null && value !== '');
}

function range({ from, to }: { from: number; to: number }) {
  const [begin, end] = [dateTime(from), dateTime(to)];
  return { from: begin, to: end, raw: { from: begin, to: end } };
}

function useFrames(panel: Panel, answered: Answered, input: Input, theme: GrafanaTheme2): DataFrame[] | undefined {
  const [frames, setFrames] = useState<DataFrame[]>();
  useEffect(() => {
    const replace = replacing(input);
    const found = transformDataFrame(panel.transformations ?? [], framesOf(answered), { interpolate: replace } as any);
    const subscription = found.subscribe((transformed) => {
      const config = completed(panel.type, panel.fieldConfig);
      const made = applyFieldOverrides({
        data: transformed,
        fieldConfig: config,
        fieldConfigRegistry: optionsOf(panel.type, config),
        replaceVariables: replace,
        theme,
        timeZone: input.board.timezone,
      });
      cacheFieldDisplayNames(made);
      setFrames(made);
    });
    return () => subscription.unsubscribe();
  }, [panel, answered, input, theme]);
  return frames;
}

function Body({ panel, input, theme, width, height, notes }: { panel: Panel; input: Input; theme: GrafanaTheme2; width: number; height: number; notes: Notes }) {
  const answered = input.panels[panel.id] ?? EMPTY;
  const frames = useFrames(panel, answered, input, theme);
  const errors = answered.answers.flatMap(({ error }) => error ?? []);
  if (!frames) {
    return null;
  }
  if (errors.length > 0) {
    return <div data-failed="" style={{ color: theme.colors.error.text }}>{errors.join('\n')}</div>;
  }
  const Kind = KINDS[panel.type];
  if (!Kind) {
    return <div data-failed="">this preview cannot draw a {panel.type}</div>;
  }
  const rows = frames.reduce((most, { length }) => Math.max(most, length), 0);
  const isEmpty = !frames.some(({ fields }) => fields.some(hasValue));
  const note = (facts: Record<string, unknown>) => notes.set(panel.id, { ...notes.get(panel.id), ...facts });
  note({ rows, isEmpty });
  const drawn: Drawn = {
    panel,
    frames,
    config: completed(panel.type, panel.fieldConfig),
    theme,
    timeZone: input.board.timezone,
    range: range(answered.span),
    width,
    height,
    replace: replacing(input),
    annotations: input.annotations,
    note,
  };
  const single = ['stat', 'gauge', 'bargauge', 'text'].includes(panel.type);
  return rows === 0 && !single ? <Nothing {...drawn} /> : <Kind {...drawn} />;
}

/** A panel that cannot be drawn says so, and the others are drawn all the same. */
class Guard extends Component<{ children: ReactNode }, { error?: Error }> {
  state: { error?: Error } = {};
  static getDerivedStateFromError = (error: Error) => ({ error });
  render() {
    return this.state.error ? <div data-failed="">{String(this.state.error)}</div> : this.props.children;
  }
}

function Row({ place: { panel, left, top, width, hidden }, title }: { place: Place; title: string }) {
  return (
    <div style={{ position: 'absolute', left, top, width, height: 30, display: 'flex', alignItems: 'center', gap: 8 }} data-row={panel.id}>
      <Icon name={hidden ? 'angle-right' : 'angle-down'} />
      <span style={{ fontWeight: 500 }}>{title}</span>
      {hidden ? <span style={{ opacity: 0.6, fontSize: 12 }}>({panel.panels?.length} panels)</span> : null}
    </div>
  );
}

export function heightOf(input: Input): number {
  return HEAD + Math.max(...places(input).map(({ top, height }) => top + height)) + 16;
}

export function Board({ input, theme, notes }: { input: Input; theme: GrafanaTheme2; notes: Notes }) {
  const { board, span, variables } = input;
  const format = (at: number) => dateTimeFormat(at, { timeZone: board.timezone });
  const replace = replacing(input);
  return (
    <div style={{ width: input.width, height: heightOf(input), position: 'relative', background: theme.colors.background.canvas }}>
      <div style={{ height: HEAD, padding: '0 16px', display: 'flex', alignItems: 'center', gap: 8, overflow: 'hidden' }}>
        <span style={{ fontSize: 18, marginRight: 8, whiteSpace: 'nowrap' }}>{board.title}</span>
        <div style={{ display: 'flex', gap: 8, alignItems: 'center', flex: 1, minWidth: 0, overflow: 'hidden' }}>
          {variables.filter(({ hide }) => hide !== 2).map(({ name, label, text }) => (
            <span key={name} style={{ border: `1px solid ${theme.colors.border.medium}`, borderRadius: 2, padding: '2px 8px', fontSize: 12, whiteSpace: 'nowrap' }}>
              {label || name}: <b>{text}</b>
            </span>
          ))}
          {input.annotations.map(({ name, enabled }) => (
            <span key={name} style={{ fontSize: 12, opacity: enabled ? 1 : 0.5, whiteSpace: 'nowrap' }}>
              {enabled ? '◉' : '○'} {name}
            </span>
          ))}
        </div>
        <span style={{ marginLeft: 'auto', fontSize: 12, whiteSpace: 'nowrap', flexShrink: 0, background: theme.colors.background.canvas }}>
          {format(span.from)} … {format(span.to)}
          {board.refresh ? ` · refresh ${board.refresh}` : ''}
        </span>
      </div>
      <div style={{ position: 'absolute', top: HEAD, left: 0 }}>
        {places(input).map((place) => {
          const { panel, left, top, width, height } = place;
          if (panel.type === 'row') {
            return <Row key={panel.id} place={place} title={replace(panel.title)} />;
          }
          const timeInfo = input.panels[panel.id]?.timeInfo;
          return (
            <div key={panel.id} style={{ position: 'absolute', left, top, width, height }} data-panel={panel.id}>
              <PanelChrome
                width={width}
                height={height}
                title={replace(panel.title)}
                description={panel.description}
                displayMode={panel.transparent ? 'transparent' : 'default'}
                titleItems={timeInfo ? [<span key="time" style={{ fontSize: 12, opacity: 0.7, whiteSpace: 'nowrap' }}>{timeInfo}</span>] : undefined}
              >
                {(innerWidth, innerHeight) => (
                  <Guard>
                    <Body panel={panel} input={input} theme={theme} width={innerWidth} height={innerHeight} notes={notes} />
                  </Guard>
                )}
              </PanelChrome>
            </div>
          );
        })}
      </div>
    </div>
  );
}
