import { FieldType, formattedValueToString, getFieldSeriesColor } from '@grafana/data';
import { LegendDisplayMode, VizLegend } from '@grafana/ui';

import type { Drawn } from './drawn';
import { nameOf } from './fields';
import { Nothing } from './nothing';
import { TimeAxis } from './time_axis';

/** Candles and volume, with every other number as a line over them. */
export function Candlestick(drawn: Drawn) {
  const { panel, frames, theme, timeZone, range, width, height } = drawn;
  const options = panel.options ?? {};
  const fields = frames.flatMap((frame) => frame.fields);
  const time = fields.find(({ type }) => type === FieldType.time);
  const named = (role: string) => fields.find((field) => nameOf(field) === (options.fields?.[role] ?? role));
  const [open, high, low, close, volume] = ['open', 'high', 'low', 'close', 'volume'].map(named);
  if (!time || !open || !high || !low || !close || time.values.length === 0) {
    return <Nothing {...drawn} />;
  }
  const others = options.includeAllFields
    ? fields.filter((field) => field.type === FieldType.number && ![open, high, low, close, volume].includes(field))
    : [];
  const [from, to] = [range.from.valueOf(), range.to.valueOf()];
  const inside = [...time.values.keys()].filter((row) => time.values[row] >= from && time.values[row] <= to);
  if (inside.length === 0) {
    return <Nothing {...drawn} />;
  }
  const legend = options.legend?.showLegend !== false ? 26 : 0;
  const [left, right, bottom] = [56, 12, height - legend - 24];
  const room = width - left - right;
  const numbers = inside.flatMap((row) => [low.values[row], high.values[row], ...others.map((field) => field.values[row])]);
  const kept = numbers.filter((value) => value !== null && Number.isFinite(value)) as number[];
  const [least, most] = [Math.min(...kept), Math.max(...kept)];
  const x = (at: number) => left + ((at - from) / (to - from)) * room;
  const y = (value: number) => 6 + (1 - (value - least) / (most - least || 1)) * (bottom - 12) * (volume ? 0.8 : 1);
  const loudest = volume ? Math.max(1, ...inside.map((row) => volume.values[row] ?? 0)) : 1;
  const body = Math.max(1, Math.min(14, (room / inside.length) * 0.6));
  const color = (row: number) =>
    theme.visualization.getColorByName(close.values[row] >= open.values[row] ? options.colors?.up ?? 'green' : options.colors?.down ?? 'red');
  const grid = Array.from({ length: 5 }, (_, at) => least + ((most - least) * at) / 4);
  return (
    <div style={{ width, height }}>
      <svg width={width} height={height - legend}>
        <TimeAxis range={range} timeZone={timeZone} theme={theme} left={left} width={room} top={bottom} />
        {grid.map((value) => (
          <g key={value}>
            <line x1={left} x2={left + room} y1={y(value)} y2={y(value)} stroke={theme.colors.border.weak} />
            <text x={left - 6} y={y(value) + 4} fontSize={12} textAnchor="end" fill={theme.colors.text.primary}>
              {formattedValueToString(close.display!(value))}
            </text>
          </g>
        ))}
        {inside.map((row) => (
          <g key={row} stroke={color(row)} fill={color(row)}>
            {volume && (
              <rect x={x(time.values[row]) - body / 2} width={body} y={bottom - ((volume.values[row] ?? 0) / loudest) * bottom * 0.18} height={((volume.values[row] ?? 0) / loudest) * bottom * 0.18} fillOpacity={0.4} strokeWidth={0} />
            )}
            <line x1={x(time.values[row])} x2={x(time.values[row])} y1={y(high.values[row])} y2={y(low.values[row])} />
            <rect x={x(time.values[row]) - body / 2} width={body} y={y(Math.max(open.values[row], close.values[row]))} height={Math.max(1, Math.abs(y(open.values[row]) - y(close.values[row])))} />
          </g>
        ))}
        {others.map((field) => (
          <polyline
            key={nameOf(field)}
            fill="none"
            stroke={getFieldSeriesColor(field, theme).color}
            points={inside.filter((row) => field.values[row] !== null).map((row) => `${x(time.values[row])},${y(field.values[row])}`).join(' ')}
          />
        ))}
      </svg>
      {legend > 0 && (
        <VizLegend
          placement="bottom"
          displayMode={LegendDisplayMode.List}
          items={[close, ...(volume ? [volume] : []), ...others].map((field) => ({ label: nameOf(field), color: getFieldSeriesColor(field, theme).color, yAxis: 1 }))}
        />
      )}
    </div>
  );
}
