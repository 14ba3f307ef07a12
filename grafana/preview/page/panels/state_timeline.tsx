import { type Field, FieldType, formattedValueToString } from '@grafana/data';
import { LegendDisplayMode, VizLegend } from '@grafana/ui';

import type { Drawn } from './drawn';
import { nameOf } from './fields';
import { Nothing } from './nothing';
import { TimeAxis } from './time_axis';

interface Line {
  name: string;
  spans: Array<{ from: number; to: number; color: string; text: string }>;
}

function line(times: number[], field: Field, end: number): Line {
  const spans: Line['spans'] = [];
  times.forEach((at, row) => {
    const value = field.values[row];
    const span = (field.config.custom as any)?.spanNulls;
    if (value === null || value === undefined) {
      if (!span && spans.length > 0) {
        spans.at(-1)!.to = Math.min(spans.at(-1)!.to, at);
      }
      return;
    }
    const shown = field.display!(value);
    const last = spans.at(-1);
    if (last) {
      last.to = Math.min(last.to, at);
    }
    spans.push({ from: at, to: end, color: shown.color ?? 'gray', text: formattedValueToString(shown) });
  });
  return { name: nameOf(field), spans };
}

/** Coloured spans of state, a line for each series. */
export function StateTimeline(drawn: Drawn) {
  const { panel, frames, theme, timeZone, range, width, height } = drawn;
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const lines = frames.flatMap((frame) => {
    const time = frame.fields.find(({ type }) => type === FieldType.time);
    return time ? frame.fields.filter((field) => field !== time).map((field) => line(time.values, field, to)) : [];
  });
  if (lines.every(({ spans }) => spans.length === 0)) {
    return <Nothing {...drawn} />;
  }
  const states = new Map(lines.flatMap(({ spans }) => spans.map(({ text, color }): [string, string] => [text, color])));
  const legend = panel.options?.legend?.showLegend !== false ? 26 : 0;
  const label = Math.min(width * 0.3, 12 + 7 * Math.max(...lines.map(({ name }) => name.length)));
  const room = width - label - 8;
  const band = (height - legend - 24) / lines.length;
  const x = (at: number) => label + ((Math.max(from, Math.min(to, at)) - from) / (to - from)) * room;
  return (
    <div style={{ width, height }}>
      <svg width={width} height={height - legend}>
        <TimeAxis range={range} timeZone={timeZone} theme={theme} left={label} width={room} top={height - legend - 24} />
        {lines.map(({ name, spans }, row) => (
          <g key={row}>
            <text x={label - 6} y={(row + 0.5) * band + 4} fontSize={12} textAnchor="end" fill={theme.colors.text.primary}>
              {name}
            </text>
            {spans.map(({ from: begin, to: end, color }, at) => (
              <rect key={at} x={x(begin)} width={Math.max(1, x(end) - x(begin))} y={row * band + band * 0.08} height={band * 0.84} fill={color} fillOpacity={0.8} />
            ))}
          </g>
        ))}
      </svg>
      {legend > 0 && (
        <VizLegend
          placement="bottom"
          displayMode={LegendDisplayMode.List}
          items={[...states].map(([text, color]) => ({ label: text, color, yAxis: 1 }))}
        />
      )}
    </div>
  );
}
